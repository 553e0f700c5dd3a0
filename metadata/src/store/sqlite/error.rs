//! Why a state directory could not be opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::failure::{is_full, of_sqlite};

/// Who holds a state directory, as it wrote there itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id.
    pub pid: u32,
    /// Its name, without control characters.
    pub name: String,
}

impl fmt::Display for LockHolder {
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
        .holder.as_ref().map_or_else(|| "another exec-server".to_owned(), LockHolder::to_string)
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// Whoever holds it; `None` in the instant in which it has not said so yet.
        holder: Option<LockHolder>,
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
    #[error("cannot use {path:?}: {source}; {}", advice(.source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// SQLite failed on a file that is not damaged: a full disk, no memory, a device that fails.
    #[error("cannot open {path:?}: {} ({source})", of_sqlite(.source).kind)]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

/// What helps.
fn advice(source: &io::Error) -> &'static str {
    use io::ErrorKind::{AlreadyExists, NotADirectory};
    match source.kind() {
        // As making it says of a file in its place.
        AlreadyExists | NotADirectory => "it is no directory: give another --state",
        _ if is_full(source) => "free some, give another --state, or --state none",
        _ => "check the disk, give another --state, or --state none",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_cannot_be_opened_says_what_helps() {
        let path = || PathBuf::from("/state/baton.db");
        let of_sqlite = |code| OpenError::Sqlite {
            path: path(),
            source: rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None),
        };
        let of_system = |errno: rustix::io::Errno| OpenError::from_io(&path(), errno.into());
        for (error, advice) in [
            (of_sqlite(rusqlite::ffi::SQLITE_FULL), "free some"),
            (of_sqlite(rusqlite::ffi::SQLITE_BUSY), "end it, or wait for it"),
            (of_sqlite(rusqlite::ffi::SQLITE_IOERR), "check the disk"),
            (of_system(rustix::io::Errno::NOSPC), "free some"),
            (of_system(rustix::io::Errno::NOTDIR), "it is no directory"),
            (of_system(rustix::io::Errno::IO), "check the disk"),
            (of_system(rustix::io::Errno::ROFS), "that this user may write to"),
        ] {
            let told = error.to_string();
            assert!(
                told.contains(advice) && told.contains("/state/baton.db"),
                "{told}"
            );
        }
    }
}
