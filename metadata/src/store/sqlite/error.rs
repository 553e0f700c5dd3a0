//! Why a state directory could not be opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::failure::{is_full, of_sqlite};

/// The holder of a state directory, as it wrote there itself.
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

/// Why a state directory could not be opened. Nothing in it was changed, unless the variant says otherwise.
///
/// A damaged database is not an error: it is set aside and a new one is created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another exec-server uses it.
    #[error(
        "the state directory {directory:?} is in use by {}: stop that one, or give this one another --state",
        .holder.as_ref().map_or_else(|| "another exec-server".to_owned(), LockHolder::to_string)
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// Its holder; `None` if it has not written its name yet.
        holder: Option<LockHolder>,
    },
    /// A later version of Baton wrote it, and this one does not know its schema.
    #[error(
        "{path:?} has schema {found}, and this version knows up to {known}: run the newer baton, or give this one \
         another --state"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i32,
        /// The latest version that is supported.
        known: i32,
    },
    /// The database of another program.
    #[error(
        "{path:?} is a database of another program (application id {application_id:#x}): give another --state"
    )]
    Foreign {
        /// The database.
        path: PathBuf,
        /// The application id of the other program.
        application_id: i32,
    },
    /// Other users may write to the directory, and so replace the database.
    #[error("others may write to the state directory {directory:?} (mode {mode:o}): chmod go-w it")]
    OpenToOthers {
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Missing permissions, or a read-only file system.
    #[error(
        "cannot write to {path:?}: {source}; give a --state that this user may write to, or --state none"
    )]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The operating system failed in another way.
    #[error("cannot use {path:?}: {source}; {}", advice(.source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// SQLite failed on a file that is not damaged: a full disk, no memory, a device that fails.
    #[error("cannot open {path:?}: {} ({source})", of_sqlite(.source).kind)]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Its error.
        source: rusqlite::Error,
    },
}

/// What to do.
fn advice(source: &io::Error) -> &'static str {
    use io::ErrorKind::{AlreadyExists, NotADirectory};
    match source.kind() {
        // Creating a directory fails with this if a file has its path.
        AlreadyExists | NotADirectory => "it is not a directory: give another --state",
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
            (of_system(rustix::io::Errno::NOTDIR), "it is not a directory"),
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
