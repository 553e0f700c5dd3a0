//! Where records are written to.
//!
//! One thread writes, and it alone waits for the disk. A [`Store`] is what it writes to: SQLite, or in tests one that fails by
//! command. Queries do not go through here; they read beside the writer.

pub mod boot;
mod error;
pub mod query;
pub mod retention;
pub mod sqlite;
pub mod timings;

pub use error::{WriteError, WriteErrorKind};

use crate::batch::Batch;
use crate::record::Owner;

/// Keeps batches for ever. Called from one thread only, and may block it.
pub trait Store: Send {
    /// Commits the whole batch, or nothing of it. When it returns `Ok`, the batch outlives the loss of power.
    ///
    /// A patch may be written again after it was written already (a commit whose success could not be told is retried), so writing
    /// one twice must do what writing it once does.
    fn write(&mut self, batch: &Batch) -> Result<WriteSummary, WriteError>;

    /// Does one small step of what is due: retention, compaction, a checkpoint. Takes a few milliseconds at most; called again at once
    /// while it says [`UpkeepProgress::More`] and nothing waits to be written, and otherwise every
    /// [`UPKEEP_INTERVAL`](crate::limits::UPKEEP_INTERVAL).
    fn upkeep(&mut self, now_unix_ns: u64) -> Result<UpkeepProgress, WriteError>;

    /// What [`note_losses`](Self::note_losses) was last given, in an earlier life too.
    fn losses(&mut self) -> Result<Vec<(Owner, u64)>, WriteError> {
        Ok(Vec::new())
    }

    /// Remembers how many records of each owner were given up before they could be written and are not acknowledged. Takes the place of what
    /// was noted before. A store that forgets everything with the server need not.
    fn note_losses(&mut self, _losses: &[(Owner, u64)]) -> Result<(), WriteError> {
        Ok(())
    }
}

/// What a commit took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Rows inserted, changed or deleted.
    pub rows: u64,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpkeepProgress {
    /// Not for now.
    Done,
    /// Yes.
    More,
}
