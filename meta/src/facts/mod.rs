//! What the working directory of a thread is part of: repository, branch, commit. Found when it is first needed, and never before the
//! first event of the command that needs it is on its way.
//!
//! ```text
//! accepted ──► expect (thread, cwd) ──► delivered ──► the finder's own thread: look, and look again at what is old
//!                                 └──► refused: forgotten              └──► a patch of the thread, if it is news
//! ```
//!
//! The finder is one thread, begun at the first need. It alone waits for the file system; when it is behind, needs are forgotten, not
//! queued: the next command of the thread has the same one.

mod git;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;

use baton_trace::background;
use baton_trace::clock;
use baton_trace::record::unix_now_ns;
use nix::sys::signal::SigSet;

use crate::limits::{FACTS_CACHED, FACTS_EXPECTED, FACTS_FRESH, FACTS_QUEUE};
use crate::record::{CwdFacts, ProcessKey, ThreadKey, ThreadPatch};
use git::{Repository, Stamp};

/// Takes what was found.
pub(crate) type Found = Arc<dyn Fn(ThreadPatch) + Send + Sync>;

/// See the [module](self).
pub(crate) struct Facts {
    /// What relative directories are relative to.
    base: PathBuf,
    found: Found,
    expected: Mutex<HashMap<ProcessKey, Need>>,
    finder: OnceLock<SyncSender<Need>>,
    /// Shared with whoever asks for one thread's facts at once.
    known: Arc<Mutex<Known>>,
}

/// A thread whose command runs in a directory.
#[derive(Debug, Clone)]
struct Need {
    thread: ThreadKey,
    cwd: Arc<Path>,
}

impl Facts {
    /// Hands what it finds to `found`. Begins nothing yet.
    pub(crate) fn new(found: Found) -> Self {
        Self {
            base: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            found,
            expected: Mutex::default(),
            finder: OnceLock::new(),
            known: Arc::default(),
        }
    }

    /// A command of this thread was accepted. An empty `cwd` is the server's.
    pub(crate) fn expect(&self, process: ProcessKey, thread: ThreadKey, cwd: &[u8]) {
        let cwd = self.absolute(cwd);
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as processes can run: beyond it somebody forgot to say what became of one.
        if expected.len() < FACTS_EXPECTED {
            expected.insert(process, Need { thread, cwd });
        }
    }

    /// Nothing will be delivered.
    pub(crate) fn forget(&self, process: &ProcessKey) {
        self.take(process);
    }

    /// Its first event is on its way: what it needs may be looked for.
    pub(crate) fn delivered(&self, process: &ProcessKey) {
        if let Some(need) = self.take(process)
            && self.is_news(&need)
        {
            // Full: the finder is behind. Somebody will need it again.
            let _ = self.finder().try_send(need);
        }
    }

    /// Looks now, on the caller's thread, which may wait for the file system.
    pub(crate) fn look(&self, thread: &ThreadKey, cwd: &[u8]) -> Arc<CwdFacts> {
        let need = Need {
            thread: thread.clone(),
            cwd: self.absolute(cwd),
        };
        let facts = look(&self.known, &need.cwd, clock::now());
        tell(&self.known, &self.found, need, &facts);
        facts
    }

    fn take(&self, process: &ProcessKey) -> Option<Need> {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        // Most commands belong to no thread.
        if expected.is_empty() {
            return None;
        }
        expected.remove(process)
    }

    /// Whether there is anything to look for: not if it was looked for just now.
    fn is_news(&self, need: &Need) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(directory) = known.directories.get(&need.cwd) else {
            return true;
        };
        let is_fresh = clock::now().saturating_duration_since(directory.looked) < FACTS_FRESH;
        let is_told = known
            .told
            .get(&need.thread)
            .is_some_and(|told| Arc::ptr_eq(told, &directory.facts));
        !(is_fresh && is_told)
    }

    fn absolute(&self, cwd: &[u8]) -> Arc<Path> {
        match cwd {
            // Joined, it would end in a slash.
            [] => self.base.as_path().into(),
            cwd => self.base.join(OsStr::from_bytes(cwd)).into(),
        }
    }

    fn finder(&self) -> &SyncSender<Need> {
        self.finder.get_or_init(|| {
            let (sender, needs) = sync_channel(FACTS_QUEUE);
            let (known, found) = (Arc::clone(&self.known), Arc::clone(&self.found));
            let finder = thread::Builder::new().name("baton-facts".to_owned());
            // Without it nothing is found, and all else goes on.
            let _ = finder.spawn(move || {
                background::give_way();
                find(&needs, &known, &found);
            });
            sender
        })
    }
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").finish_non_exhaustive()
    }
}

/// The finder's life, which ends with its [`Facts`].
fn find(needs: &Receiver<Need>, known: &Mutex<Known>, found: &Found) {
    // Cloning a child blocks signals in the thread that does it; a SIGCHLD would wake this one instead, for every child.
    let _ = SigSet::all().thread_block();
    for need in needs {
        let facts = look(known, &need.cwd, clock::now());
        tell(known, found, need, &facts);
    }
}

/// What is known of directories, and who was told.
#[derive(Debug, Default)]
struct Known {
    directories: HashMap<Arc<Path>, Directory>,
    told: HashMap<ThreadKey, Arc<CwdFacts>>,
}

#[derive(Debug)]
struct Directory {
    facts: Arc<CwdFacts>,
    looked: Instant,
    repository: Option<(Repository, Stamp)>,
}

/// The facts of a directory: what is known if that is fresh or nothing has changed, else found anew.
fn look(known: &Mutex<Known>, cwd: &Arc<Path>, now: Instant) -> Arc<CwdFacts> {
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let before = lock()
        .directories
        .get(cwd)
        .map(|known| (Arc::clone(&known.facts), known.looked, known.repository.clone()));
    if let Some((facts, looked, _)) = &before
        && now.saturating_duration_since(*looked) < FACTS_FRESH
    {
        return Arc::clone(facts);
    }
    // Without the lock: this waits for the file system.
    let around = Repository::around(cwd);
    let unchanged = before.filter(|(_, _, before)| match (before, &around) {
        (Some((before, stamp)), Some(around)) => before == around && around.is_unchanged(stamp),
        (None, None) => true,
        _ => false,
    });
    let directory = match unchanged {
        Some((facts, _, repository)) => Directory {
            facts,
            looked: now,
            repository,
        },
        None => found(cwd, around, now),
    };
    let facts = Arc::clone(&directory.facts);
    let mut known = lock();
    if known.directories.len() >= FACTS_CACHED {
        known.directories.clear();
    }
    known.directories.insert(Arc::clone(cwd), directory);
    facts
}

fn found(cwd: &Path, repository: Option<Repository>, now: Instant) -> Directory {
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
    Directory {
        facts: Arc::new(facts),
        looked: now,
        repository: read.map(|(repository, _, stamp)| (repository, stamp)),
    }
}

/// Tells what a thread was not told before.
fn tell(known: &Mutex<Known>, found: &Found, need: Need, facts: &Arc<CwdFacts>) {
    {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known
            .told
            .get(&need.thread)
            .is_some_and(|told| Arc::ptr_eq(told, facts))
        {
            return;
        }
        if known.told.len() >= FACTS_CACHED {
            known.told.clear();
        }
        known.told.insert(need.thread.clone(), Arc::clone(facts));
    }
    found(ThreadPatch {
        facts: Some(Arc::clone(facts)),
        ..ThreadPatch::touch(need.thread, unix_now_ns())
    });
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use baton_proto::ProcessId;

    use super::*;
    use crate::record::Owner;

    fn process(number: u8) -> ProcessKey {
        ProcessKey {
            owner: Owner([1; 32]),
            process_id: ProcessId([number; 16]),
        }
    }

    fn thread(name: &str) -> ThreadKey {
        ThreadKey {
            owner: Owner([1; 32]),
            thread_id: name.into(),
        }
    }

    fn facts() -> (Facts, mpsc::Receiver<ThreadPatch>) {
        let (sender, found) = mpsc::channel();
        let sender = Mutex::new(sender);
        let facts = Facts::new(Arc::new(move |patch| {
            sender.lock().unwrap().send(patch).unwrap();
        }));
        (facts, found)
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A repository as git would make it, whose branch is at `commit`.
    fn repository(root: &Path, commit: &str) {
        fs::create_dir_all(root.join(".git/objects")).unwrap();
        fs::create_dir_all(root.join(".git/refs/heads")).unwrap();
        fs::write(root.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(root.join(".git/refs/heads/main"), commit).unwrap();
    }

    #[test]
    fn nothing_is_looked_for_before_the_first_event_is_delivered() {
        let dir = tempfile::tempdir().unwrap();
        let (facts, found) = facts();
        facts.expect(process(1), thread("t"), dir.path().as_os_str().as_bytes());
        assert!(facts.finder.get().is_none(), "not even a thread for it");
        // Made only now: had anybody looked before, it would be told that there is none.
        repository(dir.path(), &"a".repeat(40));
        facts.delivered(&process(1));
        let patch = found.recv_timeout(PATIENCE).unwrap();
        assert_eq!(patch.key, thread("t"));
        let facts = patch.facts.unwrap();
        assert_eq!(facts.branch.as_deref(), Some(&b"main"[..]));
        assert_eq!(facts.head.as_deref(), Some(&*"a".repeat(40)));
        assert_eq!(
            facts.repository_root.as_deref(),
            Some(dir.path().as_os_str().as_bytes())
        );
    }

    #[test]
    fn a_thread_is_told_once_and_again_when_its_head_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        repository(dir.path(), &"a".repeat(40));
        let (facts, found) = facts();
        let cwd = dir.path().as_os_str().as_bytes();
        for number in 1..=3 {
            facts.expect(process(number), thread("t"), cwd);
            facts.delivered(&process(number));
        }
        facts.expect(process(4), thread("other"), cwd);
        facts.delivered(&process(4));
        let told = || found.recv_timeout(PATIENCE).unwrap().key;
        assert_eq!((told(), told()), (thread("t"), thread("other")));
        assert!(found.try_recv().is_err());

        // What is fresh is not looked at again; what is not, is.
        let age = |known: &Facts| {
            for directory in known.known.lock().unwrap().directories.values_mut() {
                directory.looked -= FACTS_FRESH;
            }
        };
        age(&facts);
        facts.look(&thread("t"), cwd);
        assert!(found.try_recv().is_err(), "nothing has changed");
        repository(dir.path(), &"b".repeat(40));
        facts.look(&thread("t"), cwd);
        assert!(found.try_recv().is_err(), "still fresh");
        age(&facts);
        let seen = facts.look(&thread("t"), cwd);
        assert_eq!(seen.head.as_deref(), Some(&*"b".repeat(40)));
        assert_eq!(found.try_recv().unwrap().facts, Some(seen));
    }

    #[test]
    fn a_start_that_was_refused_needs_nothing() {
        let (facts, found) = facts();
        facts.expect(process(1), thread("t"), b"");
        facts.forget(&process(1));
        facts.delivered(&process(1));
        assert!(facts.finder.get().is_none() && found.try_recv().is_err());
    }

    #[test]
    fn the_memory_of_threads_and_directories_is_bounded() {
        let (facts, _found) = facts();
        for number in 0..FACTS_CACHED + 10 {
            facts.look(
                &thread(&number.to_string()),
                format!("/nowhere/{number}").as_bytes(),
            );
        }
        let known = facts.known.lock().unwrap();
        assert!(known.told.len() <= FACTS_CACHED && known.directories.len() <= FACTS_CACHED);
    }
}
