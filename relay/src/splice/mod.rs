//! Moves the frames of a session, body to body.
//!
//! ```text
//! request body ─► pump ─► deframer ─► queue ─► outgoing ─► response body
//!  (one side)    a task   whole frames  bounded   stamps      (other side)
//! ```
//!
//! The pump is a task of its own so that a frame that waits for the other side waits in *our* queue, where its residence can
//! be measured, and not in HTTP/2's buffers. Payloads are never copied, small pieces excepted. A full queue stops the pump,
//! which closes the HTTP/2 window of the side that writes. Every end is told to the other side as a status.

mod deframer;
mod outgoing;
mod pump;
mod queue;
mod rope;
mod stamp;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use deframer::FRAMES;
pub(crate) use deframer::{DeframeError, Deframer, SplicedFrame};
pub(crate) use outgoing::Outgoing;
pub(crate) use pump::pump;
pub(crate) use queue::{Batch, Closed, End, Queue};
pub(crate) use rope::{Rope, RopeBuilder};

/// Which way frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client's `Dial` to the exec-server's `Accept`.
    ToExecServer = 0,
    /// Back.
    ToClient = 1,
}
