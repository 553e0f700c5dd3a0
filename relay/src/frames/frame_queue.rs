//! The frames of one direction that wait for the other side: bounded in bytes, with a typed end.
//!
//! One pump pushes, one outgoing body takes. The first end counts, and follows everything that was queued before it.
//! When the taker is dropped, the queue frees its frames at once. Wakers are stored for both sides; no call blocks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use tonic::{Code, Status};

use super::{Backlog, DeframeError, Rope, RopeBuilder, SplicedFrame};
use crate::limits::{EMIT_BYTES, FRAME_OVERHEAD_BYTES, QUEUE_BYTES};

/// How a direction of a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// The sender ended its body between two frames.
    Clean,
    /// One of the two sides reset its stream or lost its connection.
    Disconnected,
    /// One of the two sides violated the framing.
    Broken(DeframeError),
    /// The relay is shutting down.
    ShutDown,
    /// One of the two sides read nothing for too long.
    Stalled,
    /// The share of the relay's memory is used up.
    NoMemory,
}

/// The queue accepts no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueClosed;

/// The next item for the outgoing body.
#[derive(Debug)]
pub(crate) enum FrameBatch {
    /// Stamped frames; their number, their length as received, and the memory that was counted for them.
    Frames {
        data: Rope,
        frames: u64,
        bytes: u64,
        cost: usize,
    },
    /// The queue has ended.
    End(SessionEnd),
}

/// A bounded queue of frames with a typed end.
#[derive(Debug, Default)]
pub(crate) struct FrameQueue(Mutex<QueueState>);

#[derive(Debug, Default)]
struct QueueState {
    frames: VecDeque<SplicedFrame>,
    /// Payload and overhead of `frames`.
    cost: usize,
    backlog: Backlog,
    end: Option<SessionEnd>,
    abandoned: bool,
    /// No progress for a while: queued and later frames are copied out of their read buffers.
    stalled: bool,
    pusher: Option<Waker>,
    taker: Option<Waker>,
    /// The task that watches the queue before there is a taker. It may still look once when the taker already waits on
    /// another thread, so it does not share the taker's waker.
    watcher: Option<Waker>,
}

impl SessionEnd {
    /// The status that the other side receives. It is a hint, because it is not authenticated.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Clean => Status::ok(""),
            Self::Disconnected => Status::unavailable("peer disconnected"),
            Self::Broken(error) => Status::new(
                Code::InvalidArgument,
                format!("the relay ended the session: {error}"),
            ),
            Self::ShutDown => Status::aborted("the relay is shutting down; reconnect"),
            Self::Stalled => Status::deadline_exceeded(
                "the relay ended the session: one side read nothing of what the other sent for too long",
            ),
            Self::NoMemory => Status::resource_exhausted(
                "the relay ended the session: its buffered data exceeded the relay's memory limit; one side reads too \
                 slowly",
            ),
        }
    }

    /// Whether it ends the session without sending what is queued.
    pub(crate) fn is_cut(self) -> bool {
        matches!(self, Self::Stalled | Self::NoMemory)
    }
}

impl FrameQueue {
    /// Ready when a frame may be pushed. The pump is woken when the queue has room again, and when it closes, even if
    /// the pump waits for something else by then.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), QueueClosed>> {
        let mut state = self.lock();
        if state.abandoned || state.end.is_some() {
            return Poll::Ready(Err(QueueClosed));
        }
        register(&mut state.pusher, cx);
        if state.cost >= QUEUE_BYTES {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a frame. [`Self::poll_room`] was ready, so at most one frame exceeds the bound.
    pub(crate) fn push(&self, mut frame: SplicedFrame) {
        let (taker, watcher) = {
            let mut state = self.lock();
            if state.abandoned || state.end.is_some() {
                return; // The queue has ended, and the frame would follow its end.
            }
            state.cost += frame.len() + FRAME_OVERHEAD_BYTES;
            if state.stalled {
                frame.compact();
            }
            state.frames.push_back(frame);
            (state.taker.take(), state.watcher.take())
        };
        wake(taker);
        wake(watcher);
    }

    /// Adds bytes for which the queue has no room to the backlog.
    pub(crate) fn stash(&self, chunk: Bytes, now: Instant) {
        let mut state = self.lock();
        if !state.abandoned && state.end.is_none() {
            state.backlog.push(chunk, now);
        }
    }

    /// The oldest bytes of the backlog, and their arrival time.
    pub(crate) fn unstash(&self) -> Option<(Bytes, Instant)> {
        self.lock().backlog.pop()
    }

    /// Whether frames or bytes wait.
    pub(crate) fn is_waiting(&self) -> bool {
        let state = self.lock();
        !state.frames.is_empty() || !state.backlog.is_empty()
    }

    /// Called when there was no progress for a while: copies the frames, so that they pin no larger buffers.
    pub(crate) fn compact(&self) {
        let state = &mut *self.lock();
        if !std::mem::replace(&mut state.stalled, true) {
            state.frames.iter_mut().for_each(SplicedFrame::compact);
            state.backlog.compact();
        }
    }

    /// Ends the queue and discards its content.
    pub(crate) fn cut(&self, end: SessionEnd) {
        let freed = {
            let mut state = self.lock();
            state.end = Some(end);
            state.cost = 0;
            let freed = (
                std::mem::take(&mut state.frames),
                std::mem::take(&mut state.backlog),
            );
            (state.wakers(), freed)
        };
        let (wakers, frames) = freed;
        drop(frames);
        wakers.into_iter().for_each(wake);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.lock().end.is_some_and(SessionEnd::is_cut)
    }

    /// Ready when the queue was [cut](Self::cut). The taker is woken then, even if it waits for something else.
    pub(crate) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        let mut state = self.lock();
        match state.end {
            Some(end) if end.is_cut() => Poll::Ready(end),
            _ => {
                register(&mut state.taker, cx);
                Poll::Pending
            }
        }
    }

    /// Ends the queue after its content, unless it has already ended.
    pub(crate) fn end(&self, end: SessionEnd) {
        let wakers = {
            let mut state = self.lock();
            if state.end.is_some() {
                return;
            }
            state.end = Some(end);
            state.wakers()
        };
        wakers.into_iter().for_each(wake);
    }

    /// Called when the taker is dropped: frees the frames and stops the pump.
    pub(crate) fn abandon(&self) {
        let (pusher, frames) = {
            let mut state = self.lock();
            state.abandoned = true;
            state.cost = 0;
            let freed = (
                std::mem::take(&mut state.frames),
                std::mem::take(&mut state.backlog),
            );
            (state.pusher.take(), freed)
        };
        drop(frames);
        wake(pusher);
    }

    /// Ready when the first frame has arrived, or the queue has ended. For use before there is a taker.
    pub(crate) fn poll_first(&self, cx: &mut Context<'_>) -> Poll<Result<(), SessionEnd>> {
        let mut state = self.lock();
        if !state.frames.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = state.end {
            return Poll::Ready(Err(end));
        }
        register(&mut state.watcher, cx);
        Poll::Pending
    }

    /// Ready when the queue has ended other than [cleanly](SessionEnd::Clean). For use before there is a taker.
    pub(crate) fn poll_failed(&self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        let mut state = self.lock();
        match state.end {
            Some(end) if end != SessionEnd::Clean => Poll::Ready(end),
            _ => {
                register(&mut state.watcher, cx);
                Poll::Pending
            }
        }
    }

    /// Takes up to [`EMIT_BYTES`], and the frame that exceeds them, and stamps each frame.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<FrameBatch> {
        let mut state = self.lock();
        if state.frames.is_empty() {
            if let Some(end) = state.end {
                return Poll::Ready(FrameBatch::End(end));
            }
            register(&mut state.taker, cx);
            return Poll::Pending;
        }
        let was_full = state.cost >= QUEUE_BYTES;
        if std::mem::take(&mut state.stalled) {
            state.backlog.expand();
        }
        let now = Instant::now();
        let mut out = RopeBuilder::default();
        let (mut frames, mut bytes, mut cost) = (0, 0, 0);
        while out.len() < EMIT_BYTES {
            let Some(frame) = state.frames.pop_front() else {
                break;
            };
            state.cost -= frame.len() + FRAME_OVERHEAD_BYTES;
            frames += 1;
            bytes += frame.len() as u64;
            cost += frame.body_len() + FRAME_OVERHEAD_BYTES;
            frame.emit(now, &mut out);
        }
        // Wakes only a pump that waits for room; a pump that waits for its body would wake in vain.
        let pusher = if was_full { state.pusher.take() } else { None };
        drop(state);
        wake(pusher);
        Poll::Ready(FrameBatch::Frames {
            data: out.finish(),
            frames,
            bytes,
            cost,
        })
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// The wakers of all that wait, when the queue ends.
    fn wakers(&mut self) -> [Option<Waker>; 3] {
        [self.pusher.take(), self.taker.take(), self.watcher.take()]
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    /// Counts its wake-ups.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A dial watches its queue until it sees that the exec-server has accepted. On several threads, the response to
    /// the exec-server may wait for frames before that.
    #[test]
    fn a_dial_that_looks_once_more_does_not_take_the_wake_up_of_whoever_takes_the_frames() {
        let queue = FrameQueue::default();
        let tasks = [Arc::<Task>::default(), Arc::<Task>::default()];
        let [taker, watcher] = tasks.each_ref().map(|task| Waker::from(task.clone()));
        let woken = || tasks.each_ref().map(|task| task.0.load(Relaxed));
        assert!(queue.poll_take(&mut Context::from_waker(&taker)).is_pending());
        assert!(queue.poll_failed(&mut Context::from_waker(&watcher)).is_pending());
        queue.end(SessionEnd::Disconnected);
        assert_eq!(woken(), [1, 1]);
        let ended = queue.poll_take(&mut Context::from_waker(&taker));
        assert!(matches!(
            ended,
            Poll::Ready(FrameBatch::End(SessionEnd::Disconnected))
        ));
    }
}
