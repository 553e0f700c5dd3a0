//! Finds the repository of a directory, caches the facts, and reports new facts of a thread.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use baton_export::clock;
use baton_trace::record::unix_now_ns;

use super::git::{HeadFingerprint, Repository};
use super::{FactsRequest, OnFound};
use crate::limits::{FACTS_CACHED, FACTS_FRESH, FACTS_REPORTED, FACTS_TIMEOUT};
use crate::record::{CwdFacts, ThreadKey, ThreadPatch};

/// Finds the repository of a directory; may wait for the file system.
pub(super) type FindRepository = Box<dyn Fn(&Path) -> Option<Repository> + Send + Sync>;

/// See the [module](self).
pub(super) struct RepositoryFinder {
    found: OnFound,
    around: FindRepository,
    known: Mutex<FactsCache>,
}

/// Cached facts of directories, and which threads they were reported for.
#[derive(Debug, Default)]
pub(super) struct FactsCache {
    pub(super) directories: HashMap<Arc<Path>, CachedDirectory>,
    /// Directories with a lookup in progress.
    pub(super) looking: HashMap<Arc<Path>, PendingLookup>,
    pub(super) reported: HashMap<ThreadKey, (Arc<CwdFacts>, Instant)>,
    /// Deleted threads, with the time of the deletion.
    pub(super) deleted: HashMap<ThreadKey, u64>,
}

#[derive(Debug)]
pub(super) struct CachedDirectory {
    facts: Arc<CwdFacts>,
    pub(super) looked: Instant,
    repository: Option<(Repository, HeadFingerprint)>,
}

#[derive(Debug)]
pub(super) struct PendingLookup {
    pub(super) since: Instant,
    looks: usize,
}

impl FactsCache {
    /// Whether the facts were reported for the thread recently. It may have been removed since, by its age or with a
    /// damaged database.
    fn is_reported(&self, thread: &ThreadKey, facts: &Arc<CwdFacts>, now: Instant) -> bool {
        self.reported.get(thread).is_some_and(|(reported, at)| {
            Arc::ptr_eq(reported, facts) && now.saturating_duration_since(*at) < FACTS_REPORTED
        })
    }
}

impl RepositoryFinder {
    pub(super) fn new(found: OnFound, around: FindRepository) -> Self {
        Self {
            found,
            around,
            known: Mutex::default(),
        }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, FactsCache> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a lookup is needed: not if the facts are fresh and reported.
    pub(super) fn is_news(&self, request: &FactsRequest) -> bool {
        let now = clock::now();
        let known = self.known();
        let Some(directory) = known.directories.get(&request.cwd) else {
            return true;
        };
        let is_fresh = now.saturating_duration_since(directory.looked) < FACTS_FRESH;
        !(is_fresh && known.is_reported(&request.thread, &directory.facts, now))
    }

    /// Looks up the facts and reports them for the thread.
    pub(super) fn serve(&self, request: FactsRequest) -> Option<Arc<CwdFacts>> {
        let facts = self.look(&request.cwd, clock::now())?;
        self.notify(request, &facts);
        Some(facts)
    }

    /// The facts of a directory: cached if they are fresh or unchanged, else looked up. `None` if it hangs.
    fn look(&self, cwd: &Arc<Path>, now: Instant) -> Option<Arc<CwdFacts>> {
        let before = {
            let mut known = self.known();
            let before = known.directories.get(cwd);
            let before =
                before.map(|known| (Arc::clone(&known.facts), known.looked, known.repository.clone()));
            if let Some((facts, looked, _)) = &before
                && now.saturating_duration_since(*looked) < FACTS_FRESH
            {
                return Some(Arc::clone(facts));
            }
            let looking = known.looking.entry(Arc::clone(cwd));
            let looking = looking.or_insert(PendingLookup { since: now, looks: 0 });
            if now.saturating_duration_since(looking.since) >= FACTS_TIMEOUT {
                return None;
            }
            looking.looks += 1;
            before
        };
        // Without the lock, because this waits for the file system.
        let around = (self.around)(cwd);
        let unchanged = before.filter(|(_, _, before)| match (before, &around) {
            (Some((before, stamp)), Some(around)) => before == around && around.is_unchanged(stamp),
            (None, None) => true,
            _ => false,
        });
        let directory = match unchanged {
            Some((facts, _, repository)) => CachedDirectory {
                facts,
                looked: now,
                repository,
            },
            None => found(cwd, around, now),
        };
        let facts = Arc::clone(&directory.facts);
        let mut known = self.known();
        if let Some(looking) = known.looking.get_mut(cwd) {
            looking.looks -= 1;
            if looking.looks == 0 {
                known.looking.remove(cwd);
            }
        }
        if known.directories.len() >= FACTS_CACHED {
            known.directories.clear();
        }
        known.directories.insert(Arc::clone(cwd), directory);
        Some(facts)
    }

    /// Reports facts that were not reported for the thread before.
    fn notify(&self, request: FactsRequest, facts: &Arc<CwdFacts>) {
        let now = clock::now();
        let mut known = self.known();
        let is_deleted = known
            .deleted
            .get(&request.thread)
            .is_some_and(|deleted| request.at_unix_ns <= *deleted);
        if is_deleted || known.is_reported(&request.thread, facts, now) {
            return;
        }
        // Under the lock, so that a deletion is accepted after it. Its time is that of the last use, because a lookup
        // is not a use.
        let is_taken = (self.found)(ThreadPatch {
            facts: Some(Arc::clone(facts)),
            ..ThreadPatch::touch(request.thread.clone(), request.at_unix_ns)
        });
        if is_taken {
            if known.reported.len() >= FACTS_CACHED {
                known.reported.clear();
            }
            known.reported.insert(request.thread, (Arc::clone(facts), now));
        }
    }

    /// Notes a deletion: see [`Facts::deleted`](super::Facts::deleted).
    pub(super) fn deleted(&self, thread: &ThreadKey, at_unix_ns: u64) {
        let mut known = self.known();
        known.reported.remove(thread);
        if known.deleted.len() >= FACTS_CACHED {
            known.deleted.clear();
        }
        known.deleted.insert(thread.clone(), at_unix_ns);
    }

    /// The directory whose lookup has taken longest.
    pub(super) fn looked_at_longest(&self) -> Option<PathBuf> {
        let known = self.known();
        let longest = known.looking.iter().min_by_key(|(_, looking)| looking.since);
        longest.map(|(cwd, _)| cwd.to_path_buf())
    }
}

fn found(cwd: &Path, repository: Option<Repository>, now: Instant) -> CachedDirectory {
    let bytes = |path: &Path| Box::from(path.as_os_str().as_bytes());
    let read = repository.map(|repository| {
        let (head, stamp) = repository.head();
        (repository, head, stamp)
    });
    let facts = CwdFacts {
        cwd: bytes(cwd),
        repository_root: read.as_ref().map(|(repository, ..)| bytes(&repository.root)),
        branch: read
            .as_ref()
            .and_then(|(_, head, _)| head.branch.clone().map(Vec::into_boxed_slice)),
        head: read
            .as_ref()
            .and_then(|(_, head, _)| head.commit.clone().map(String::into_boxed_str)),
        found_unix_ns: unix_now_ns(),
    };
    CachedDirectory {
        facts: Arc::new(facts),
        looked: now,
        repository: read.map(|(repository, _, stamp)| (repository, stamp)),
    }
}
