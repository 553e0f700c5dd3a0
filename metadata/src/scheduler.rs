//! The writer's decisions: what to write, when, and which barriers complete. No IO; time is an argument.
//!
//! ```text
//! accept ──► Queue (merged, bounded) ──► next() = Write(batch) ──► the store ──► finish(batch, result)
//! wait ────► Barriers ◄──── settled, failed, gave up ──────────────────────────────────┘
//! ```
//!
//! One batch is written at a time. Failed writes are retried without end, oldest first, with growing delays. A waiting
//! barrier shortens the delay, because it reports the present state of the disk. A batch that the store rejects is
//! halved until the one patch is found that cannot be written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::barrier::{BarrierId, BarrierKind, Barriers, FlushError, Flushed};
use crate::limits::{
    BARRIERS_MAX, BATCH_BYTES, BATCH_PATCHES, EAGER_PROCESSES, LINGER, POLL_AFTER_WRITE, PROCESS_BYTES,
    RETRY_AWAITED, RETRY_FIRST, RETRY_MAX, THREAD_BYTES, UPKEEP_INTERVAL,
};
use crate::link::Link;
use crate::queue::{AddResult, Queue, QueueBounds, TakenBatch};
use crate::record::{Owner, Update};
use crate::store::{UpkeepProgress, WriteError, WriteErrorKind, WriteSummary};

/// The writer's next action.
#[derive(Debug)]
pub(crate) enum WriterAction {
    /// Write this batch, then call [`WriteScheduler::finish`].
    Write(TakenBatch),
    /// Run a step of the store's upkeep, then call [`WriteScheduler::upkeep_done`].
    Upkeep,
    /// Store how many records were given up, then call [`WriteScheduler::losses_written`].
    WriteLosses(Vec<(Owner, u64)>),
    /// Nothing is due before this time, unless a handle accepts an update or waits.
    Sleep(Instant),
    /// Everything that can be written is written.
    Stop,
}

/// Why an update was not accepted. A process's is accepted unless running processes alone fill [`PROCESS_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The disk's fault: nothing could be written for so long that there is no room left.
    #[error("the queue of metadata is full, because nothing can be written; `baton flush` says why")]
    Full,
    /// The server is shutting down.
    #[error("the writer of metadata has stopped")]
    Stopped,
    /// The caller's fault: names the part that is too long.
    #[error("not accepted: {0}")]
    Invalid(&'static str),
}

/// Counters since the start of the writer, and the state of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Updates accepted.
    pub accepted: u64,
    /// Updates of threads and of processes that were refused.
    pub refused: u64,
    /// Records given up since the start, whether acknowledged or not.
    pub dropped: u64,
    /// Batches on disk.
    pub batches: u64,
    /// Patches on disk, after merging.
    pub patches: u64,
    /// Rows inserted, changed or deleted.
    pub rows: u64,
    /// Failed writes.
    pub failures: u64,
    /// Queued patches, merged.
    pub waiting: usize,
    /// Bytes that are queued or being written, as the bounds count them.
    pub bytes: usize,
    /// Age of the oldest queued patch.
    pub age: Duration,
    /// Merged patches in the write that has not returned.
    pub writing: usize,
    /// Time since that write began: seconds mean that the disk stalls.
    pub writing_for: Duration,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct WriteScheduler {
    queue: Queue,
    barriers: Barriers,
    /// Patches in the next batch; fewer than `batch_max` while a rejected patch is searched for.
    batch: usize,
    batch_max: usize,
    writing_since: Option<Instant>,
    failing: Option<FailedWrites>,
    stopping: bool,
    /// The queue is due at once, although no barrier waits.
    hurry: bool,
    last_write: Option<Instant>,
    upkeep_due: Instant,
    upkeep_failing: Option<WriteError>,
    /// When the store is to write the number of records that were given up; `None` if it is up to date.
    note_due: Option<Instant>,
    stats: WriterStats,
}

/// Consecutive failed writes.
#[derive(Debug, Clone)]
struct FailedWrites {
    times: u32,
    since: Instant,
    cause: Arc<WriteError>,
}

impl WriteScheduler {
    pub(crate) fn new(now: Instant) -> Self {
        let bounds = QueueBounds {
            process_bytes: PROCESS_BYTES,
            thread_bytes: THREAD_BYTES,
        };
        Self::bounded(bounds, BATCH_PATCHES, now)
    }

    /// With other bounds of the queue and of a batch.
    fn bounded(bounds: QueueBounds, batch_max: usize, now: Instant) -> Self {
        Self {
            queue: Queue::new(bounds),
            barriers: Barriers::new(),
            batch: batch_max,
            batch_max,
            writing_since: None,
            failing: None,
            stopping: false,
            hurry: false,
            last_write: None,
            upkeep_due: now,
            upkeep_failing: None,
            note_due: None,
            stats: WriterStats::default(),
        }
    }

    /// Accepts a valid update.
    pub(crate) fn accept(
        &mut self,
        update: Update,
        link: Option<Link>,
        now: Instant,
    ) -> Result<(), AcceptError> {
        let process_of = match &update {
            Update::Process(patch) => Some(patch.key.owner),
            Update::Thread(_) => None,
        };
        if self.stopping {
            return Err(self.refuse(process_of, AcceptError::Stopped));
        }
        let mut gone = Vec::new();
        let generation = self.barriers.accepted();
        let added = self.queue.add(update, generation, now, link, &mut gone);
        if added == AddResult::New {
            self.barriers.began(generation);
        }
        for (generation, owner) in gone {
            self.stats.dropped += 1;
            self.barriers.gave_up(generation, owner);
            self.note_due = Some(now);
        }
        if added == AddResult::Full {
            return Err(self.refuse(process_of, AcceptError::Full));
        }
        self.stats.accepted += 1;
        Ok(())
    }

    /// Counts an update that was not accepted. `process_of` is the owner of a process, or `None` for a thread. The loss
    /// of a process patch is reported by barriers, because no caller waits for the result.
    pub(crate) fn refuse(&mut self, process_of: Option<Owner>, why: AcceptError) -> AcceptError {
        self.stats.refused += 1;
        if let Some(owner) = process_of {
            self.lose(owner);
        }
        why
    }

    /// Counts a refused update of this owner that no caller is notified of.
    pub(crate) fn lose(&mut self, owner: Owner) {
        self.stats.dropped += 1;
        self.barriers.refused(owner);
        self.note_due = self.note_due.or(Some(self.upkeep_due));
    }

    /// Adds records that were given up in earlier epochs and are not acknowledged.
    pub(crate) fn lost_in_earlier_epochs(&mut self, losses: Vec<(Owner, u64)>) {
        for (owner, records) in losses {
            self.barriers.lost(owner, records);
        }
    }

    /// Registers a barrier for everything accepted so far.
    pub(crate) fn wait(&mut self, wait: BarrierKind) -> Result<BarrierId, FlushError> {
        if self.barriers.len() >= BARRIERS_MAX {
            return Err(FlushError::TooMany);
        }
        Ok(self.barriers.wait(wait))
    }

    /// Removes a barrier. Returns the last failure of an entry that it covers.
    pub(crate) fn abandon(&mut self, barrier: BarrierId) -> Option<Arc<WriteError>> {
        self.barriers.abandon(barrier)
    }

    /// The result of a barrier, if it has completed.
    pub(crate) fn take_over(&mut self, barrier: BarrierId) -> Option<Result<Flushed, FlushError>> {
        self.barriers.take_one(barrier)
    }

    /// Makes the queue due at once.
    pub(crate) fn hurry(&mut self) {
        self.hurry = !self.queue.is_empty();
    }

    /// Barriers that completed since the last call.
    pub(crate) fn over(&mut self) -> Vec<(BarrierId, Result<Flushed, FlushError>)> {
        self.barriers.take_over()
    }

    /// Acknowledges `count` records that were given up, of this owner or of all.
    pub(crate) fn acknowledge(&mut self, whose: Option<Owner>, count: u64, now: Instant) {
        if count > 0 {
            self.barriers.acknowledge(whose, count);
            self.note_due = Some(now);
        }
    }

    /// Stops accepting updates, and makes the queue due at once.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// The next action. Must not be called while a batch is being written.
    pub(crate) fn next(&mut self, now: Instant) -> WriterAction {
        debug_assert!(self.writing_since.is_none());
        match self.write_due(now) {
            Some(due) if due <= now => {
                if let Some(taken) = self.queue.take(self.batch, BATCH_BYTES) {
                    self.writing_since = Some(now);
                    self.hurry &= !self.queue.is_empty();
                    return WriterAction::Write(taken);
                }
            }
            None if self.stopping && self.note_due.is_none() => return WriterAction::Stop,
            _ => {}
        }
        // After the queue, because it goes to the same disk, and once more at the end.
        let is_note_due = self.note_due.is_some_and(|due| due <= now || self.stopping);
        if is_note_due && self.failing.is_none() {
            return WriterAction::WriteLosses(self.barriers.losses());
        }
        if self.stopping {
            // Records that are given up while the disk fails are only in the shutdown report.
            return match self.write_due(now) {
                Some(due) => WriterAction::Sleep(due),
                None => WriterAction::Stop,
            };
        }
        if self.upkeep_due <= now {
            return WriterAction::Upkeep;
        }
        let looks = self
            .last_write
            .filter(|last| now < *last + POLL_AFTER_WRITE)
            .map(|_| now + LINGER);
        let note = self.note_due.filter(|_| self.failing.is_none());
        let times = [self.write_due(now), looks, note, Some(self.upkeep_due)];
        WriterAction::Sleep(times.into_iter().flatten().min().unwrap_or(now + LINGER))
    }

    /// Whether a writer that sleeps until `until` must be woken.
    pub(crate) fn is_due_before(&self, until: Instant, now: Instant) -> bool {
        let note = self.note_due.filter(|_| self.failing.is_none());
        let dues = [self.write_due(now), note];
        self.stopping || dues.into_iter().flatten().any(|due| due < until)
    }

    /// When the next batch is due; `None` while the queue is empty.
    fn write_due(&self, now: Instant) -> Option<Instant> {
        let oldest = self.queue.oldest()?;
        let awaited = self.barriers.len() > 0 || self.stopping;
        if let Some(failing) = &self.failing {
            let pause = RETRY_FIRST.saturating_mul(1 << failing.times.saturating_sub(1).min(16));
            let longest = if awaited { RETRY_AWAITED } else { RETRY_MAX };
            return Some(failing.since + pause.min(longest));
        }
        let full = self.queue.processes() >= EAGER_PROCESSES
            || self.queue.len() >= self.batch_max
            || self.queue.bytes() >= BATCH_BYTES
            // The rest of a batch that was halved.
            || self.batch < self.batch_max;
        Some(if awaited || full || self.hurry {
            now
        } else {
            oldest + LINGER
        })
    }

    /// Handles the result of a write.
    ///
    /// Returns a batch that is no longer needed, for the caller to free without the lock.
    pub(crate) fn finish(
        &mut self,
        taken: TakenBatch,
        result: Result<WriteSummary, WriteError>,
        now: Instant,
    ) -> Option<TakenBatch> {
        self.writing_since = None;
        self.last_write = Some(now);
        match result {
            Ok(written) => {
                self.failing = None;
                self.batch = self.batch.saturating_mul(2).min(self.batch_max);
                self.stats.batches += 1;
                self.stats.patches += taken.len() as u64;
                self.stats.rows += written.rows;
                self.queue.written(&taken);
                self.barriers.settled(taken.generations());
                return Some(taken);
            }
            Err(error) if error.kind == WriteErrorKind::Rejected && taken.len() > 1 => {
                // The other patches may be valid, so no barrier is notified yet.
                self.stats.failures += 1;
                self.batch = taken.len() / 2;
                self.restore(taken);
            }
            Err(error) => {
                self.stats.failures += 1;
                let cause = Arc::new(error);
                let oldest = taken.generations().min();
                if let Some(oldest) = oldest {
                    self.barriers.failed(oldest, &cause);
                }
                if cause.kind == WriteErrorKind::Rejected {
                    self.batch = self.batch_max;
                    self.queue.discard(&taken);
                    self.stats.dropped += taken.len() as u64;
                    for (generation, owner) in taken.owners() {
                        self.barriers.gave_up(generation, owner);
                    }
                    self.note_due = Some(now);
                    return Some(taken);
                }
                self.restore(taken);
                let times = self.failing.as_ref().map_or(0, |failing| failing.times);
                self.failing = Some(FailedWrites {
                    times: times.saturating_add(1),
                    since: now,
                    cause,
                });
            }
        }
        None
    }

    fn restore(&mut self, taken: TakenBatch) {
        let merged = self.queue.restore(taken);
        self.barriers.settled(merged);
    }

    /// Handles the result of [`WriterAction::WriteLosses`]. Records that were given up since are written the next time.
    pub(crate) fn losses_written(
        &mut self,
        losses: &[(Owner, u64)],
        result: &Result<(), WriteError>,
        now: Instant,
    ) {
        self.note_due = match result {
            Ok(()) if losses == self.barriers.losses() => None,
            Ok(()) => Some(now),
            // The shutdown report has the count too.
            Err(_) if self.stopping => None,
            Err(_) => Some(now + RETRY_MAX),
        };
    }

    /// Handles the result of an upkeep step.
    pub(crate) fn upkeep_done(&mut self, upkeep: Result<UpkeepProgress, WriteError>, now: Instant) {
        self.upkeep_due = match upkeep {
            Ok(UpkeepProgress::More) => now,
            // A failed step is retried then.
            Ok(UpkeepProgress::Done) | Err(_) => now + UPKEEP_INTERVAL,
        };
        match upkeep {
            Err(error) => self.upkeep_failing = Some(error),
            // With more to do, the failed step may not have been reached yet.
            Ok(UpkeepProgress::Done) => self.upkeep_failing = None,
            Ok(UpkeepProgress::More) => {}
        }
    }

    /// Why the last upkeep failed, unless a later one has succeeded.
    pub(crate) fn upkeep_failing(&self) -> Option<&WriteError> {
        self.upkeep_failing.as_ref()
    }

    /// Why the last write failed, unless a later one has succeeded.
    pub(crate) fn failing(&self) -> Option<&WriteError> {
        self.failing.as_ref().map(|failing| &*failing.cause)
    }

    /// Queued patches, without those being written.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Records given up that nobody has acknowledged.
    pub(crate) fn dropped(&self) -> u64 {
        self.barriers.dropped()
    }

    /// See [`WriterStats`].
    pub(crate) fn stats(&self, now: Instant) -> WriterStats {
        let age = self
            .queue
            .oldest()
            .map(|oldest| now.saturating_duration_since(oldest));
        WriterStats {
            waiting: self.queue.len(),
            bytes: self.queue.bytes(),
            age: age.unwrap_or_default(),
            ..self.stats
        }
    }
}

#[cfg(test)]
mod tests;
