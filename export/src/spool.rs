//! The spool: spans that a run could not deliver before it ended, on disk until a later run does.
//!
//! A directory of mode 0700 with one file of mode 0600 a run. `docs/guide/telemetry.md` has the format for programs that want to read it.
//!
//! ```text
//! spool/1764000000000-6e1f…-12-5120-9f3c2a1b.otlp    milliseconds since 1970, destination, spans, bytes, random
//! spool/.1764000000123-….part                        not finished
//! spool/write.lock, spool/send.lock
//! ```
//!
//! | who | does | under |
//! |---|---|---|
//! | a run that ends | drops what is too old or too much, writes `.part`, renames it; takes it away if it is delivered after all | `write.lock`, for that moment; the lock of its file, for as long as it lives |
//! | a run that is connected | sends what is there and takes it away | `send.lock`, and the lock of each file |
//!
//! So a file is sent by one run at a time, and never while its writer still tries. Locks are `flock(2)`: they end with the process,
//! however that ends. A run that dies between the collector's answer and the removal leaves a file that is sent again: at most duplicates, which
//! have the same span ids, never a loss. Nothing is synced: a power failure can take the newest files.
//!
//! A destination is the endpoint with its headers, hashed: spans meant for one collector or tenant never go to another.
//!
//! The directory's owner alone can write there. What is found is still read as if anybody had: no link is followed, nothing that is no plain file
//! is opened for long, and a size is checked before anything is read.

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

/// Where a spool is, and for which collector.
#[derive(Debug, Clone)]
pub struct Spool {
    path: PathBuf,
    destination: u64,
}

/// Why there is no spool, or why something is not in it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The directory belongs to another user.
    #[error("{path} belongs to another user: move it away, or set XDG_STATE_HOME to a directory of your own")]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Others can get at what is in the directory.
    #[error("{path} is open to other users: run `chmod 700 {path}`")]
    Open {
        /// The directory.
        path: PathBuf,
    },
    /// What is to be written alone is more than a spool may hold.
    #[error("{bytes} bytes are more than the {SPOOL_BYTES_MAX} that a spool may hold")]
    TooMuch {
        /// How many bytes.
        bytes: u64,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// A file that this run has written.
#[derive(Debug)]
pub(super) struct SpoolFile {
    directory: SpoolDirectory,
    name: String,
    /// Its lock: nobody sends it while we may.
    _locked: rustix::fd::OwnedFd,
}

/// What writing has changed in the spool.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct PruneReport {
    /// Spans of files that were dropped, being too old or too much.
    pub(super) spans: u64,
    /// Milliseconds since 1970 at which the oldest file that is left was written.
    pub(super) oldest_ms: Option<u64>,
}

impl Spool {
    /// The spool in this directory, which is made when it is first needed, for what goes where `settings` say.
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

    /// What waits there for this destination, the oldest first; `None` where there is no directory yet.
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

    /// Writes one file, and drops what is too old or too much for it. Blocks for as long as the disk does.
    ///
    /// # Errors
    /// [`SpoolError`]. Nothing was written then.
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
    /// Takes the file away: its spans are delivered after all.
    pub(super) fn remove(self) {
        // At worst they are sent again.
        let _ = self.directory.remove(&self.name);
    }
}

/// Drops what is older than [`SPOOL_AGE_MAX`], and then the oldest, until there is room for `bytes` more.
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
        // Another run may have been first: then it counts them.
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

/// Something in the spool that was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolFinding {
    /// The file.
    pub name: String,
    /// What it is.
    pub what: SpoolFault,
}

/// What can be wrong with a file of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolFault {
    /// It is not what a run writes. It was removed, and what could be read of it was sent.
    Damaged,
    /// A link. It was removed, and not followed.
    Link,
    /// It belongs to another user. It was left alone.
    Foreign,
    /// It is no plain file. It was left alone.
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
