//! Where metadata is written to.
//!
//! One thread writes, and only it waits for the disk. It writes to a [`Store`]: SQLite, or in tests a store that fails
//! on command. Queries do not use it; they read concurrently.

pub mod boot;
mod error;
pub mod query;
pub mod retention;
pub mod sqlite;
pub mod timings;

pub use error::{WriteError, WriteErrorKind};

use crate::batch::Batch;
use crate::record::Owner;

/// Stores batches durably. Called from one thread only, and may block it.
pub trait Store: Send {
    /// Commits the whole batch, or nothing of it. When it returns `Ok`, the batch survives a power failure.
    ///
    /// A batch may be written twice, because a commit with an unknown result is retried. So writing a patch twice must
    /// have the effect of writing it once.
    fn write(&mut self, batch: &Batch) -> Result<WriteSummary, WriteError>;

    /// Runs one small step of retention, compaction or a checkpoint. Takes a few milliseconds at most. Called again at
    /// once while it returns [`UpkeepProgress::More`] and the queue is empty, and otherwise every
    /// [`UPKEEP_INTERVAL`](crate::limits::UPKEEP_INTERVAL).
    fn upkeep(&mut self, now_unix_ns: u64) -> Result<UpkeepProgress, WriteError>;

    /// The argument of the last [`note_losses`](Self::note_losses), of an earlier epoch too.
    fn losses(&mut self) -> Result<Vec<(Owner, u64)>, WriteError> {
        Ok(Vec::new())
    }

    /// Stores how many records of each owner were given up and are not acknowledged. Replaces what was stored before. A
    /// store in memory need not store it.
    fn note_losses(&mut self, _losses: &[(Owner, u64)]) -> Result<(), WriteError> {
        Ok(())
    }
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Rows inserted, changed or deleted.
    pub rows: u64,
}

/// Whether more upkeep is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpkeepProgress {
    /// Nothing is due.
    Done,
    /// More is due.
    More,
}
