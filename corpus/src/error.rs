//! Why a corpus could not be used.

use std::io;
use std::path::{Path, PathBuf};

/// A corpus could not be opened, written or recompressed.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The directory could not be made.
    #[error("cannot make the directory {} for traces: {source}; pass a directory that this user may write to", path.display())]
    MakeDirectory {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file of the corpus could not be opened or written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file of the corpus could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A trace is longer than a frame may be.
    #[error(
        "the trace has {len} bytes, more than the limit of a corpus ({max}); write it with --trace-json instead"
    )]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
}

impl CorpusError {
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read {
            path: path.into(),
            source,
        }
    }
}
