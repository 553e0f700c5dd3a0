//! The lock of a corpus: the file `.lock`, which also names the active segment.
//!
//! Appenders hold it exclusively for one append, and readers shared while they look at the length of a segment. A
//! segment keeps its name all its life, so that a reader's list of files stays true while segments are rotated and
//! recompressed. The kernel releases the lock of a process that dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::limits::LOCK_FILE_BYTES;

const NAME: &str = ".lock";

/// The lock, held until it is dropped.
pub(crate) struct Lock(File);

impl Lock {
    /// Waits for the lock; creates its file if there is none.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let file = options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(NAME))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }

    /// Waits for the lock, if there is its file.
    pub(crate) fn existing(directory: &Path, operation: FlockOperation) -> io::Result<Self> {
        let file = options().open(directory.join(NAME))?;
        flock(&file, operation)?;
        Ok(Self(file))
    }

    /// The name of the active segment. A crash may leave anything here, which names no segment.
    pub(crate) fn active(&self) -> io::Result<String> {
        let mut name = vec![0; LOCK_FILE_BYTES];
        let mut len = 0;
        loop {
            match self.0.read_at(&mut name[len..], len as u64)? {
                0 => break,
                read => len += read,
            }
        }
        name.truncate(len);
        Ok(String::from_utf8(name).unwrap_or_default())
    }

    /// Stores the name of the active segment.
    pub(crate) fn set_active(&self, name: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(name.as_bytes(), 0)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A link in the place of the file could make another file the lock, or be written to.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed());
    options
}
