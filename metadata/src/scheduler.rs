//! The writer's decisions: what to write, when, and whom to tell. No IO; time comes in as an argument.
//!
//! ```text
//! accept ──► Queue (merged, bounded) ──► next() = Write(flight) ──► the store ──► finish(flight, result)
//! wait ────► Barriers ◄──── settled, failed, gave up ──────────────────────────────────┘
//! ```
//!
//! One flight at a time. Failures are tried again for ever, oldest first, with growing pauses that a barrier cuts short: it shall tell
//! what the disk says now. A store that rejects a batch gets it in halves, until the one patch is found that it cannot write.

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

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum WriterAction {
    /// Write this, and tell [`WriteScheduler::finish`].
    Write(TakenBatch),
    /// Let the store do a step of its own, and tell [`WriteScheduler::upkeep_done`].
    Upkeep,
    /// Have the store remember how many records were given up, and tell [`WriteScheduler::losses_written`].
    WriteLosses(Vec<(Owner, u64)>),
    /// Nothing before this, unless somebody accepts or waits.
    Sleep(Instant),
    /// Nothing any more: everything is written that can be.
    Stop,
}

/// An update that was not accepted. Never a process's, unless processes that run fill [`PROCESS_BYTES`] by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The disk's fault: nothing could be written for so long that there is no room left.
    #[error("the queue of metadata is full, because nothing can be written; `baton flush` says why")]
    Full,
    /// Nobody's fault: the server is shutting down.
    #[error("the writer of metadata has stopped")]
    Stopped,
    /// The caller's fault; says what is too long.
    #[error("not accepted: {0}")]
    Invalid(&'static str),
}

/// Counters since the start, and the state of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Updates accepted.
    pub accepted: u64,
    /// Updates refused, of threads at the bound and of processes.
    pub refused: u64,
    /// Records given up since the start, whether acknowledged or not.
    pub dropped: u64,
    /// Batches on disk.
    pub batches: u64,
    /// Patches on disk, after merging.
    pub patches: u64,
    /// Rows that this took.
    pub rows: u64,
    /// Failed tries to write.
    pub failures: u64,
    /// Merged patches that wait.
    pub waiting: usize,
    /// Bytes that wait or are being written, as the bounds count them.
    pub bytes: usize,
    /// How long the oldest of them waits.
    pub age: Duration,
    /// Merged patches in the write that has not returned.
    pub writing: usize,
    /// How long that write takes already: seconds mean a disk that stalls.
    pub writing_for: Duration,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct WriteScheduler {
    queue: Queue,
    barriers: Barriers,
    /// Patches in the next batch; fewer than `batch_max` while a rejected one is looked for.
    batch: usize,
    batch_max: usize,
    writing_since: Option<Instant>,
    failing: Option<FailedWrites>,
    stopping: bool,
    /// Somebody wants what waits to be written, and does not wait for it.
    hurry: bool,
    last_write: Option<Instant>,
    upkeep_due: Instant,
    upkeep_failing: Option<WriteError>,
    /// When the store is to remember what was given up; `None` if it does.
    note_due: Option<Instant>,
    stats: WriterStats,
}

/// The last tries failed.
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

    /// With other bounds of its queue, and of the patches in a batch.
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

    /// Takes an update that is well formed.
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

    /// Counts an update that was not accepted: of a process of this owner, or of a thread. A process has nobody who could be told, so the barriers tell.
    pub(crate) fn refuse(&mut self, process_of: Option<Owner>, why: AcceptError) -> AcceptError {
        self.stats.refused += 1;
        if let Some(owner) = process_of {
            self.lose(owner);
        }
        why
    }

    /// Counts something of this owner that was refused and that nobody else can be told of.
    pub(crate) fn lose(&mut self, owner: Owner) {
        self.stats.dropped += 1;
        self.barriers.refused(owner);
        self.note_due = self.note_due.or(Some(self.upkeep_due));
    }

    /// Records that were given up in an earlier life, and that nobody has acknowledged.
    pub(crate) fn lost_in_earlier_epochs(&mut self, losses: Vec<(Owner, u64)>) {
        for (owner, records) in losses {
            self.barriers.lost(owner, records);
        }
    }

    /// Waits for everything accepted so far.
    pub(crate) fn wait(&mut self, wait: BarrierKind) -> Result<BarrierId, FlushError> {
        if self.barriers.len() >= BARRIERS_MAX {
            return Err(FlushError::TooMany);
        }
        Ok(self.barriers.wait(wait))
    }

    /// Nobody waits for `barrier` any more. Returns the last failure of what it covers.
    pub(crate) fn abandon(&mut self, barrier: BarrierId) -> Option<Arc<WriteError>> {
        self.barriers.abandon(barrier)
    }

    /// The result of a barrier, if it is over.
    pub(crate) fn take_over(&mut self, barrier: BarrierId) -> Option<Result<Flushed, FlushError>> {
        self.barriers.take_one(barrier)
    }

    /// Writes what waits now without delay.
    pub(crate) fn hurry(&mut self) {
        self.hurry = !self.queue.is_empty();
    }

    /// Barriers that are over.
    pub(crate) fn over(&mut self) -> Vec<(BarrierId, Result<Flushed, FlushError>)> {
        self.barriers.take_over()
    }

    /// Somebody was told of `count` records that were given up, of this owner or of anybody's.
    pub(crate) fn acknowledge(&mut self, whose: Option<Owner>, count: u64, now: Instant) {
        if count > 0 {
            self.barriers.acknowledge(whose, count);
            self.note_due = Some(now);
        }
    }

    /// From now on nothing is accepted, and what waits is written without delay.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// What to do now. Not to be asked while a flight is under way.
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
        // Behind what waits, for the same disk has to take it, and once more at the end.
        let is_note_due = self.note_due.is_some_and(|due| due <= now || self.stopping);
        if is_note_due && self.failing.is_none() {
            return WriterAction::WriteLosses(self.barriers.losses());
        }
        if self.stopping {
            // Of what is given up while the disk fails nobody will be told but by the shutdown's report.
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

    /// Whether whoever sleeps until `until` must be woken.
    pub(crate) fn is_due_before(&self, until: Instant, now: Instant) -> bool {
        let note = self.note_due.filter(|_| self.failing.is_none());
        let dues = [self.write_due(now), note];
        self.stopping || dues.into_iter().flatten().any(|due| due < until)
    }

    /// When the next flight begins; `None` while nothing waits.
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
            // The rest of what was cut in halves.
            || self.batch < self.batch_max;
        Some(if awaited || full || self.hurry {
            now
        } else {
            oldest + LINGER
        })
    }

    /// The flight is over.
    ///
    /// Gives back what is no longer needed, to be freed when nobody waits for the machine.
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
                // Says nothing about the others yet, so no barrier hears of it.
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

    /// The store was to remember what was given up. What was given up since is told of by the next note.
    pub(crate) fn losses_written(
        &mut self,
        losses: &[(Owner, u64)],
        result: &Result<(), WriteError>,
        now: Instant,
    ) {
        self.note_due = match result {
            Ok(()) if losses == self.barriers.losses() => None,
            Ok(()) => Some(now),
            // The shutdown's report has the count too.
            Err(_) if self.stopping => None,
            Err(_) => Some(now + RETRY_MAX),
        };
    }

    /// The store did a step of its own.
    pub(crate) fn upkeep_done(&mut self, upkeep: Result<UpkeepProgress, WriteError>, now: Instant) {
        self.upkeep_due = match upkeep {
            Ok(UpkeepProgress::More) => now,
            // What failed is tried again then.
            Ok(UpkeepProgress::Done) | Err(_) => now + UPKEEP_INTERVAL,
        };
        match upkeep {
            Err(error) => self.upkeep_failing = Some(error),
            // One that has more to do has not come to what failed yet.
            Ok(UpkeepProgress::Done) => self.upkeep_failing = None,
            Ok(UpkeepProgress::More) => {}
        }
    }

    /// Why the store's last step of its own failed, unless it has come through since.
    pub(crate) fn upkeep_failing(&self) -> Option<&WriteError> {
        self.upkeep_failing.as_ref()
    }

    /// Why the last try failed, unless a later one succeeded.
    pub(crate) fn failing(&self) -> Option<&WriteError> {
        self.failing.as_ref().map(|failing| &*failing.cause)
    }

    /// Merged patches that are not on disk, beside those in flight.
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
