//! The spool: undelivered spans of ended runs, kept on disk until a later run delivers them.
//!
//! A directory of mode 0700 with one file of mode 0600 per run. `docs/guide/telemetry.md` documents the format.
//!
//! ```text
//! spool/1764000000000-6e1f…-12-5120-9f3c2a1b.otlp    milliseconds since 1970, destination, spans, bytes, random
//! spool/.1764000000123-….part                        not finished
//! spool/write.lock, spool/send.lock
//! ```
//!
//! | run | action | locks |
//! |---|---|---|
//! | a run that ends | removes files that are too old or exceed the limits, writes `.part`, renames it; removes it if it is delivered after all | `write.lock` while writing; the lock of its file until the run ends |
//! | a run that is connected | sends the files and removes them | `send.lock`, and the lock of each file |
//!
//! So a file is sent by one run at a time, and never while its writer still retries. Locks are `flock(2)`: the kernel
//! releases them when the process ends. If a run crashes between the collector's response and the removal, the file is
//! sent again: duplicates, which have the same span ids, are possible, a loss is not. Nothing is synced, so a power
//! failure can lose the newest files.
//!
//! A destination is the hash of the endpoint and its headers: spans for one collector or tenant are never sent to
//! another.
//!
//! Only the directory's owner can write there. Its content is still treated as untrusted: no link is followed, anything
//! but a regular file is closed at once, and the size is checked before a file is read.

mod content;
mod directory;
mod name;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest;
use baton_trace::w3c::random::random_u64;

use super::outbox::EncodedRequest;
use super::settings::ExporterSettings;
use crate::limits::{SPOOL_AGE_MAX, SPOOL_BYTES_MAX, SPOOL_FILES_MAX, SPOOL_PART_AGE_MAX};

pub(super) use content::SpoolContent;
pub(super) use directory::{OpenedFile, SpoolDirectory};
pub(super) use name::SpoolFileName;

/// The directory of a spool, and the destination of its spans.
#[derive(Debug, Clone)]
pub struct Spool {
    path: PathBuf,
    destination: u64,
}

/// Why the spool is unusable, or why spans were not stored.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The directory belongs to another user.
    #[error("{path} belongs to another user: move it away, or set XDG_STATE_HOME to a directory of your own")]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Other users can access the directory.
    #[error("{path} is open to other users: run `chmod 700 {path}`")]
    Open {
        /// The directory.
        path: PathBuf,
    },
    /// The spans to write exceed the size limit of a spool.
    #[error("{bytes} bytes are more than the {SPOOL_BYTES_MAX} that a spool may hold")]
    TooMuch {
        /// Their size.
        bytes: u64,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// A file that this run has written.
#[derive(Debug)]
pub(super) struct SpoolFile {
    directory: SpoolDirectory,
    name: String,
    /// The lock: no other run sends the file while it is held.
    _locked: rustix::fd::OwnedFd,
}

/// The files that were removed to make room.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct PruneReport {
    /// Spans of removed files, which were too old or exceeded the limits.
    pub(super) spans: u64,
    /// When the oldest remaining file was written, in milliseconds since 1970.
    pub(super) oldest_ms: Option<u64>,
}

impl Spool {
    /// The spool in this directory, which is created when first needed, for the destination in `settings`.
    pub fn new(path: PathBuf, settings: &ExporterSettings) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(settings.endpoint.to_string().as_bytes());
        let mut headers: Vec<_> = settings.headers.iter().collect();
        headers.sort_by_key(|(name, value)| (name.as_str(), value.as_bytes()));
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                hash.update(&[0]);
                hash.update(part);
            }
        }
        let first = hash
            .finish()
            .as_ref()
            .iter()
            .take(8)
            .fold(0, |first, byte| first << 8 | u64::from(*byte));
        Self {
            path,
            destination: first,
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files for this destination, oldest first; `None` if the directory does not exist.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(super) fn look(&self) -> Result<Option<(SpoolDirectory, Vec<SpoolFileName>)>, SpoolError> {
        let Some(directory) = SpoolDirectory::open(&self.path)? else {
            return Ok(None);
        };
        let mut names = directory.names()?;
        names.retain(|name| name.destination == self.destination);
        Ok(Some((directory, names)))
    }

    /// Writes one file, and removes files that are too old or exceed the limits. Blocks on disk operations.
    ///
    /// # Errors
    /// [`SpoolError`]. Nothing is written then.
    pub(super) fn write(&self, requests: &[EncodedRequest]) -> Result<(SpoolFile, PruneReport), SpoolError> {
        let content = content::encode(requests);
        let bytes = content.len() as u64;
        if bytes > SPOOL_BYTES_MAX {
            return Err(SpoolError::TooMuch { bytes });
        }
        let directory = SpoolDirectory::create(&self.path)?;
        let _writing = directory.lock("write.lock", true)?;
        let now_ms = now_ms();
        let pruned = prune(&directory, now_ms, bytes)?;
        let name = SpoolFileName {
            at_ms: now_ms,
            destination: self.destination,
            spans: requests.iter().map(|request| request.spans).sum(),
            bytes,
            random: random_u64() as u32,
        };
        let name = name.to_string();
        let locked = directory.write(&name, &content)?;
        let written = SpoolFile {
            directory,
            name,
            _locked: locked,
        };
        Ok((written, pruned))
    }
}

impl SpoolFile {
    /// Removes the file, because its spans were delivered.
    pub(super) fn remove(self) {
        // If this fails, the spans are sent twice.
        let _ = self.directory.remove(&self.name);
    }
}

/// Removes files older than [`SPOOL_AGE_MAX`], and then the oldest files until `bytes` more fit.
pub(super) fn prune(directory: &SpoolDirectory, now_ms: u64, bytes: u64) -> Result<PruneReport, SpoolError> {
    directory.remove_parts(now_ms.saturating_sub(SPOOL_PART_AGE_MAX.as_millis() as u64));
    let names = directory.names()?;
    let oldest_ms = now_ms.saturating_sub(SPOOL_AGE_MAX.as_millis() as u64);
    let mut total = names
        .iter()
        .fold(bytes, |total, name| total.saturating_add(name.bytes));
    let mut count = names.len() + 1;
    let mut pruned = PruneReport::default();
    for name in &names {
        if name.at_ms >= oldest_ms && total <= SPOOL_BYTES_MAX && count <= SPOOL_FILES_MAX {
            pruned.oldest_ms.get_or_insert(name.at_ms);
            break;
        }
        // If another run removed the file first, that run counts its spans.
        if directory.remove(&name.to_string()).is_ok() {
            pruned.spans += name.spans;
        }
        total = total.saturating_sub(name.bytes);
        count -= 1;
    }
    Ok(pruned)
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl SpoolError {
    fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// An entry of the spool that was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolFinding {
    /// The file.
    pub name: String,
    /// Its fault.
    pub what: SpoolFault,
}

/// The faults of an entry of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolFault {
    /// The content is invalid. The file was removed, and its readable part was sent.
    Damaged,
    /// A link. It was removed, and not followed.
    Link,
    /// It belongs to another user. It was left alone.
    Foreign,
    /// It is not a regular file. It was left alone.
    NoFile,
    /// The collector refused it. It was removed.
    Refused,
}

impl fmt::Display for SpoolFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            SpoolFault::Damaged => "is damaged and was removed",
            SpoolFault::Link => "is a link and was removed",
            SpoolFault::Foreign => "belongs to another user and was left alone",
            SpoolFault::NoFile => "is no plain file and was left alone",
            SpoolFault::Refused => "was refused by the collector and removed",
        };
        write!(f, "{} {what}", baton_trace::text::printable(&self.name))
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(super) use content::fuzz;

#[cfg(test)]
pub(super) mod tests;
