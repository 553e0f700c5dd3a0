//! Cgroups (v2): every process is created in one of its own, below a directory that the exec-server may write.
//!
//! A descendant stays in the cgroup whatever it does to its process group, its session and its environment, unless it
//! may write to another cgroup. So a kill of the cgroup reaches every descendant, and the kernel says there whether it has
//! killed one because memory was used up.
//!
//! The cgroup of a process is removed when the process is reaped. If daemons of it are left, that fails, and the name
//! waits in [`LeftCgroups`] until they have ended.

mod error;
mod files;
mod left;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_proto::ProcessId;
use baton_spawn::{Environment, ExecutionState, Image, InheritedState, Selected, SpawnError};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstatfs};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{WaitOptions, waitpid};
use tokio::runtime::Handle;

pub use self::error::{CgroupError, MemoryUnavailable};
use self::files::{contains_word, oom_kills, pids};
use self::left::LeftCgroups;
use crate::limits::{CGROUP_NAME_TRIES, CGROUP_TREE_MAX};

/// `CGROUP2_SUPER_MAGIC` of Linux.
const CGROUP2: u64 = 0x6367_7270;

/// The names of all cgroups of an exec-server begin so.
const PREFIX: &str = "baton-";

/// Stands for the process id in the name of the cgroup that is created to try the directory out.
const TRIAL: &str = "trial";

/// Whether an exec-server gives this name to a cgroup. Others beside them may begin so too, as that of a service.
fn is_own_name(name: &str) -> bool {
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(process, number)| {
        let is_process = process == TRIAL || process.parse::<ProcessId>().is_ok();
        is_process && number.parse::<u64>().is_ok()
    })
}

/// A directory below which every process gets a cgroup of its own: see
/// [`Settings::cgroups`](crate::Settings::cgroups). Clones share it. It is locked until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Cgroups(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Holds the lock.
    _directory: OwnedFd,
    /// Where cgroups are tried again. The last owner of one may be a thread of the sweep, which is in no runtime.
    runtime: Option<Handle>,
    /// `memory.max` of each cgroup, in bytes.
    memory_max: Option<u64>,
    /// Why no cgroup has a memory controller.
    without_memory: Option<MemoryUnavailable>,
    next: AtomicU64,
    left: LeftCgroups,
}

/// The same directory.
impl PartialEq for Cgroups {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cgroups {}

impl Cgroups {
    /// Opens a directory of a cgroup v2 file system, and locks it. `memory_max` limits the memory of each process with
    /// its descendants, in bytes, without swap.
    ///
    /// Must be called in a tokio runtime with time, in which cgroups are removed whose daemons end later. What an earlier
    /// exec-server has left there is removed so too. Starts one process, to see whether that
    /// works, and turns the memory controller on for the cgroups below the directory, where that is possible.
    ///
    /// # Errors
    /// The directory cannot be used, or `memory_max` is set and there is no memory controller.
    pub fn open(directory: &Path, memory_max: Option<u64>) -> Result<Self, CgroupError> {
        let path = fs::canonicalize(directory).map_err(CgroupError::NotOpened)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        let directory = opened.map_err(|errno| CgroupError::NotOpened(errno.into()))?;
        let is_cgroup2 = fstatfs(&directory).is_ok_and(|stat| stat.f_type as u64 == CGROUP2);
        if !is_cgroup2 {
            return Err(CgroupError::NotCgroup2);
        }
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(CgroupError::Taken),
            Err(errno) => return Err(CgroupError::NotOpened(errno.into())),
        }
        let without_memory = match enable_memory(&path) {
            Err(unavailable) if memory_max.is_some() => return Err(CgroupError::Memory(unavailable)),
            enabled => enabled.err(),
        };
        let cgroups = Self(Arc::new(Shared {
            left: LeftCgroups::of_earlier(&path),
            path,
            _directory: directory,
            runtime: Handle::try_current().ok(),
            memory_max,
            without_memory,
            next: AtomicU64::new(0),
        }));
        cgroups.try_out()?;
        LeftCgroups::watch(&cgroups.0);
        Ok(cgroups)
    }

    /// Why it is not known of a process that it was killed because memory was used up; `None`: it is.
    pub fn without_memory(&self) -> Option<&MemoryUnavailable> {
        self.0.without_memory.as_ref()
    }

    /// A new cgroup for this process. Ids are chosen by clients, so several processes may have the same one.
    pub(crate) fn create(&self, process: ProcessId) -> io::Result<Cgroup> {
        self.create_named(&format!("{PREFIX}{process}"))
    }

    fn create_named(&self, prefix: &str) -> io::Result<Cgroup> {
        let shared = &self.0;
        let mut tries = 0;
        let cgroup = loop {
            let name = format!("{prefix}-{}", shared.next.fetch_add(1, Ordering::Relaxed));
            match fs::create_dir(shared.path.join(&name)) {
                Ok(()) => {
                    let cgroups = self.clone();
                    break Cgroup { cgroups, name };
                }
                // Of an earlier exec-server, with a daemon that still runs.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < CGROUP_NAME_TRIES => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(bytes) = shared.memory_max {
            cgroup.write("memory.max", &bytes.to_string())?;
        }
        Ok(cgroup)
    }

    /// Creates a cgroup, and a process in it.
    fn try_out(&self) -> Result<(), CgroupError> {
        let cgroup = self
            .create_named(&format!("{PREFIX}{TRIAL}"))
            .map_err(CgroupError::NotWritable)?;
        if !cgroup.path().join("cgroup.kill").exists() {
            return Err(CgroupError::NoKill);
        }
        let tried = try_child(cgroup.directory().map_err(CgroupError::NotWritable)?);
        tried.map_err(CgroupError::NoProcess)
    }
}

/// Creates a child in a cgroup, with a program that does not exist.
fn try_child(cgroup: OwnedFd) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let null = fcntl_dupfd_cloexec(null, 3)?;
    let image = Image {
        program: c"".into(),
        arguments: vec![c"".into()],
        environment: Environment::new(None, Vec::new()),
        cwd: None,
        terminal: false,
        cgroup: Some(cgroup),
    };
    let selected = Selected::auto(InheritedState::capture(None));
    let errno = match selected.spawner.spawn(image, [null.as_fd(); 3]) {
        Err(SpawnError::NotCreated(error)) => return Err(error),
        Err(SpawnError::NotExecuted { errno, .. }) => errno,
        Ok(child) => {
            let _ = waitpid(Some(child.pid), WaitOptions::empty());
            match child.execution.state() {
                ExecutionState::Failed(errno) => errno,
                _ => return Ok(()),
            }
        }
    };
    match errno {
        Errno::NOENT => Ok(()),
        errno => Err(errno.into()),
    }
}

/// Gives the cgroups below this one a memory controller.
fn enable_memory(path: &Path) -> Result<(), MemoryUnavailable> {
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
    if contains_word(&read("cgroup.subtree_control"), "memory") {
        return Ok(());
    }
    if !contains_word(&read("cgroup.controllers"), "memory") {
        return Err(MemoryUnavailable::NotDelegated);
    }
    match write(&path.join("cgroup.subtree_control"), "+memory") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(MemoryUnavailable::HasProcesses),
        Err(error) => Err(MemoryUnavailable::Refused(error)),
    }
}

/// The cgroup of one process. Dropping it removes it, then or when no process is left in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    cgroups: Cgroups,
    name: String,
}

impl Cgroup {
    fn path(&self) -> PathBuf {
        self.cgroups.0.path.join(&self.name)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        write(&self.path().join(file), text)
    }

    /// Its directory, to create a child in it.
    pub(crate) fn directory(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(self.path(), flags, Mode::empty())?)
    }

    /// Sends SIGKILL to everything in it and below it, also to what is being created meanwhile.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// The processes in it and below it.
    pub(crate) fn members(&self) -> Vec<u32> {
        let cgroups = subtree(self.path()).into_iter();
        let texts = cgroups.filter_map(|cgroup| fs::read_to_string(cgroup.join("cgroup.procs")).ok());
        texts.flat_map(|text| pids(&text).collect::<Vec<_>>()).collect()
    }

    /// Whether the kernel has killed a process in it or below it because memory was used up.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path().join("memory.events"));
        events.is_ok_and(|events| oom_kills(&events) > 0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let shared = &self.cgroups.0;
        if !remove(&shared.path.join(&self.name)) {
            shared.left.add(std::mem::take(&mut self.name));
            LeftCgroups::watch(shared);
        }
    }
}

/// Writes to a file of the kernel, which exists or is not created.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

/// A cgroup and those below it, each before those below it. A command with the right to do so may have created some.
fn subtree(cgroup: PathBuf) -> Vec<PathBuf> {
    let mut found = vec![cgroup];
    let mut at = 0;
    while let Some(cgroup) = found.get(at) {
        let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let room = CGROUP_TREE_MAX.saturating_sub(found.len());
        let below: Vec<_> = directories.take(room).map(|entry| entry.path()).collect();
        found.extend(below);
        at += 1;
    }
    found
}

/// Removes a cgroup with those below it. Returns whether it is gone.
fn remove(cgroup: &Path) -> bool {
    let is_gone = |removed: io::Result<()>| match removed {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_gone(fs::remove_dir(cgroup)) {
        return true;
    }
    let subtree = subtree(cgroup.to_owned());
    subtree.len() > 1 && subtree.iter().rev().all(|cgroup| is_gone(fs::remove_dir(cgroup)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cgroup in a directory of files, as the kernel would show it.
    fn cgroup_in(directory: &Path) -> Cgroup {
        let opened = rustix::fs::open(directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let cgroups = Cgroups(Arc::new(Shared {
            path: directory.to_owned(),
            _directory: opened.unwrap(),
            runtime: None,
            memory_max: None,
            without_memory: None,
            next: AtomicU64::new(0),
            left: LeftCgroups::default(),
        }));
        cgroups.create(ProcessId([7; 16])).unwrap()
    }

    #[test]
    fn memory_is_used_up_only_where_the_cgroup_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = cgroup_in(directory.path());
        assert!(!cgroup.is_out_of_memory(), "without a memory controller");
        for (events, expected) in [
            ("max 9\noom 9\noom_kill 0\n", false),
            ("oom 1\noom_kill 1\n", true),
        ] {
            fs::write(cgroup.path().join("memory.events"), events).unwrap();
            assert_eq!(cgroup.is_out_of_memory(), expected, "{events}");
        }
    }

    #[test]
    fn only_names_of_exec_servers_are_leftovers() {
        let process = "0123456789abcdef".repeat(2);
        for name in [format!("baton-{process}-0"), "baton-trial-12".to_owned()] {
            assert!(is_own_name(&name), "{name}");
        }
        for name in [
            "baton-relay.service",
            "baton-server-1",
            "baton-trial",
            "baton-trial-x",
            "init.scope",
        ] {
            assert!(!is_own_name(name), "{name}");
        }
        assert!(!is_own_name(&format!("baton-{process}")));
    }

    #[test]
    fn processes_with_the_same_id_have_cgroups_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let first = cgroup_in(directory.path());
        let taken = directory.path().join(format!("baton-{}-1", "07".repeat(16)));
        fs::create_dir(&taken).unwrap();
        let third = first.cgroups.create(ProcessId([7; 16])).unwrap();
        assert_eq!(first.name, format!("baton-{}-0", "07".repeat(16)));
        assert_eq!(third.name, format!("baton-{}-2", "07".repeat(16)));
        let paths = [first.path(), third.path()];
        drop((first, third));
        assert!(paths.iter().all(|path| !path.exists()) && taken.exists());
    }

    #[test]
    fn the_memory_controller_is_turned_on_where_it_was_delegated() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        file("cgroup.controllers", "cpu pids\n");
        file("cgroup.subtree_control", "");
        let enabled = enable_memory(directory.path());
        assert!(
            matches!(enabled, Err(MemoryUnavailable::NotDelegated)),
            "{enabled:?}"
        );
        file("cgroup.controllers", "cpu memory\n");
        enable_memory(directory.path()).unwrap();
        let control = directory.path().join("cgroup.subtree_control");
        assert_eq!(fs::read_to_string(&control).unwrap(), "+memory");
        file("cgroup.subtree_control", "memory\n");
        enable_memory(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&control).unwrap(), "memory\n", "it was on");
    }
}
