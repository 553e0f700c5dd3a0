//! Why a batch could not be written.

use std::sync::Arc;

/// A failed commit. The batch is kept and retried, except where the kind says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct WriteError {
    /// The kind, by what to do.
    pub kind: WriteErrorKind,
    /// The message of the component that failed. Never sent to a client, because it may be about other clients'
    /// records.
    pub detail: Arc<str>,
}

/// Kinds of failure, by what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteErrorKind {
    /// No space (ENOSPC, a quota, the size limit of a file).
    #[error("no space left for the state directory; free some, or give --state another directory")]
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
    /// The file is no longer a valid database.
    #[error("the database is damaged; restart the exec-server, which sets it aside and begins a new one")]
    Corrupt,
    /// A patch of this batch can never be written. The batch is halved until that patch is found; it is given up, and
    /// counted.
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
