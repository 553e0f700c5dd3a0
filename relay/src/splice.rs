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

mod outgoing_body;
mod pump;

pub(crate) use outgoing_body::OutgoingBody;
pub(crate) use pump::pump;
