//! Why a state directory could not be opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Who holds a state directory, as it wrote there itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name, without control characters.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// A state directory could not be opened. Nothing in it was changed, unless the variant says otherwise.
///
/// A damaged database is none of these: it is set aside and a new one begun.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another exec-server works on it.
    #[error(
        "the state directory {directory:?} is in use by {}: stop it, or give this one another --state",
        .holder.as_ref().map_or_else(|| "another exec-server".to_owned(), Holder::to_string)
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// Whoever holds it; `None` in the instant in which it has not said so yet.
        holder: Option<Holder>,
    },
    /// A later version of Baton wrote it, and this one would not understand what it changes.
    #[error(
        "{path:?} has schema {found}, and this version knows up to {known}: run the newer baton, or give this one another --state"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i32,
        /// The latest that this version knows.
        known: i32,
    },
    /// A database that another program made.
    #[error(
        "{path:?} is a database of another program (application id {application_id:#x}): give another --state"
    )]
    Foreign {
        /// The database.
        path: PathBuf,
        /// What SQLite knows the other program by.
        application_id: i32,
    },
    /// Others may put files into the directory, and so replace the database.
    #[error("others may write to the state directory {directory:?} (mode {mode:o}): chmod go-w it")]
    OpenToOthers {
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Missing rights, or a file system that is mounted read-only.
    #[error(
        "cannot write to {path:?}: {source}; give a --state that this user may write to, or --state none"
    )]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system failed in another way.
    #[error("cannot use {path:?}: {source}; give another --state, or --state none")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// SQLite failed on a file that is not damaged: a full disk, no memory, a device that fails.
    #[error("cannot open {path:?}: {source}; see that its disk has room, or give another --state")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(super) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path, source }
            }
            _ => Self::Io { path, source },
        }
    }
}
