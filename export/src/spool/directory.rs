//! The spool's directory. Its entries are opened relative to one descriptor, without following links.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RawMode, flock, fstat, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{SpoolError, SpoolFault, SpoolFileName};
use crate::limits::SPOOL_BYTES_MAX;

/// An open directory that only its owner can access. Clones share the descriptor.
#[derive(Debug, Clone)]
pub(crate) struct SpoolDirectory {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

/// The result of opening a file of the spool.
#[derive(Debug)]
pub(crate) enum OpenedFile {
    /// The content and the lock.
    Read(Bytes, OwnedFd),
    /// Another run holds the lock, or the file was removed.
    Taken,
    /// The entry must not be sent.
    Bad(SpoolFault),
}

/// The permission bits of group and others.
const OTHERS: RawMode = 0o077;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl SpoolDirectory {
    /// Opens the directory; `None` if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, SpoolError> {
        let fd = match openat(CWD, path, DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(SpoolError::io(path, error)),
        };
        let found = fstat(&fd).map_err(|error| SpoolError::io(path, error))?;
        let path = path.to_owned();
        if found.st_uid != geteuid().as_raw() {
            return Err(SpoolError::Foreign { path });
        }
        if found.st_mode & OTHERS != 0 {
            return Err(SpoolError::Open { path });
        }
        Ok(Some(Self {
            fd: Arc::new(fd),
            path,
        }))
    }

    /// Opens the directory, and creates it if necessary.
    pub(super) fn create(path: &Path) -> Result<Self, SpoolError> {
        if let Some(directory) = Self::open(path)? {
            return Ok(directory);
        }
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
        made.map_err(|error| SpoolError::io(path, error))?;
        Self::open(path)?.ok_or_else(|| SpoolError::io(path, Errno::NOENT))
    }

    /// The files of the spool, oldest first.
    pub(crate) fn names(&self) -> Result<Vec<SpoolFileName>, SpoolError> {
        let mut names = Vec::new();
        self.each(|name| names.extend(SpoolFileName::parse(name)))?;
        names.sort_unstable();
        Ok(names)
    }

    fn each(&self, mut see: impl FnMut(&str)) -> Result<(), SpoolError> {
        // Opens the directory again, because clones share the read position of a descriptor.
        let entries = Dir::read_from(&*self.fd).map_err(|error| self.io(error))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.io(error))?;
            if let Ok(name) = entry.file_name().to_str() {
                see(name);
            }
        }
        Ok(())
    }

    /// Removes unfinished files of crashed runs, from before `before_ms` (since 1970).
    pub(super) fn remove_parts(&self, before_ms: u64) {
        let mut parts = Vec::new();
        let listed = self.each(|name| {
            if name.starts_with('.') && name.ends_with(PART) {
                parts.push(name.to_owned());
            }
        });
        if listed.is_err() {
            return;
        }
        for part in parts {
            let path = self.path.join(&part);
            let changed = std::fs::symlink_metadata(path).and_then(|found| found.modified());
            let before = UNIX_EPOCH + Duration::from_millis(before_ms);
            if changed.is_ok_and(|changed| changed < before) {
                // The next run tries again.
                let _ = self.remove(&part);
            }
        }
    }

    /// Locks a file of this name, which is created if necessary, until the descriptor is closed. Blocks if `waits`.
    pub(crate) fn lock(&self, name: &str, waits: bool) -> Result<OwnedFd, SpoolError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, flags, OWNER).map_err(|error| self.io_of(name, error))?;
        let operation = if waits {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        flock(&file, operation).map_err(|error| self.io_of(name, error))?;
        Ok(file)
    }

    /// Writes a file atomically, and holds its lock.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<OwnedFd, SpoolError> {
        let part = format!(".{name}{PART}");
        let written = self.write_part(&part, content).and_then(|file| {
            renameat(&self.fd, &part, &self.fd, name)?;
            Ok(file)
        });
        written.map_err(|error| {
            // It may not exist.
            let _ = self.remove(&part);
            self.io_of(name, error)
        })
    }

    fn write_part(&self, part: &str, content: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.fd, part, flags, OWNER)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(content)?;
        Ok(file.into())
    }

    /// Reads a file under its lock.
    pub(crate) fn read(&self, name: &str) -> Result<OpenedFile, SpoolError> {
        // Non-blocking, because opening a FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(OpenedFile::Taken),
            Err(Errno::LOOP) => return Ok(OpenedFile::Bad(SpoolFault::Link)),
            Err(Errno::NXIO) => return Ok(OpenedFile::Bad(SpoolFault::NoFile)),
            Err(error) => return Err(self.io_of(name, error)),
        };
        let io = |error: io::Error| self.io_of(name, error);
        let found = fstat(&file).map_err(|error| io(error.into()))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(OpenedFile::Bad(SpoolFault::NoFile));
        }
        if found.st_uid != geteuid().as_raw() {
            return Ok(OpenedFile::Bad(SpoolFault::Foreign));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(OpenedFile::Taken),
            Err(error) => return Err(io(error.into())),
        }
        // The file was sent and removed between opening and locking.
        let found = fstat(&file).map_err(|error| io(error.into()))?;
        if found.st_nlink == 0 {
            return Ok(OpenedFile::Taken);
        }
        if u64::try_from(found.st_size).map_or(true, |size| size > SPOOL_BYTES_MAX) {
            return Ok(OpenedFile::Bad(SpoolFault::Damaged));
        }
        let mut file = File::from(file);
        let mut content = Vec::new();
        // Another program may still append to it.
        let mut bounded = (&mut file).take(SPOOL_BYTES_MAX);
        bounded.read_to_end(&mut content).map_err(io)?;
        Ok(OpenedFile::Read(content.into(), file.into()))
    }

    /// Removes a name. What a link points to stays.
    pub(crate) fn remove(&self, name: &str) -> Result<(), SpoolError> {
        unlinkat(self.fd.as_fd(), name, AtFlags::empty()).map_err(|error| self.io_of(name, error))
    }

    fn io(&self, error: impl Into<io::Error>) -> SpoolError {
        SpoolError::io(&self.path, error)
    }

    fn io_of(&self, name: &str, error: impl Into<io::Error>) -> SpoolError {
        SpoolError::io(&self.path.join(name), error)
    }
}

/// The name suffix of an unfinished file.
const PART: &str = ".part";

/// Mode 0600.
const OWNER: Mode = Mode::RUSR.union(Mode::WUSR);
