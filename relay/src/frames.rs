//! Whole frames out of a body's chunks, and the bounded queue in which they wait for the other side.
//!
//! Sans IO: bytes and the time of their arrival come in, frames with a stamp go out. `deframer` cuts frames out of chunks, `queue` keeps them
//! with a typed end, `backlog` keeps chunks for which the queue has no room, `rope` is what leaves.

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
