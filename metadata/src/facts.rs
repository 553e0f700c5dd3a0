//! Facts of a thread's working directory: repository, branch, commit. They are looked up after the first event of the
//! command that needs them was sent.
//!
//! ```text
//! accepted ──► expect (thread, cwd) ──► delivered ──► a finder thread: look up, or refresh old facts
//!                                 └──► refused: removed                └──► a patch of the thread, if the facts are new
//! ```
//!
//! Only the [`finder_threads`] wait for the file system. When they are behind, requests are dropped, because the next
//! command of the thread makes the same request. A directory that hangs is not looked up again until it answers.

mod finder;
mod finder_threads;
mod git;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use baton_export::clock;

use crate::limits::FACTS_EXPECTED;
use crate::record::{CwdFacts, ProcessKey, ThreadKey, ThreadPatch};
use finder::{FindRepository, RepositoryFinder};
use finder_threads::FinderThreads;
use git::Repository;

/// Accepts a patch with facts. False: it was not accepted, and must be sent again.
pub(crate) type OnFound = Arc<dyn Fn(ThreadPatch) -> bool + Send + Sync>;

/// See the [module](self).
pub(crate) struct Facts {
    /// The directory that relative directories are relative to.
    base: PathBuf,
    expected: Mutex<HashMap<ProcessKey, FactsRequest>>,
    finders: OnceLock<FinderThreads>,
    /// Shared with requests for one thread's facts.
    finder: Arc<RepositoryFinder>,
}

/// A thread whose command runs in a directory.
#[derive(Debug, Clone)]
struct FactsRequest {
    thread: ThreadKey,
    cwd: Arc<Path>,
    /// When the command was accepted.
    at_unix_ns: u64,
}

impl Facts {
    /// Passes facts to `found`. Starts no thread yet.
    pub(crate) fn new(found: OnFound) -> Self {
        Self::with(found, Box::new(Repository::around))
    }

    fn with(found: OnFound, around: FindRepository) -> Self {
        Self {
            base: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            expected: Mutex::default(),
            finders: OnceLock::new(),
            finder: Arc::new(RepositoryFinder::new(found, around)),
        }
    }

    /// Registers an accepted command of a thread. An empty `cwd` is the server's.
    pub(crate) fn expect(&self, process: ProcessKey, thread: ThreadKey, cwd: &[u8], at_unix_ns: u64) {
        let cwd = self.absolute(cwd);
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        // More than can run: most of them never had an event delivered, because their clients had disconnected.
        if expected.len() >= FACTS_EXPECTED {
            expected.clear();
        }
        let request = FactsRequest {
            thread,
            cwd,
            at_unix_ns,
        };
        expected.insert(process, request);
    }

    /// Removes a command that will have no events.
    pub(crate) fn forget(&self, process: &ProcessKey) {
        self.take(process);
    }

    /// Requests the facts for a command whose first event was sent.
    pub(crate) fn delivered(&self, process: &ProcessKey) {
        if let Some(request) = self.take(process)
            && self.finder.is_news(&request)
        {
            self.finders().send(request, clock::now());
        }
    }

    /// Looks up the facts on the calling thread, which may wait for the file system. `at_unix_ns` is when the thread
    /// was last used. `None` if the directory hangs.
    pub(crate) fn look(&self, thread: &ThreadKey, cwd: &[u8], at_unix_ns: u64) -> Option<Arc<CwdFacts>> {
        self.finder.serve(FactsRequest {
            thread: thread.clone(),
            cwd: self.absolute(cwd),
            at_unix_ns,
        })
    }

    /// Notes that a thread is about to be deleted. Facts that were found before are not reported any more, because they
    /// would create it anew. Facts that are found later are reported even if they are equal.
    pub(crate) fn deleted(&self, thread: &ThreadKey, at_unix_ns: u64) {
        self.finder.deleted(thread, at_unix_ns);
    }

    /// The directory that has hung for longest, if all finder threads hang.
    pub(crate) fn held_up(&self) -> Option<PathBuf> {
        let now = clock::now();
        let held_up = self.finders.get().is_some_and(|finders| finders.are_held_up(now));
        held_up.then(|| self.finder.looked_at_longest().unwrap_or_default())
    }

    fn take(&self, process: &ProcessKey) -> Option<FactsRequest> {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        // Most commands belong to no thread.
        if expected.is_empty() {
            return None;
        }
        expected.remove(process)
    }

    fn absolute(&self, cwd: &[u8]) -> Arc<Path> {
        match cwd {
            // `join` would add a slash at the end.
            [] => self.base.as_path().into(),
            cwd => self.base.join(OsStr::from_bytes(cwd)).into(),
        }
    }

    fn finders(&self) -> &FinderThreads {
        self.finders.get_or_init(|| {
            let finder = Arc::clone(&self.finder);
            FinderThreads::begin(Arc::new(move |request| drop(finder.serve(request))))
        })
    }
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use baton_proto::ProcessId;

    use super::*;
    use crate::limits::{FACTS_CACHED, FACTS_FINDERS, FACTS_FRESH, FACTS_TIMEOUT};
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
        facts_around(Box::new(Repository::around))
    }

    fn facts_around(around: FindRepository) -> (Facts, mpsc::Receiver<ThreadPatch>) {
        let (sender, found) = mpsc::channel();
        let found_is = Arc::new(move |patch| sender.send(patch).is_ok());
        (Facts::with(found_is, around), found)
    }

    /// Makes all lookups appear older.
    fn age(facts: &Facts) {
        facts.finders().age();
        for looking in facts.finder.known().looking.values_mut() {
            looking.since -= FACTS_TIMEOUT;
        }
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
        facts.expect(process(1), thread("t"), dir.path().as_os_str().as_bytes(), 1);
        assert!(facts.finders.get().is_none(), "no finder thread was started");
        // Created only now: an earlier lookup would have found no repository.
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
            facts.expect(process(number), thread("t"), cwd, 1);
            facts.delivered(&process(number));
        }
        facts.expect(process(4), thread("other"), cwd, 1);
        facts.delivered(&process(4));
        let reported = || found.recv_timeout(PATIENCE).unwrap().key;
        assert_eq!((reported(), reported()), (thread("t"), thread("other")));
        assert!(found.try_recv().is_err());

        // Fresh facts are not looked up again; old ones are.
        let forget_when = |known: &Facts| {
            for directory in known.finder.known().directories.values_mut() {
                directory.looked -= FACTS_FRESH;
            }
        };
        forget_when(&facts);
        facts.look(&thread("t"), cwd, 1);
        assert!(found.try_recv().is_err(), "nothing has changed");
        repository(dir.path(), &"b".repeat(40));
        facts.look(&thread("t"), cwd, 1);
        assert!(found.try_recv().is_err(), "still fresh");
        forget_when(&facts);
        let seen = facts.look(&thread("t"), cwd, 1).unwrap();
        assert_eq!(seen.head.as_deref(), Some(&*"b".repeat(40)));
        assert_eq!(found.try_recv().unwrap().facts, Some(seen));
    }

    #[test]
    fn a_directory_that_hangs_stops_looks_at_no_other_one() {
        let (begin, begun) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let (facts, found) = facts_around(Box::new(move |path| {
            if path.starts_with("/hangs") {
                begin.send(path.to_owned()).unwrap();
                let _ = held.lock().unwrap().recv();
            }
            None
        }));
        let mut processes = (1..).map(process);
        let mut request = |name: &str, cwd: &str| {
            let process = processes.next().unwrap();
            facts.expect(process, thread(name), cwd.as_bytes(), 1);
            facts.delivered(&process);
        };
        let hangs = || begun.recv_timeout(PATIENCE).unwrap();
        let reported = || found.recv_timeout(PATIENCE).unwrap().key;
        request("stuck 1", "/hangs/1");
        hangs();
        age(&facts);
        request("one", "/nowhere/1");
        assert_eq!(reported(), thread("one"));

        // A request for the same directory gets no facts, and blocks no finder thread.
        request("other", "/hangs/1");
        request("two", "/nowhere/2");
        assert_eq!(reported(), thread("two"));
        assert_eq!(facts.look(&thread("other"), b"/hangs/1", 1), None);

        for number in 2..=FACTS_FINDERS {
            assert_eq!(facts.held_up(), None, "another finder thread may be started");
            request(&format!("stuck {number}"), &format!("/hangs/{number}"));
            hangs();
            age(&facts);
        }
        assert_eq!(facts.held_up(), Some("/hangs/1".into()));
        request("last", "/nowhere/3");
        drop(release);
        let all: std::collections::BTreeSet<_> = (0..=FACTS_FINDERS).map(|_| reported()).collect();
        let stuck = (1..=FACTS_FINDERS).map(|number| thread(&format!("stuck {number}")));
        assert_eq!(all, stuck.chain([thread("last")]).collect());
        assert_eq!(facts.held_up(), None);
    }

    #[test]
    fn what_is_found_late_makes_no_deleted_thread_anew_and_one_that_is_used_again_is_told_again() {
        let (facts, found) = facts();
        let look = |at_unix_ns| facts.look(&thread("t"), b"/nowhere", at_unix_ns).unwrap();
        let first = look(5);
        assert_eq!(
            found.try_recv().unwrap().at_unix_ns,
            5,
            "viewing does not count as use"
        );
        facts.deleted(&thread("t"), 7);
        look(5);
        assert!(found.try_recv().is_err());
        look(8);
        assert_eq!(found.try_recv().unwrap().facts, Some(first));
    }

    #[test]
    fn what_was_not_accepted_is_told_again() {
        let (sender, found) = mpsc::channel();
        let facts = Facts::new(Arc::new(move |patch: ThreadPatch| {
            sender.send(patch.key).unwrap();
            false
        }));
        for _ in 0..2 {
            facts.look(&thread("t"), b"/nowhere", 1).unwrap();
            assert_eq!(found.try_recv(), Ok(thread("t")));
        }
    }

    #[test]
    fn commands_of_which_no_event_was_ever_delivered_keep_nobody_out() {
        let (facts, found) = facts();
        for number in 0..FACTS_EXPECTED {
            let mut gone = process(0);
            gone.process_id.0[..8].copy_from_slice(&number.to_be_bytes());
            facts.expect(gone, thread("gone"), b"/nowhere", 1);
        }
        facts.expect(process(255), thread("t"), b"/nowhere", 1);
        facts.delivered(&process(255));
        assert_eq!(found.recv_timeout(PATIENCE).unwrap().key, thread("t"));
    }

    #[test]
    fn a_start_that_was_refused_needs_nothing() {
        let (facts, found) = facts();
        facts.expect(process(1), thread("t"), b"", 1);
        facts.forget(&process(1));
        facts.delivered(&process(1));
        assert!(facts.finders.get().is_none() && found.try_recv().is_err());
    }

    #[test]
    fn the_memory_of_threads_and_directories_is_bounded() {
        let (facts, _found) = facts();
        for number in 0..FACTS_CACHED + 10 {
            facts.look(
                &thread(&number.to_string()),
                format!("/nowhere/{number}").as_bytes(),
                1,
            );
            facts.deleted(&thread(&number.to_string()), 1);
        }
        let known = facts.finder.known();
        let lengths = [known.reported.len(), known.directories.len(), known.deleted.len()];
        assert!(
            lengths.iter().all(|length| *length <= FACTS_CACHED),
            "{lengths:?}"
        );
        assert!(known.looking.is_empty());
    }
}
