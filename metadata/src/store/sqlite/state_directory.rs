//! The state directory: its files, and that nobody else can read or replace them.
//!
//! The directory is made 0700 and its files 0600. One that others may *write* is refused: they could put another file in the database's
//! place. One that others may only list is taken as it is, because the files in it are closed to them anyway.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// Name of the database in a state directory.
pub const DATABASE: &str = "baton.db";

/// Name of the file whose lock says that an exec-server uses the directory.
pub const LOCK: &str = "lock";

/// A state directory that exists and is safe to use.
#[derive(Debug, Clone)]
pub(super) struct StateDirectory {
    directory: PathBuf,
}

impl StateDirectory {
    /// Makes the directory unless it is there, and looks who else may write in it.
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

    /// SQLite's index of it, shared by its readers.
    pub(super) fn shm(&self) -> PathBuf {
        self.directory.join(format!("{DATABASE}-shm"))
    }

    /// SQLite's journal, while a database is made: until then it has no log.
    pub(super) fn journal(&self) -> PathBuf {
        self.directory.join(format!("{DATABASE}-journal"))
    }

    /// The files of the database, the main one first, each with what its name adds to that of the first.
    pub(super) fn files(&self) -> [(PathBuf, &'static str); 4] {
        [
            (self.database(), ""),
            (self.wal(), "-wal"),
            (self.shm(), "-shm"),
            (self.journal(), "-journal"),
        ]
    }

    /// Makes an empty database file unless there is one, and closes it to others. SQLite gives its log and index the same mode.
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

/// Opens a file for reading and writing, made 0600 unless it is there. Never follows a link that somebody left in its place.
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
