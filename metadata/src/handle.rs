//! The handle to the writer: updates that return at once, and barriers that wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::barrier::{BarrierId, BarrierKind, FlushError, Flushed};
use crate::link::Link;
use crate::record::{self, Owner, ProcessPatch, ThreadPatch, Update};
use crate::scheduler::{AcceptError, WriterStats};
use crate::shared::{WriterMode, WriterShared};
use crate::spans;
use crate::store::WriteError;

/// A handle to the writer; cheap to clone.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    pub(crate) shared: Arc<WriterShared>,
}

/// A start is not known to be durable, so its process must not be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the start could not be made durable in time: {cause}")]
pub struct NotDurable {
    /// The reason.
    pub cause: NotDurableCause,
}

/// Why a start is not durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDurableCause {
    /// The disk's fault: the last write failed.
    #[error(transparent)]
    Failed(WriteError),
    /// The disk's fault: it has not answered.
    #[error("the disk has not answered")]
    Stalled,
    /// No room in the queue, or the writer has stopped.
    #[error(transparent)]
    Refused(AcceptError),
    /// Too many barriers wait.
    #[error(transparent)]
    Barrier(FlushError),
}

impl WriterHandle {
    /// Accepts an update. Returns at once, whatever the disk does: it holds a lock for about a microsecond, and wakes
    /// the writer only after a pause of seconds or for a full batch.
    ///
    /// Process patches are truncated to `limits`; thread patches beyond them are refused. A process patch that is
    /// refused for another reason is counted, and every barrier reports it.
    pub fn accept(&self, update: impl Into<Update>) -> Result<(), AcceptError> {
        self.accept_linked(update, None)
    }

    /// As [`accept`](Self::accept); the span `metadata.persist` of the write links to `link`, which is the span that
    /// the update is about.
    pub fn accept_linked(&self, update: impl Into<Update>, link: Option<Link>) -> Result<(), AcceptError> {
        let mut update = update.into();
        if let Err(what) = record::check(&mut update) {
            return Err(self
                .shared
                .lock()
                .scheduler
                .refuse(None, AcceptError::Invalid(what)));
        }
        let now = Instant::now();
        let mut state = self.shared.lock();
        let accepted = state.scheduler.accept(update, link, now);
        // Giving up entries for it may have completed a barrier.
        state.notify();
        self.shared.wake_if_due(&mut state, now);
        accepted
    }

    /// Accepts a command's change of its thread. A refusal counts as a record that was given up, because no caller
    /// waits for the result.
    pub(crate) fn accept_of_command(&self, patch: ThreadPatch) {
        let owner = patch.key.owner;
        if self.accept(patch).is_err() {
            self.shared.lock().scheduler.lose(owner);
        }
    }

    /// Waits until everything accepted before this call is on disk, and for nothing accepted later. Returns at once
    /// when a write fails (it is kept and retried), and reports how many records were given up since the last
    /// [acknowledgement](Self::acknowledge).
    ///
    /// Has no deadline: a disk that does not answer delays it. Cancellation safe.
    pub async fn flush(&self) -> Result<Flushed, FlushError> {
        self.flush_linked(None).await
    }

    /// As [`flush`](Self::flush); the span `metadata.flush` links to `link`, which is the span that asks.
    pub async fn flush_linked(&self, link: Option<Link>) -> Result<Flushed, FlushError> {
        self.report(None, link).await
    }

    /// As [`flush_linked`](Self::flush_linked), for one owner: reports only that owner's records that were given up.
    pub async fn flush_of(&self, owner: Owner, link: Option<Link>) -> Result<Flushed, FlushError> {
        self.report(Some(owner), link).await
    }

    async fn report(&self, whose: Option<Owner>, link: Option<Link>) -> Result<Flushed, FlushError> {
        let since = Instant::now();
        let result = self.wait(BarrierKind::Report(whose))?.over().await;
        spans::flush(self.shared.recorder(), link, [since, Instant::now()], &result);
        result
    }

    /// Makes the writer write the queue without delay, and returns at once: for a client that has disconnected.
    pub fn hurry(&self) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.scheduler.hurry();
        self.shared.wake_if_due(&mut state, now);
    }

    /// Accepts a process's start, and waits until it is on disk, as `--durability start` requires before the process is
    /// created. Failures are retried until `limit`.
    ///
    /// After an error the process must not be created, and the caller accepts a patch that ends it
    /// ([`FailedToStart`](baton_trace::outcome::Outcome::FailedToStart)), because the start may still reach the disk.
    /// Cancellation: the start stays accepted.
    pub async fn durable(
        &self,
        start: ProcessPatch,
        link: Option<Link>,
        limit: Duration,
    ) -> Result<(), NotDurable> {
        let not_durable = |cause| NotDurable { cause };
        self.accept_linked(start, link)
            .map_err(|refused| not_durable(NotDurableCause::Refused(refused)))?;
        self.made_durable(limit).await
    }

    /// Waits until everything accepted before this call is on disk, with retries until `limit`: the second half of
    /// [`durable`](Self::durable), for a start that was accepted already.
    pub async fn made_durable(&self, limit: Duration) -> Result<(), NotDurable> {
        let not_durable = |cause| NotDurable { cause };
        let mut barrier = self
            .wait(BarrierKind::Durable)
            .map_err(|error| not_durable(NotDurableCause::Barrier(error)))?;
        match tokio::time::timeout(limit, barrier.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(not_durable(NotDurableCause::Barrier(error))),
            Err(_elapsed) => Err(not_durable(match barrier.abandon() {
                Some(cause) => NotDurableCause::Failed(WriteError::clone(&cause)),
                None => NotDurableCause::Stalled,
            })),
        }
    }

    /// Acknowledges `count` records that were given up: barriers then report only further ones. An acknowledgement
    /// holds across restarts once it is on disk.
    pub fn acknowledge(&self, count: u64) {
        self.acknowledged(None, count);
    }

    /// As [`acknowledge`](Self::acknowledge), of this owner's records.
    pub fn acknowledge_of(&self, owner: Owner, count: u64) {
        self.acknowledged(Some(owner), count);
    }

    fn acknowledged(&self, whose: Option<Owner>, count: u64) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.scheduler.acknowledge(whose, count, now);
        self.shared.wake_if_due(&mut state, now);
    }

    /// Why the last write failed, unless a later one has succeeded.
    pub fn failing(&self) -> Option<WriteError> {
        self.shared.lock().scheduler.failing().cloned()
    }

    /// Why the store cannot remove old records or checkpoint its log at the moment. The file grows meanwhile; nothing
    /// is lost.
    pub fn upkeep_failing(&self) -> Option<WriteError> {
        self.shared.lock().scheduler.upkeep_failing().cloned()
    }

    /// Counters and the state of the queue.
    pub fn stats(&self) -> WriterStats {
        let now = Instant::now();
        let state = self.shared.lock();
        let writing = state.writing;
        WriterStats {
            writing: writing.map_or(0, |writing| writing.patches),
            writing_for: writing.map_or(Duration::ZERO, |writing| now - writing.since),
            ..state.scheduler.stats(now)
        }
    }

    fn wait(&self, wait: BarrierKind) -> Result<Barrier<'_>, FlushError> {
        let now = Instant::now();
        let (sender, over) = oneshot::channel();
        let mut state = self.shared.lock();
        if state.mode != WriterMode::Running {
            return Err(FlushError::Stopped);
        }
        let barrier = state.scheduler.wait(wait)?;
        // An empty queue completes it at once.
        match state.scheduler.take_over(barrier) {
            Some(result) => drop(sender.send(result)),
            None => drop(state.waiters.insert(barrier, sender)),
        }
        self.shared.wake_if_due(&mut state, now);
        Ok(Barrier {
            shared: &self.shared,
            barrier,
            over,
        })
    }
}

/// A registered barrier. Dropping it removes it.
struct Barrier<'a> {
    shared: &'a WriterShared,
    barrier: BarrierId,
    over: oneshot::Receiver<Result<Flushed, FlushError>>,
}

impl Barrier<'_> {
    async fn wait(&mut self) -> Result<Flushed, FlushError> {
        (&mut self.over).await.unwrap_or(Err(FlushError::Stopped))
    }

    async fn over(mut self) -> Result<Flushed, FlushError> {
        self.wait().await
    }

    /// Removes the barrier. Returns the last failure of an entry that it covers.
    fn abandon(&self) -> Option<Arc<WriteError>> {
        let mut state = self.shared.lock();
        state.waiters.remove(&self.barrier);
        state.scheduler.abandon(self.barrier)
    }
}

impl Drop for Barrier<'_> {
    fn drop(&mut self) {
        self.abandon();
    }
}
