//! Turns and steps of a caller's loop: an agent's turn, a CI job, as spans around the commands that it runs.
//!
//! * [`requests`]: matches a server's timing reports with the client's requests;
//! * [`limits`]: every limit, with its reason.

pub mod limits;
pub mod requests;
