//! Copies files and trees between this machine and the exec-server's.
//!
//! ```text
//! upload, download ──► source and destination looked at ──► one file, or a tree
//! tree ──► directories listed, a page at a time ──► files, a bounded number in flight ──► events
//! ```
//!
//! What arrives is not trusted. A name is one name, and it is only ever used below the descriptor of a directory that
//! this copy has opened without following a link ([`local`]). The exec-server keeps what it reads and writes below the
//! root of the tree (`FilePlace::beneath`).

mod download;
mod error;
mod local;
mod names;
mod resume;
mod tree;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;

use crate::files::{FileKind, FileStatus, Files, Stat};
use crate::limits::COPY_STREAMS;

pub use error::CopyError;

/// How a file or a tree is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyOptions {
    /// Copies a directory with everything below it. Without it a directory is [`CopyError::IsDirectory`].
    pub recursive: bool,
    /// Keeps the part of a large file whose copy fails, as `.NAME.baton-part` beside it, and goes on behind such a part if
    /// its hash is that of as many first bytes of the source. An upload to an exec-server of an earlier version begins anew.
    pub resume: bool,
}

/// A copy that runs while [`next`](Self::next) is awaited. Drop ends it: each file at the destination is either the old
/// one or whole.
pub struct FileCopy {
    events: BoxStream<'static, Result<CopyEvent, CopyError>>,
    meter: CopyMeter,
}

/// What happened to one file, directory or other node of the source.
#[derive(Debug)]
#[non_exhaustive]
pub enum CopyEvent {
    /// A file was copied.
    Copied {
        /// Below the source; empty for the source itself.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The file was changed meanwhile, so the copy may be a mixture.
        changed: bool,
    },
    /// A symbolic link, FIFO, socket or device in a tree, which is not copied.
    Skipped {
        /// Below the source.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// A file, or a directory with everything below it, was not copied. The copy of the others goes on.
    Failed {
        /// Below the source; empty for the source itself.
        path: PathBuf,
        /// Why.
        error: CopyError,
    },
}

/// Counts what a copy has done. Clones count the same copy, so that a program can show its progress while it runs.
#[derive(Debug, Clone, Default)]
pub struct CopyMeter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    files: AtomicU64,
    bytes: AtomicU64,
    files_found: AtomicU64,
    bytes_found: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CopyProgress {
    /// Files that were copied.
    pub files: u64,
    /// Bytes of files that were read at their source, unfinished files included.
    pub bytes: u64,
    /// Files found so far. In a tree it grows while directories are listed.
    pub files_found: u64,
    /// Their bytes, when they were listed.
    pub bytes_found: u64,
    /// Nodes that are not copied, such as symbolic links: [`CopyEvent::Skipped`].
    pub skipped: u64,
    /// Files and directories that could not be copied: [`CopyEvent::Failed`].
    pub failed: u64,
}

/// What the copies of the files of one source share.
#[derive(Clone)]
struct Context {
    files: Files,
    meter: CopyMeter,
    /// Files that are longer than a batch and copied at once.
    streams: Arc<Semaphore>,
    resume: bool,
}

impl Files {
    /// Copies a file of this machine, or a tree of them, to the exec-server's machine. `to` is absolute, or relative to
    /// the exec-server's default directory. If it is a directory, the copy is made in it, by the source's last name; a
    /// source that ends in `.`, `..` or `/` alone has none, and its entries are copied. If nothing has the name `to`, the
    /// copy is given it, in a directory that must exist. Otherwise a regular file is replaced.
    ///
    /// A link that is the source, or on its path or the destination's, is followed. In a tree, links, FIFOs, sockets and
    /// devices are skipped, and no link below the destination leads a file out of it; that needs Linux 5.6 on the
    /// exec-server's machine ([`FilesFailure::NoRoots`](crate::FilesFailure::NoRoots)).
    ///
    /// A copy has the permission bits of its source, without set-user-ID, set-group-ID and sticky bit, whatever the
    /// umask is. A directory that existed keeps its own. A directory of an upload can always be written by its owner.
    ///
    /// # Errors
    /// [`CopyError`]. Of one file in a tree it is a [`CopyEvent::Failed`].
    pub async fn upload(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        options: CopyOptions,
    ) -> Result<FileCopy, CopyError> {
        upload::begin(self.context(options), from.as_ref(), to.as_ref(), options).await
    }

    /// Copies a file of the exec-server's machine, or a tree of them, to this machine. `from` is absolute, or relative
    /// to the exec-server's default directory; an empty one is that directory. Otherwise as [`upload`](Self::upload).
    ///
    /// Below `to` no symbolic link is followed, and nothing but a regular file is replaced
    /// ([`CopyError::TargetNotRegular`]). A file is written beside its name, to `.baton-*.tmp`, and then takes the name
    /// in one step.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub async fn download(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        options: CopyOptions,
    ) -> Result<FileCopy, CopyError> {
        download::begin(self.context(options), from.as_ref(), to.as_ref(), options).await
    }

    fn context(&self, options: CopyOptions) -> Context {
        Context {
            files: self.clone(),
            meter: CopyMeter::default(),
            streams: Arc::new(Semaphore::new(COPY_STREAMS)),
            resume: options.resume,
        }
    }
}

impl FileCopy {
    fn new(events: BoxStream<'static, Result<CopyEvent, CopyError>>, meter: CopyMeter) -> Self {
        Self { events, meter }
    }

    /// The next event; `None` after the last. Cancellation safe.
    ///
    /// # Errors
    /// [`CopyError`]: the copy cannot go on, as when the session is lost. There are no further events.
    pub async fn next(&mut self) -> Result<Option<CopyEvent>, CopyError> {
        self.events.next().await.transpose()
    }

    /// Counts this copy.
    pub fn meter(&self) -> CopyMeter {
        self.meter.clone()
    }
}

impl std::fmt::Debug for FileCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileCopy")
            .field("progress", &self.meter.progress())
            .finish_non_exhaustive()
    }
}

impl CopyMeter {
    /// How far the copy is.
    pub fn progress(&self) -> CopyProgress {
        let counts = &self.0;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CopyProgress {
            files: read(&counts.files),
            bytes: read(&counts.bytes),
            files_found: read(&counts.files_found),
            bytes_found: read(&counts.bytes_found),
            skipped: read(&counts.skipped),
            failed: read(&counts.failed),
        }
    }

    fn found(&self, bytes: u64) {
        self.0.files_found.fetch_add(1, Ordering::Relaxed);
        self.0.bytes_found.fetch_add(bytes, Ordering::Relaxed);
    }

    fn moved(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts an event.
    ///
    /// # Errors
    /// The copy ends with this event.
    fn counted(&self, event: CopyEvent) -> Result<CopyEvent, CopyError> {
        let count = match event {
            CopyEvent::Failed { error, .. } if error.is_of_connection() => return Err(error),
            CopyEvent::Failed { .. } => &self.0.failed,
            CopyEvent::Skipped { .. } => &self.0.skipped,
            CopyEvent::Copied { .. } => &self.0.files,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(event)
    }
}

/// The status of what a path of the exec-server's machine leads to; `None` if it leads to nothing.
async fn look(files: &Files, path: &Path) -> Result<Option<FileStatus>, CopyError> {
    match files.stat(path, true).await? {
        Stat::Found(found) => Ok(Some(found)),
        Stat::NotFound => Ok(None),
        Stat::NotPermitted => Err(CopyError::NotPermitted),
    }
}

/// An absolute path of the exec-server's machine.
async fn absolute(files: &Files, path: &Path) -> Result<PathBuf, CopyError> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let default = look(files, Path::new("")).await?;
    let default = default.and_then(|found| found.canonical);
    let default = default.ok_or(CopyError::NoDefaultDirectory)?;
    match path.as_os_str().is_empty() {
        true => Ok(default),
        false => Ok(default.join(path)),
    }
}
