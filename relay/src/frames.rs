//! Extracts whole frames from a body's chunks, and queues them for the other side.
//!
//! Sans-IO: bytes and their arrival times in, stamped frames out. `deframer` splits chunks into frames, `frame_queue`
//! is a bounded queue of frames with a typed end, `backlog` keeps chunks for which the queue has no room, `rope` holds
//! a batch of outgoing frames.

mod backlog;
mod deframer;
mod frame_queue;
mod rope;
mod stamp;

pub(crate) use backlog::Backlog;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use deframer::FRAMES;
pub(crate) use deframer::{DeframeError, Deframer, SplicedFrame};
pub(crate) use frame_queue::{FrameBatch, FrameQueue, QueueClosed, SessionEnd};
pub(crate) use rope::{Rope, RopeBuilder};
