//! The one writer: a thread that owns the store, so that no other thread waits for the disk.
//!
//! It sleeps on a condition variable and asks the [`WriteScheduler`] for its next action. It holds the lock only for
//! that, and never while the store works. It is a thread and not a task, because a task that blocks on a stalled disk
//! blocks a thread of the runtime.
//!
//! Times are those of the operating system's clock. A runtime's clock may be paused, which cannot pause a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use baton_trace::background;
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;
use tokio::sync::oneshot;

use crate::deallocator::Deallocator;
use crate::handle::WriterHandle;
use crate::queue::TakenBatch;
use crate::scheduler::{WriteScheduler, WriterAction};
use crate::shared::{WriteInProgress, WriterMode, WriterShared};
use crate::spans;
use crate::store::{Store, UpkeepProgress, WriteError, WriteErrorKind, WriteSummary};

/// Starts the writer of `store`. Spans of its work go to `recorder`.
///
/// Fails only if the operating system cannot start a thread, or the store cannot read how many records earlier epochs
/// gave up.
pub fn start(mut store: Box<dyn Store>, recorder: Recorder) -> io::Result<(WriterHandle, Writer)> {
    let mut scheduler = WriteScheduler::new(Instant::now());
    scheduler.lost_in_earlier_epochs(store.losses().map_err(io::Error::other)?);
    let shared = Arc::new(WriterShared::new(scheduler, recorder));
    let (ended, has_ended) = oneshot::channel();
    thread::Builder::new().name("baton-metadata".to_owned()).spawn({
        let shared = shared.clone();
        move || {
            // Notifies all waiters, also when this thread panics.
            let _ended = ended;
            let _stop = StopOnDrop(&shared);
            background::lower_priority();
            run(&shared, store);
        }
    })?;
    let writer = Writer {
        shared: shared.clone(),
        has_ended: Some(has_ended),
    };
    Ok((WriterHandle { shared }, writer))
}

/// Stops the writer. Dropped, it stops the writer after the batch that is being written; the queue is lost.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<WriterShared>,
    has_ended: Option<oneshot::Receiver<()>>,
}

/// What a shutdown left unwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct ShutdownReport {
    /// Patches that are not on disk, those in an unfinished write included; 0 after a complete shutdown.
    pub left: usize,
    /// Records that were given up and are not acknowledged.
    pub dropped: u64,
    /// Why the last write failed, if it did.
    pub cause: Option<WriteError>,
}

impl ShutdownReport {
    /// Whether everything that was accepted is on disk.
    pub fn is_complete(&self) -> bool {
        self.left == 0 && self.dropped == 0
    }
}

impl Writer {
    /// Stops accepting updates, writes the queue, and closes the store, in at most `limit`.
    ///
    /// Cancellation: as if the writer were dropped.
    pub async fn shutdown(mut self, limit: Duration) -> ShutdownReport {
        {
            let mut state = self.shared.lock();
            state.scheduler.stop();
            self.shared.wake(&mut state);
        }
        if let Some(has_ended) = self.has_ended.take() {
            let _ = tokio::time::timeout(limit, has_ended).await;
        }
        let mut state = self.shared.lock();
        state.waiters.clear();
        ShutdownReport {
            left: state.scheduler.waiting() + state.writing.map_or(0, |writing| writing.patches),
            dropped: state.scheduler.dropped(),
            cause: state.scheduler.failing().cloned(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.mode = WriterMode::Stopping;
        state.scheduler.stop();
        self.shared.wake(&mut state);
    }
}

/// Notifies all waiters when the thread ends, also by a panic.
struct StopOnDrop<'a>(&'a WriterShared);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.mode = WriterMode::Stopped;
        state.scheduler.stop();
        state.waiters.clear();
    }
}

fn run(shared: &WriterShared, mut store: Box<dyn Store>) {
    let mut deallocator = Deallocator::default();
    let mut writes = spans::SpanRate::default();
    let mut state = shared.lock();
    loop {
        if state.mode != WriterMode::Running {
            return;
        }
        let now = Instant::now();
        match state.scheduler.next(now) {
            WriterAction::Write(taken) => {
                state.writing = Some(WriteInProgress {
                    since: now,
                    patches: taken.len(),
                });
                drop(state);
                let result = write(&mut *store, &taken);
                let end = Instant::now();
                spans::persist(shared.recorder(), &mut writes, &taken, [now, end], &result);
                state = shared.lock();
                state.writing = None;
                let done = state.scheduler.finish(taken, result, end);
                state.notify();
                drop(state);
                if let Some(done) = done {
                    deallocator.free(done);
                }
                state = shared.lock();
            }
            WriterAction::Upkeep => {
                drop(state);
                let upkeep = run_upkeep(&mut *store);
                state = shared.lock();
                state.scheduler.upkeep_done(upkeep, Instant::now());
            }
            WriterAction::WriteLosses(losses) => {
                drop(state);
                let losses_written = catch_unwind(AssertUnwindSafe(|| store.note_losses(&losses)))
                    .unwrap_or_else(|_| Err(WriteError::new(WriteErrorKind::Other, "the store panicked")));
                state = shared.lock();
                state
                    .scheduler
                    .losses_written(&losses, &losses_written, Instant::now());
            }
            WriterAction::Sleep(until) => {
                state.sleeps_until = Some(until);
                let wait = until.saturating_duration_since(now);
                state = shared
                    .wake
                    .wait_timeout(state, wait)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                state.sleeps_until = None;
            }
            WriterAction::Stop => {
                drop(state);
                drop(store);
                return;
            }
        }
    }
}

/// A panic of the store counts as a failed write: the batch is kept.
fn write(store: &mut dyn Store, taken: &TakenBatch) -> Result<WriteSummary, WriteError> {
    catch_unwind(AssertUnwindSafe(|| store.write(&taken.batch)))
        .unwrap_or_else(|_| Err(WriteError::new(WriteErrorKind::Other, "the store panicked")))
}

fn run_upkeep(store: &mut dyn Store) -> Result<UpkeepProgress, WriteError> {
    catch_unwind(AssertUnwindSafe(|| store.upkeep(unix_now_ns())))
        .unwrap_or_else(|_| Err(WriteError::new(WriteErrorKind::Other, "the store panicked")))
}
