//! Moves the frames of a session from body to body.
//!
//! ```text
//! request body ─► pump ─► backlog ─► deframer ─► queue ─► outgoing ─► response body
//!  (one side)    a task   when full  whole frames  bounded   stamps      (other side)
//! ```
//!
//! The pump is a separate task, so that a frame waits for the other side in the relay's queue, where its time and its
//! memory are counted, and not in HTTP/2's buffers. Only small pieces, and data that has waited long, are copied. While
//! the queue is full, bytes go to the backlog, and the sender's HTTP/2 window is not returned for them. Every end is
//! reported to the other side as a status.

mod outgoing_body;
mod pump;

pub(crate) use outgoing_body::OutgoingBody;
pub(crate) use pump::pump;
