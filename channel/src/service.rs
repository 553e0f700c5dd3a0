//! tonic on top of a session: one HTTP-shaped request and response per stream.
//!
//! * [`established`] joins the Noise session and the multiplexer; [`session_state`] holds them behind one lock.
//! * [`outgoing`] is the writer: the body of the outer request. HTTP/2 pulls it when it has room, so frames are
//!   scheduled as late as possible. [`incoming`] is the reader.
//! * [`client`] and [`server`] map calls to streams; [`record`] builds call records from the measured stamps.
//! * [`Routes`] mounts two services on one session.

mod batch;
pub(crate) mod body;
pub(crate) mod client;
mod control;
mod error;
pub(crate) mod established;
pub(crate) mod incoming;
mod metadata;
pub(crate) mod outgoing;
pub(crate) mod record;
mod routes;
pub(crate) mod server;
pub(crate) mod session_state;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use control::fuzz::KEY_FRAMES;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use metadata::{METADATA, to_headers};

pub use body::ResponseBody;
pub use error::SessionError;
pub(crate) use error::{reset_status, stream_status};
pub use routes::Routes;
