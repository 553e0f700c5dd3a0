//! The one writer: a thread of its own that owns the store and waits for the disk, so that nobody else does.
//!
//! It sleeps on a condition variable, asks the [`Machine`] what is next, and holds the lock only for that: never while the store
//! works. A thread and not a task, because a task that blocks for a stalled disk takes a runtime's thread with it.
//!
//! Times are the operating system's clock, not that of a runtime whose time may be paused: a thread cannot be paused with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use baton_trace::background;
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;
use tokio::sync::oneshot;

use crate::handle::WriterHandle;
use crate::machine::{Machine, Next};
use crate::queue::Flight;
use crate::reap::Reaper;
use crate::shared::{Mode, WriterShared, Writing};
use crate::spans;
use crate::store::{Store, Upkeep, WriteError, WriteErrorKind, Written};

/// Starts the writer of `store`. Spans of its work go to `recorder`.
///
/// Fails only if the operating system gives no thread, or the store does not say what earlier lives gave up.
pub fn start(mut store: Box<dyn Store>, recorder: Recorder) -> io::Result<(WriterHandle, Writer)> {
    let mut machine = Machine::new(Instant::now());
    machine.lost_before(store.losses().map_err(io::Error::other)?);
    let shared = Arc::new(WriterShared::new(machine, recorder));
    let (ended, has_ended) = oneshot::channel();
    thread::Builder::new().name("baton-metadata".to_owned()).spawn({
        let shared = shared.clone();
        move || {
            // However this ends, whoever waits is told.
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

/// The writer's other end: ends it. Dropped, it ends the writer behind the batch that is being written; what waits is lost.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<WriterShared>,
    has_ended: Option<oneshot::Receiver<()>>,
}

/// What became of what waited when the writer was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct ShutdownReport {
    /// Merged patches that are not on disk, those in a write that does not return included; 0 is what one wants.
    pub left: usize,
    /// Records that were given up before, and that nobody has acknowledged.
    pub dropped: u64,
    /// Why the last try to write failed, if it did.
    pub cause: Option<WriteError>,
}

impl ShutdownReport {
    /// Everything that was ever accepted is on disk.
    pub fn is_complete(&self) -> bool {
        self.left == 0 && self.dropped == 0
    }
}

impl Writer {
    /// Accepts nothing more, writes what waits, and closes the store, in `limit` at most.
    ///
    /// Cancellation: as if it were dropped.
    pub async fn shutdown(mut self, limit: Duration) -> ShutdownReport {
        {
            let mut state = self.shared.lock();
            state.machine.stop();
            self.shared.wake(&mut state);
        }
        if let Some(has_ended) = self.has_ended.take() {
            let _ = tokio::time::timeout(limit, has_ended).await;
        }
        let mut state = self.shared.lock();
        state.waiters.clear();
        ShutdownReport {
            left: state.machine.waiting() + state.writing.map_or(0, |writing| writing.patches),
            dropped: state.machine.dropped(),
            cause: state.machine.failing().cloned(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.mode = Mode::Ends;
        state.machine.stop();
        self.shared.wake(&mut state);
    }
}

/// Ends the waits of all callers when the thread ends, by a panic as well.
struct StopOnDrop<'a>(&'a WriterShared);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.mode = Mode::Ended;
        state.machine.stop();
        state.waiters.clear();
    }
}

fn run(shared: &WriterShared, mut store: Box<dyn Store>) {
    let mut reaper = Reaper::default();
    let mut writes = spans::SpanRate::default();
    let mut state = shared.lock();
    loop {
        if state.mode != Mode::Runs {
            return;
        }
        let now = Instant::now();
        match state.machine.next(now) {
            Next::Write(flight) => {
                state.writing = Some(Writing {
                    since: now,
                    patches: flight.len(),
                });
                drop(state);
                let result = write(&mut *store, &flight);
                let end = Instant::now();
                spans::persist(shared.recorder(), &mut writes, &flight, [now, end], &result);
                state = shared.lock();
                state.writing = None;
                let done = state.machine.finish(flight, result, end);
                state.tell();
                drop(state);
                if let Some(done) = done {
                    reaper.free(done);
                }
                state = shared.lock();
            }
            Next::Upkeep => {
                drop(state);
                let upkeep = tend(&mut *store);
                state = shared.lock();
                state.machine.tended(upkeep, Instant::now());
            }
            Next::Note(losses) => {
                drop(state);
                let noted = catch_unwind(AssertUnwindSafe(|| store.note_losses(&losses)))
                    .unwrap_or_else(|_| Err(WriteError::new(WriteErrorKind::Other, "the store panicked")));
                state = shared.lock();
                state.machine.noted(&losses, &noted, Instant::now());
            }
            Next::Sleep(until) => {
                state.sleeps_until = Some(until);
                let wait = until.saturating_duration_since(now);
                state = shared
                    .wake
                    .wait_timeout(state, wait)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                state.sleeps_until = None;
            }
            Next::Stop => {
                drop(state);
                drop(store);
                return;
            }
        }
    }
}

/// A store that panics has failed, like any other: its batch is kept.
fn write(store: &mut dyn Store, flight: &Flight) -> Result<Written, WriteError> {
    catch_unwind(AssertUnwindSafe(|| store.write(&flight.batch)))
        .unwrap_or_else(|_| Err(WriteError::new(WriteErrorKind::Other, "the store panicked")))
}

fn tend(store: &mut dyn Store) -> Result<Upkeep, WriteError> {
    catch_unwind(AssertUnwindSafe(|| store.upkeep(unix_now_ns())))
        .unwrap_or_else(|_| Err(WriteError::new(WriteErrorKind::Other, "the store panicked")))
}
