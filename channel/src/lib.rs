//! Any tonic service over an end-to-end encrypted Noise channel through a relay, traced.

pub mod key;
pub mod limits;
pub mod mux;
pub mod session;
pub mod ticket;
