//! The root of a project: found in one round trip, and not paid for twice at start-up.
//!
//! ```text
//! find_at_startup ──► FindUp ──► the root, kept once ─┐
//! project_root ──► kept for this start? handed over ◄─┘ else announced? FindUp ──► unimplemented? ─┐
//!                                                                  └─ no ─────────► probes (fallback) ◄┘
//! ```
//!
//! Nothing is cached beyond that one hand-over, so a nearer marker that is made or removed later is seen.
//!
//! The handshake tells whether the exec-server has `FindUp`. A program that embeds one may announce it and not mount it.
//! Such an exec-server, and any before the first session, is asked; that it has none is remembered for its epoch, since
//! the next one may have it.

mod fallback;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_proto::{Epoch, Features};

use crate::files::{Files, FilesError, UpwardSearch};

/// Finds project roots. Clones share the root that is kept from start-up.
#[derive(Clone)]
pub struct Workspace {
    finder: RootFinder,
    kept: Arc<Mutex<Option<KeptRoot>>>,
}

/// Finds project roots and keeps none. Clones share what they know about the exec-server.
#[derive(Clone)]
pub(crate) struct RootFinder {
    files: Files,
    /// The epoch of an exec-server that has no `FindUp`.
    without_find_up: Arc<Mutex<Option<Epoch>>>,
}

/// A root that was found at start-up, with the question that it answers.
struct KeptRoot {
    epoch: Epoch,
    start: PathBuf,
    markers: Vec<OsString>,
    search: UpwardSearch,
}

impl Workspace {
    pub(crate) fn over(finder: RootFinder) -> Self {
        Self {
            finder,
            kept: Arc::default(),
        }
    }

    /// As [`project_root`](Self::project_root), for a program that starts. A root that is found is kept for the next
    /// `project_root`, which takes it without a call if it asks for the same start directory and the same markers.
    ///
    /// Cancellation safe: a dropped call keeps nothing.
    ///
    /// # Errors
    /// As [`project_root`](Self::project_root).
    pub async fn find_at_startup<M: AsRef<OsStr>>(
        &self,
        start: impl AsRef<Path>,
        markers: impl IntoIterator<Item = M>,
    ) -> Result<UpwardSearch, FilesError> {
        let (start, markers) = (start.as_ref().to_owned(), owned(markers));
        self.kept().take();
        let search = self.finder.find(&start, &markers).await?;
        if search.root.is_some()
            && let Some(epoch) = self.finder.files.channel.epoch()
        {
            *self.kept() = Some(KeptRoot {
                epoch,
                start,
                markers,
                search: search.clone(),
            });
        }
        Ok(search)
    }

    /// The nearest ancestor of `start`, `start` included, that holds one of the markers (1 to 16 names), such as `.git`
    /// or `Cargo.toml`: see [`Files::find_up`]. An empty `start` is the exec-server's default directory.
    ///
    /// One round trip. With an exec-server that has `Stat` and no `FindUp`, one for each eight ancestors, and one more
    /// for a start with symbolic links, and where the search establishes the session.
    ///
    /// The root that [`find_at_startup`](Self::find_at_startup) kept is given up by this call. It is the answer if it
    /// was found for the same start and markers, by the same run of the exec-server, and the session is still open.
    ///
    /// Cancellation safe, but a kept root is gone after a dropped call.
    ///
    /// # Errors
    /// [`FilesError`]. That no ancestor holds a marker is no error.
    pub async fn project_root<M: AsRef<OsStr>>(
        &self,
        start: impl AsRef<Path>,
        markers: impl IntoIterator<Item = M>,
    ) -> Result<UpwardSearch, FilesError> {
        let (start, markers) = (start.as_ref(), owned(markers));
        // Taken also if it does not fit: the next discovery only.
        let kept = self.kept().take();
        if let Some(kept) = kept
            && kept.start == start
            && kept.markers == markers
            && self.finder.files.channel.epoch() == Some(kept.epoch)
        {
            return Ok(kept.search);
        }
        self.finder.find(start, &markers).await
    }

    fn kept(&self) -> MutexGuard<'_, Option<KeptRoot>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RootFinder {
    pub(crate) fn over(files: Files) -> Self {
        Self {
            files,
            without_find_up: Arc::default(),
        }
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    pub(crate) async fn find(&self, start: &Path, markers: &[OsString]) -> Result<UpwardSearch, FilesError> {
        let channel = &self.files.channel;
        let epoch = channel.epoch();
        let may_have_find_up = match epoch {
            // The call establishes the session, and so finds out.
            None => true,
            known => channel.features().has(Features::FIND_UP) && *self.without_find_up() != known,
        };
        if may_have_find_up {
            match self.files.find_up_any(start, markers).await {
                Err(FilesError::NotServed) => {}
                answered => return answered,
            }
            // Without a session before the call, or if the exec-server has restarted, which run answered is unknown.
            let now = self.files.channel.epoch();
            if epoch.is_none() || epoch == now {
                *self.without_find_up() = now;
            }
        }
        fallback::find(&self.files, start, markers).await
    }

    fn without_find_up(&self) -> MutexGuard<'_, Option<Epoch>> {
        self.without_find_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn owned<M: AsRef<OsStr>>(markers: impl IntoIterator<Item = M>) -> Vec<OsString> {
    markers.into_iter().map(|name| name.as_ref().to_owned()).collect()
}
