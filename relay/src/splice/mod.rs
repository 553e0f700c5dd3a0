//! Moves the frames of a session, body to body.
//!
//! ```text
//! request body ─► pump ─► backlog ─► deframer ─► queue ─► outgoing ─► response body
//!  (one side)    a task   when full  whole frames  bounded   stamps      (other side)
//! ```
//!
//! The pump is a task of its own so that a frame that waits for the other side waits with *us*, where its residence can
//! be measured and its memory counted, and not in HTTP/2's buffers. Payloads are not copied, but for small pieces and for what has waited
//! long. Behind a full queue bytes go to the backlog, and the HTTP/2 window of the side that writes stays closed by as many. Every end is told to the other side as a status.

mod backlog;
mod deframer;
mod outgoing;
mod pump;
mod queue;
mod rope;
mod stamp;

pub(crate) use backlog::Backlog;
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
