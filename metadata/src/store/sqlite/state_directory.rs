//! The state directory and its files, which no other user can read or replace.
//!
//! The directory is created with mode 0700 and its files with 0600. A directory that others may *write* to is refused,
//! because they could replace the database. One that others may only list is accepted, because they cannot read the
//! files.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// Name of the database in a state directory.
pub const DATABASE: &str = "baton.db";

/// Name of the file whose lock marks the directory as used by an exec-server.
pub const LOCK: &str = "lock";

/// A state directory that exists and is safe to use.
#[derive(Debug, Clone)]
pub(super) struct StateDirectory {
    directory: PathBuf,
}

impl StateDirectory {
    /// Creates the directory unless it exists, and checks its permissions.
    pub(super) fn prepare(directory: &Path) -> Result<Self, OpenError> {
        let failed = |error: io::Error| OpenError::from_io(directory, error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let directory = directory.canonicalize().map_err(failed)?;
        let mode = fs::metadata(&directory).map_err(failed)?.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(OpenError::OpenToOthers { directory, mode });
        }
        Ok(Self { directory })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.directory.join(LOCK)
    }

    pub(super) fn database(&self) -> PathBuf {
        self.directory.join(DATABASE)
    }

    /// SQLite's write-ahead log.
    pub(super) fn wal(&self) -> PathBuf {
        self.directory.join(format!("{DATABASE}-wal"))
    }

    /// SQLite's index of the log, shared by its readers.
    pub(super) fn shm(&self) -> PathBuf {
        self.directory.join(format!("{DATABASE}-shm"))
    }

    /// SQLite's journal, which exists only while a database is created.
    pub(super) fn journal(&self) -> PathBuf {
        self.directory.join(format!("{DATABASE}-journal"))
    }

    /// The files of the database, the main one first, each with its suffix.
    pub(super) fn files(&self) -> [(PathBuf, &'static str); 4] {
        [
            (self.database(), ""),
            (self.wal(), "-wal"),
            (self.shm(), "-shm"),
            (self.journal(), "-journal"),
        ]
    }

    /// Creates an empty database file unless there is one, and removes other users' permissions. SQLite gives its log
    /// and index the same mode.
    pub(super) fn claim_database(&self) -> Result<(), OpenError> {
        let path = self.database();
        let failed = |error: io::Error| OpenError::from_io(&path, error);
        let file = private(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Makes renames and new files in the directory durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    /// Bytes that the database and its log take.
    pub(super) fn bytes(&self) -> u64 {
        [self.database(), self.wal()]
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|file| file.len())
            .sum()
    }
}

/// Opens a file for reading and writing, created with mode 0600 unless it exists. Does not follow symbolic links,
/// because another user may have placed one.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}
