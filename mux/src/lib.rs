//! The multiplexer, sans-IO: calls as streams of small frames over one ordered, reliable, encrypted session.
//!
//! Input is decrypted bytes, commands of the application and the time; output is plaintext for the next Noise
//! message, events and a deadline. No socket, no clock, no randomness inside.
//!
//! Invariants:
//! * frames of one stream leave and arrive in the order in which they were queued, `Trailers` included;
//! * session control is sent first, then `schedule` selects a stream, before encryption;
//! * only as many sealed bytes are in flight as the path needs to stay busy (`pace`), so that frames queued later do
//!   not wait behind bulk;
//! * `Data` needs credit, and credit is granted when the application *takes* the bytes, so a stream never holds
//!   more than its window; every other frame is bounded by count or size;
//! * anything that a peer must not send is a [`MuxError`], which ends the session.
//!
//! * [`Mux`]: one end of a session;
//! * `stream`: the two directions of a call; `control`: frames that are sent before those of streams;
//! * `schedule`: which stream sends next; `pace`: how many bytes may be in flight;
//! * [`frame`]: the encoding; [`timings`]: the server's stages in `Trailers`;
//! * [`Event`], [`MuxError`], [`Stamps`]: output to the application.

mod error;
mod event;
pub mod frame;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
mod mux;
mod pace;
mod schedule;
mod stamps;
mod stream;
pub mod timings;

pub use error::{MuxError, StreamError};
pub use event::{Event, Received, code};
pub use frame::{FrameError, StreamId};
pub use mux::{Mux, deadline, rpc_stage, terminal_stages};
pub use stamps::{ReceivedStamps, RelayStamp, SentStamps, Stamps};
pub use stream::{Continuation, Role, TimingsDraft};
