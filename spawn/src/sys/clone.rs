//! Creates a child by `clone`, and does not wait for its exec.
//!
//! The child shares this process's memory until its exec, as with `posix_spawn`, so that creating it costs the same however
//! large the server is. But this process runs on meanwhile: by the rule of `vfork`, on which `posix_spawn` rests, the calling
//! thread is suspended until the child was scheduled and has executed, and so cannot bring a second child on its way.
//!
//! Both run in the same memory, then. That is sound by four rules:
//!
//! - the child touches nothing but its own stack and what is meant for it ([`Shared`]), which is neither moved nor freed before the
//!   kernel has said that the child has left this memory, by its exec or its end (set_tid_address(2), or wait(2));
//! - the child makes system calls without the C library: it shares the thread-local storage of the thread that cloned it, `errno`
//!   included;
//! - the child runs no signal handler: all signals are blocked before the clone, and handlers are gone before any is unblocked;
//! - the child never returns, and calls nothing that allocates, locks or panics (`child.rs`).

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libc::c_char;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Signal, WaitId, WaitIdOptions, WaitOptions, getrlimit, kill_process, setpgid, waitid,
    waitpid,
};

use super::child::{self, Signals};
use super::enter;
use super::nursery::Nursery;
use super::stack::Stack;
use crate::environment::Environment;

/// A child to be: leader of a process group of its own, no signal blocked, each with its default action.
#[derive(Debug)]
pub struct Image {
    /// An absolute path.
    pub program: CString,
    /// `argv`, its first element included.
    pub arguments: Vec<CString>,
    /// Its environment.
    pub environment: Environment,
    /// `None` is the server's own.
    pub cwd: Option<CString>,
    /// What it must not inherit.
    pub inheritance: Inheritance,
}

/// What a child would inherit from this process and must not; see [`prepare`].
#[derive(Debug, Clone, Copy)]
pub struct Inheritance {
    /// This process has a controlling terminal, which the child gives up.
    pub(super) leaves_terminal: bool,
    /// Signals that this process ignores, signal N as bit N - 1.
    pub(super) ignored: u64,
    /// The limit on open files to restore, soft and hard: the kernel's `struct rlimit64`. `None` where this process has not changed it.
    pub(super) open_files: Option<[u64; 2]>,
}

/// A child that exists, and may not have executed its program yet.
#[derive(Debug)]
pub struct Cloned {
    /// Its process id, and its group's.
    pub pid: Pid,
    /// Close-on-exec.
    pub pidfd: OwnedFd,
    /// How far it is.
    pub execution: Execution,
}

/// How far a child has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On its way to the exec.
    Pending,
    /// It executes its program since then; `None` if it was killed on its way.
    Executed(Option<Instant>),
    /// It could not, and exits; nothing ran.
    Failed(Errno),
}

/// What a child was given to execute, and what it says of it. What it was given is dropped when it was seen to have executed: arguments and
/// environment may be megabytes, and a process may run for days.
pub struct Execution {
    stage: Mutex<Stage>,
    nursery: Nursery,
    cloned: Instant,
    /// The same moment by the child's clock.
    cloned_ns: i64,
}

/// How far the child was when it was last looked at.
enum Stage {
    /// On its way, or it could not execute.
    Here(Arc<Shared>),
    /// It executes since then.
    Executed(Option<Instant>),
}

/// What both processes see until the exec.
pub(super) struct Shared {
    pub(super) image: Image,
    /// Of `image`'s, with a null pointer at the end.
    pub(super) arguments: Vec<*const c_char>,
    /// As above.
    pub(super) environment: Vec<*const c_char>,
    /// Become descriptors 0, 1 and 2. None of them is below 3.
    pub(super) stdio: [RawFd; 3],
    pub(super) stack: Stack,
    /// The child's, once there is one.
    pid: OnceLock<Pid>,
    /// The kernel makes it 0 when the child has left this memory; not if the child was killed before its first instruction.
    pub(super) present: AtomicU32,
    /// The child starts without this process's signal handlers.
    pub(super) is_cleared: AtomicBool,
    /// Why the child could not execute; 0 is no reason.
    pub(super) errno: AtomicI32,
    /// When it was about to, in nanoseconds of CLOCK_MONOTONIC; 0 is not yet.
    pub(super) executed_ns: AtomicI64,
}

// SAFETY: its pointers are into its own `image`, which nobody changes.
unsafe impl Send for Shared {}
// SAFETY: as above, and what changes is atomic.
unsafe impl Sync for Shared {}

impl Shared {
    fn has_left(&self) -> bool {
        self.present.load(Ordering::Acquire) == 0
    }

    /// Whether the memory may be given back: the child has left it, or there is no such child any more, or it is dead.
    pub(super) fn is_free(&self) -> bool {
        if self.has_left() {
            return true;
        }
        let Some(pid) = self.pid.get() else { return false };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        // Should the number be another child's by now, this one waits for that to end.
        matches!(
            waitid(WaitId::Pid(*pid), options),
            Ok(Some(_)) | Err(Errno::CHILD)
        )
    }
}

/// Prepares this process for children. They get `open_files` as their soft limit, if this process has raised its own from that.
pub fn prepare(open_files: Option<u64>) -> Inheritance {
    child::keep_exit_statuses();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let limit = getrlimit(Resource::Nofile);
    Inheritance {
        leaves_terminal: rustix::fs::open(child::TERMINAL, flags, Mode::empty()).is_ok(),
        ignored: child::ignored(),
        open_files: open_files
            .filter(|soft| limit.current != Some(*soft))
            .map(|soft| [soft, limit.maximum.unwrap_or(u64::MAX)]),
    }
}

/// Creates the child. An error means that there is none.
///
/// `stdio` becomes its descriptors 0, 1 and 2, and may be closed as soon as this returns; everything else must be close-on-exec.
pub fn clone_child(image: Image, stdio: [BorrowedFd<'_>; 3], nursery: &Nursery) -> io::Result<Cloned> {
    let shared = Arc::new(Shared {
        arguments: pointers(image.arguments.iter().map(CString::as_c_str)),
        environment: pointers(image.environment.strings()),
        image,
        stdio: stdio.map(|fd| fd.as_raw_fd()),
        stack: nursery.stack()?,
        pid: OnceLock::new(),
        present: AtomicU32::new(1),
        is_cleared: AtomicBool::new(false),
        errno: AtomicI32::new(0),
        executed_ns: AtomicI64::new(0),
    });
    let mut pidfd: RawFd = -1;
    let cloned = Instant::now();
    let cloned_ns = child::monotonic_ns();
    let signals = Signals::block();
    // SAFETY: the stack is nobody else's and what is shared stays where it is, both until the child has left; see `Execution::drop`.
    let entered = unsafe { enter::enter(&shared, &mut pidfd) };
    drop(signals);
    let pid = match entered {
        Ok(pid) => pid,
        Err(error) => {
            shared.present.store(0, Ordering::Release);
            nursery.take_back(shared);
            return Err(error);
        }
    };
    let _ = shared.pid.set(pid);
    let pidfd = match adopt(pid, pidfd) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            nursery.take_back(shared);
            return Err(error);
        }
    };
    // The child does it too. Whoever comes first, the group is there before anybody signals it; afterwards it is refused.
    let _ = setpgid(Some(pid), Some(pid));
    Ok(Cloned {
        pid,
        pidfd,
        execution: Execution {
            stage: Mutex::new(Stage::Here(shared)),
            nursery: nursery.clone(),
            cloned,
            cloned_ns,
        },
    })
}

/// Owns what clone wrote as the child's pidfd. A kernel that knows no such thing ignores that it was asked for: then the child is ended.
fn adopt(pid: Pid, pidfd: RawFd) -> io::Result<OwnedFd> {
    if pidfd >= 0 {
        // SAFETY: the kernel has just made it for us.
        return Ok(unsafe { OwnedFd::from_raw_fd(pidfd) });
    }
    // Not waited for yet, so the number is still the child's. SIGKILL keeps the wait short.
    let _ = kill_process(pid, Signal::KILL);
    let _ = waitpid(Some(pid), WaitOptions::empty());
    let why = "this kernel makes no pidfds; Linux 5.4 or newer is needed";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// A C array of strings.
fn pointers<'a>(strings: impl IntoIterator<Item = &'a CStr>) -> Vec<*const c_char> {
    let strings = strings.into_iter().map(CStr::as_ptr);
    strings.chain([std::ptr::null()]).collect()
}

impl Execution {
    /// How far the child has come. It does not tell when that changes, except that it exits when it has failed.
    pub fn state(&self) -> State {
        let mut stage = self.lock();
        let shared = match &*stage {
            Stage::Here(shared) => shared,
            Stage::Executed(at) => return State::Executed(*at),
        };
        if !shared.has_left() {
            return State::Pending;
        }
        match shared.errno.load(Ordering::Acquire) {
            0 => {
                let at = self.instant_of(shared.executed_ns.load(Ordering::Acquire));
                if let Stage::Here(shared) = std::mem::replace(&mut *stage, Stage::Executed(at)) {
                    self.nursery.take_back(shared);
                }
                State::Executed(at)
            }
            errno => State::Failed(Errno::from_raw_os_error(errno)),
        }
    }

    /// Looks at what it was given, unless it was seen to have executed that.
    pub fn with_image<T>(&self, look: impl FnOnce(&Image) -> T) -> Option<T> {
        match &*self.lock() {
            Stage::Here(shared) => Some(look(&shared.image)),
            Stage::Executed(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instant_of(&self, ns: i64) -> Option<Instant> {
        let since = u64::try_from(ns.checked_sub(self.cloned_ns)?).ok()?;
        Some(self.cloned + Duration::from_nanos(since))
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        let stage = self.stage.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Here(shared) = std::mem::replace(stage, Stage::Executed(None)) {
            self.nursery.take_back(shared);
        }
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Execution").field(&self.state()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;

    fn clone_one(nursery: &Nursery, program: &CStr) -> Cloned {
        clone_with(nursery, &[program], prepare(None))
    }

    fn clone_with(nursery: &Nursery, arguments: &[&CStr], inheritance: Inheritance) -> Cloned {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let image = Image {
            program: arguments[0].to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: Environment::new(None, Vec::new()),
            cwd: None,
            inheritance: Inheritance {
                leaves_terminal: true,
                ..inheritance
            },
        };
        clone_child(image, [null.as_fd(); 3], nursery).unwrap()
    }

    fn code(pid: Pid) -> Option<i32> {
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        status.exit_status()
    }

    #[test]
    fn children_execute_what_they_were_given_though_nobody_holds_it_any_more() {
        let nursery = Nursery::default();
        let pids: Vec<_> = (0..200).map(|_| clone_one(&nursery, c"/bin/true").pid).collect();
        for pid in pids {
            assert_eq!(code(pid), Some(0));
        }
    }

    #[test]
    fn children_are_made_by_an_old_kernel_too() {
        let nursery = Nursery::default();
        for has_clone3 in [false, true] {
            enter::HAS_CLONE3.store(has_clone3, Ordering::Relaxed);
            let child = clone_one(&nursery, c"/bin/true");
            assert_eq!(code(child.pid), Some(0));
            let Stage::Here(shared) = &*child.execution.lock() else {
                panic!("nobody has looked")
            };
            // Where this fails for the new way, this machine does not have it.
            let is_cleared = shared.is_cleared.load(Ordering::Relaxed);
            assert_eq!(is_cleared, enter::HAS_CLONE3.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn children_ignore_no_signal_though_this_process_does() {
        // SAFETY: nothing sends these, and no other test minds whether they are ignored.
        unsafe {
            libc::signal(libc::SIGQUIT, libc::SIG_IGN);
            libc::signal(libc::SIGUSR2, libc::SIG_IGN);
            libc::signal(libc::SIGRTMAX(), libc::SIG_IGN);
        }
        let nursery = Nursery::default();
        let look = [
            c"/bin/grep",
            c"-Eq",
            c"^Sig(Ign|Blk):.*[1-9a-f]",
            c"/proc/self/status",
        ];
        for has_clone3 in [false, true] {
            enter::HAS_CLONE3.store(has_clone3, Ordering::Relaxed);
            let child = clone_with(&nursery, &look, prepare(None));
            assert_eq!(code(child.pid), Some(1), "new kernel: {has_clone3}");
        }
    }

    #[test]
    fn children_get_the_limit_on_open_files_that_they_are_to_have() {
        let nursery = Nursery::default();
        let shows = |soft: u64, text: &'static CStr| {
            let shell = [c"/bin/sh", c"-c", text];
            code(clone_with(&nursery, &shell, prepare(Some(soft))).pid)
        };
        assert_eq!(
            shows(77, c"test $(ulimit -Sn) = 77 && test $(ulimit -Hn) != 77"),
            Some(0)
        );
        let own = getrlimit(Resource::Nofile);
        assert_ne!(own.current, Some(77), "this process keeps its own");
        assert_eq!(prepare(own.current).open_files, None, "nothing to restore");
    }

    #[test]
    fn what_a_child_was_given_is_dropped_once_it_has_executed_though_it_runs_on() {
        let nursery = Nursery::default();
        let child = clone_with(&nursery, &[c"/bin/sleep", c"600"], prepare(None));
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.execution.state() == State::Pending {
            assert!(Instant::now() < deadline, "it never executes");
            std::thread::yield_now();
        }
        assert!(matches!(child.execution.state(), State::Executed(Some(_))));
        assert_eq!(child.execution.with_image(|_| ()), None);
        let kept = format!("{nursery:?}");
        assert!(kept.contains("idle: 1, inhabited: 0"), "{kept}");
        kill_process(child.pid, Signal::KILL).unwrap();
        waitpid(Some(child.pid), WaitOptions::empty()).unwrap();
        assert!(matches!(child.execution.state(), State::Executed(Some(_))));
    }

    #[test]
    fn the_memory_of_many_children_is_used_again() {
        let nursery = Nursery::default();
        for _ in 0..3 {
            let children: Vec<_> = (0..2 * crate::limits::IDLE_STACKS)
                .map(|_| clone_one(&nursery, c"/bin/true"))
                .collect();
            for child in children {
                assert_eq!(code(child.pid), Some(0));
                assert!(matches!(child.execution.state(), State::Executed(Some(_))));
            }
            let kept = format!("{nursery:?}");
            assert!(kept.contains("idle: 40, inhabited: 0"), "{kept}");
        }
    }

    #[test]
    fn a_child_that_is_killed_on_its_way_gives_its_memory_back() {
        let nursery = Nursery::default();
        for _ in 0..300 {
            let child = clone_one(&nursery, c"/bin/true");
            kill_process(child.pid, Signal::KILL).unwrap();
            drop(child.execution);
            waitpid(Some(child.pid), WaitOptions::empty()).unwrap();
        }
        drop(nursery.stack().unwrap());
        let kept = format!("{nursery:?}");
        assert!(kept.contains("inhabited: 0"), "{kept}");
    }

    #[test]
    fn a_kernel_without_pidfds_is_an_error_and_leaves_no_child() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let error = adopt(pid, -1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert_eq!(
            child.wait().unwrap_err().raw_os_error(),
            Some(Errno::CHILD.raw_os_error())
        );
    }

    #[test]
    fn a_child_that_cannot_execute_says_why_and_exits() {
        let child = clone_one(&Nursery::default(), c"/nowhere");
        assert_eq!(code(child.pid), Some(127));
        assert_eq!(child.execution.state(), State::Failed(Errno::NOENT));
    }
}
