//! The frames of one direction that wait for the other side: bounded in bytes, with a typed end.
//!
//! One pump pushes, one outgoing body takes. The first end wins and comes after everything that was queued before it. A queue
//! whose taker is gone frees its frames at once. Wakers are kept on both sides; no call blocks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tonic::{Code, Status};

use super::{DeframeError, Rope, RopeBuilder, SplicedFrame};
use crate::limits::{EMIT_BYTES, FRAME_OVERHEAD_BYTES, QUEUE_BYTES};

/// How a direction of a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The sender ended its body between two frames.
    Clean,
    /// One of the two sides reset its stream or lost its connection.
    Disconnected,
    /// One of the two sides broke the framing.
    Broken(DeframeError),
    /// The relay is shutting down.
    ShutDown,
}

/// The queue takes no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// What the outgoing body takes.
#[derive(Debug)]
pub(crate) enum Batch {
    /// Frames, stamped; how many, and their bytes as received.
    Frames { data: Rope, frames: u64, bytes: u64 },
    /// Nothing more will come.
    End(End),
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<SplicedFrame>,
    /// Payload and overhead of `frames`.
    cost: usize,
    end: Option<End>,
    abandoned: bool,
    pusher: Option<Waker>,
    taker: Option<Waker>,
}

impl End {
    /// What the side that did not cause it is told. A hint: nothing authenticates it.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Clean => Status::ok(""),
            Self::Disconnected => Status::unavailable("peer disconnected"),
            Self::Broken(error) => Status::new(
                Code::InvalidArgument,
                format!("the relay ended the session: {error}"),
            ),
            Self::ShutDown => Status::aborted("the relay is shutting down; reconnect"),
        }
    }
}

impl Queue {
    /// Ready when a frame may be pushed. The pump is woken when there is room again, and when the queue closes,
    /// whatever else it waits for by then.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut state = self.lock();
        if state.abandoned || state.end.is_some() {
            return Poll::Ready(Err(Closed));
        }
        register(&mut state.pusher, cx);
        if state.cost >= QUEUE_BYTES {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a frame. [`Self::poll_room`] was ready, so at most one frame exceeds the bound.
    pub(crate) fn push(&self, frame: SplicedFrame) {
        let taker = {
            let mut state = self.lock();
            if state.abandoned || state.end.is_some() {
                return; // Ended meanwhile: the other side gets the status, the session is over.
            }
            state.cost += frame.len() + FRAME_OVERHEAD_BYTES;
            state.frames.push_back(frame);
            state.taker.take()
        };
        wake(taker);
    }

    /// Ends the queue after what it holds, unless it has an end already.
    pub(crate) fn end(&self, end: End) {
        let (pusher, taker) = {
            let mut state = self.lock();
            if state.end.is_some() {
                return;
            }
            state.end = Some(end);
            (state.pusher.take(), state.taker.take())
        };
        wake(pusher);
        wake(taker);
    }

    /// The taker is gone: frees the frames and stops the pump.
    pub(crate) fn abandon(&self) {
        let (pusher, frames) = {
            let mut state = self.lock();
            state.abandoned = true;
            state.cost = 0;
            (state.pusher.take(), std::mem::take(&mut state.frames))
        };
        drop(frames);
        wake(pusher);
    }

    /// Ready when the first frame is here, or will not come. Nobody takes yet.
    pub(crate) fn poll_first(&self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut state = self.lock();
        if !state.frames.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = state.end {
            return Poll::Ready(Err(end));
        }
        register(&mut state.taker, cx);
        Poll::Pending
    }

    /// Takes up to [`EMIT_BYTES`] and the frame that exceeds them, stamping each.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Batch> {
        let mut state = self.lock();
        if state.frames.is_empty() {
            if let Some(end) = state.end {
                return Poll::Ready(Batch::End(end));
            }
            register(&mut state.taker, cx);
            return Poll::Pending;
        }
        let was_full = state.cost >= QUEUE_BYTES;
        let now = Instant::now();
        let mut out = RopeBuilder::default();
        let (mut frames, mut bytes) = (0, 0);
        while out.len() < EMIT_BYTES {
            let Some(frame) = state.frames.pop_front() else {
                break;
            };
            state.cost -= frame.len() + FRAME_OVERHEAD_BYTES;
            frames += 1;
            bytes += frame.len() as u64;
            frame.emit(now, &mut out);
        }
        // Only a pump that waits for room: one that waits for its body would wake for nothing.
        let pusher = if was_full { state.pusher.take() } else { None };
        drop(state);
        wake(pusher);
        Poll::Ready(Batch::Frames {
            data: out.finish(),
            frames,
            bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
