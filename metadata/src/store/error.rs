//! Why a batch could not be written.

use std::sync::Arc;

/// A commit that failed. The batch is kept and tried again, except where the kind says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct WriteError {
    /// What to do about it.
    pub kind: WriteErrorKind,
    /// In the words of whatever failed. Stays on this machine: never sent to a client whose records they are not about.
    pub detail: Arc<str>,
}

/// Kinds of failure, by what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteErrorKind {
    /// No space (ENOSPC, a quota, the size limit of a file).
    #[error("no space left where the state is kept; free some, or give --state another directory")]
    Full,
    /// The file, or its file system, cannot be written.
    #[error(
        "the state cannot be written; check the permissions of the --state directory and its file system"
    )]
    ReadOnly,
    /// The device failed.
    #[error("reading or writing the state failed; check the disk")]
    Io,
    /// Another process holds the database's lock.
    #[error("another process holds the database; end it, or wait for it")]
    Busy,
    /// What is in the file is no longer a database.
    #[error("the database is damaged; restart the exec-server, which sets it aside and begins a new one")]
    Corrupt,
    /// Something in this very batch can never be written, now or later. It is cut in halves until the patch is found; that one is
    /// given up, and counted.
    #[error("a record cannot be written at all; please report this")]
    Rejected,
    /// Anything else.
    #[error("the state could not be written")]
    Other,
}

impl WriteError {
    /// A failure of `kind`, in the words of `detail`.
    pub fn new(kind: WriteErrorKind, detail: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}
