//! Creates a child by clone(2), and does not wait for its exec.
//!
//! The child shares this process's memory until its exec, as with `posix_spawn`, so its creation costs the same however
//! large this process is. `posix_spawn` suspends the calling thread until the exec, by the rule of vfork(2) on which it
//! rests; in that time the thread cannot create a second child. Here this process continues, so both run in the same
//! memory. Four rules make that sound:
//!
//! - The child touches nothing but its own stack and its [`ChildMemory`]. Neither is moved or freed before the kernel
//!   reports that the child has left this memory, by its exec or its exit (set_tid_address(2), or wait(2)).
//! - The child makes system calls without the C library: it shares the thread-local storage of the thread that cloned
//!   it, `errno` included.
//! - The child runs no signal handler: all signals are blocked before the clone, and no handler is left when they are
//!   unblocked.
//! - The child never returns, and calls nothing that allocates, locks or panics ([`child`]).

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, setpgid, waitpid};

use super::inherited::InheritedState;
use super::memory::{ChildMemory, ExecPlan};
use super::signals::BlockedSignals;
use super::stack_pool::StackPool;
use super::{child, enter};
use crate::image::Image;

/// A child that has been created.
pub(crate) struct Cloned {
    pub(crate) pid: Pid,
    /// Close-on-exec.
    pub(crate) pidfd: OwnedFd,
    /// Shared with the child until its exec.
    pub(crate) memory: Arc<ChildMemory>,
    /// When it was created, by this process's clock.
    pub(crate) at: Instant,
    /// The same moment by the child's clock.
    pub(crate) at_ns: i64,
}

/// Creates a child. The [`ChildMemory`] is returned to `pool`.
pub(crate) fn clone(
    mut image: Image,
    inherited: InheritedState,
    stdio: [BorrowedFd<'_>; 3],
    pool: &StackPool,
) -> io::Result<Cloned> {
    let leads_session = image.terminal;
    let cgroup = image.cgroup.take();
    let plan = ExecPlan::new(image, cgroup.as_ref(), inherited, stdio);
    let memory = Arc::new(ChildMemory::new(plan, pool.stack()?));
    let mut pidfd: RawFd = -1;
    let at = Instant::now();
    let at_ns = child::monotonic_ns();
    let signals = BlockedSignals::new();
    // SAFETY: no other child uses the stack, and the memory stays where it is until the child has left it: see
    // `StackPool`.
    let entered = unsafe { enter::enter(&memory, &mut pidfd) };
    drop(signals);
    let pid = match entered {
        Ok(pid) => pid,
        Err(error) => {
            memory.present.store(0, Ordering::Release);
            pool.take_back(memory);
            return Err(error);
        }
    };
    let _ = memory.pid.set(pid);
    let pidfd = match adopt(pid, pidfd) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            pool.take_back(memory);
            return Err(error);
        }
    };
    // The child does the same. Whichever is first, the group exists before it can be signalled; the second attempt
    // fails. The leader of a group could not begin a session any more.
    if !leads_session {
        let _ = setpgid(Some(pid), Some(pid));
    }
    Ok(Cloned {
        pid,
        pidfd,
        memory,
        at,
        at_ns,
    })
}

/// Takes ownership of the pidfd that clone wrote. A kernel without pidfds ignores the request for one; then the child
/// is killed.
fn adopt(pid: Pid, pidfd: RawFd) -> io::Result<OwnedFd> {
    if pidfd >= 0 {
        // SAFETY: the kernel has just created it for this process.
        return Ok(unsafe { OwnedFd::from_raw_fd(pidfd) });
    }
    // The child was not reaped, so the process id is still its own. SIGKILL keeps the wait short.
    let _ = kill_process(pid, Signal::KILL);
    let _ = waitpid(Some(pid), WaitOptions::empty());
    let why = "this kernel creates no pidfds; use Linux 5.4 or newer";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, CString};
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::Duration;

    use rustix::io::Errno;

    use super::*;
    use crate::clone_spawner::CloneSpawner;
    use crate::environment::Environment;
    use crate::execution::ExecutionState;
    use crate::{Child, Spawn as _};

    /// Held by a test that changes [`enter::HAS_CLONE3`].
    static CLONE3: Mutex<()> = Mutex::new(());

    fn spawner() -> CloneSpawner {
        CloneSpawner::new(InheritedState {
            has_terminal: true,
            ..InheritedState::capture(None)
        })
    }

    fn clone_one(spawner: &CloneSpawner, program: &CStr) -> Child {
        clone_with(spawner, &[program])
    }

    fn clone_with(spawner: &CloneSpawner, arguments: &[&CStr]) -> Child {
        clone_in(spawner, arguments, None)
    }

    fn clone_in(spawner: &CloneSpawner, arguments: &[&CStr], cgroup: Option<OwnedFd>) -> Child {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let image = Image {
            program: arguments[0].to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: Environment::new(None, Vec::new()),
            cwd: None,
            terminal: false,
            cgroup,
        };
        spawner.spawn(image, [null.as_fd(); 3]).unwrap()
    }

    fn code(pid: Pid) -> Option<i32> {
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        status.exit_status()
    }

    #[test]
    fn children_execute_their_program_though_the_caller_has_dropped_its_image() {
        let spawner = spawner();
        let pids: Vec<_> = (0..200).map(|_| clone_one(&spawner, c"/bin/true").pid).collect();
        for pid in pids {
            assert_eq!(code(pid), Some(0));
        }
    }

    #[test]
    fn children_are_created_without_clone3_too() {
        let spawner = spawner();
        let _alone = CLONE3.lock();
        for has_clone3 in [false, true] {
            enter::HAS_CLONE3.store(has_clone3, Ordering::Relaxed);
            let child = clone_one(&spawner, c"/bin/true");
            assert_eq!(code(child.pid), Some(0));
            let is_cleared = child
                .execution
                .with_memory(|memory| memory.is_cleared.load(Ordering::Relaxed));
            // Where this fails with clone3, this machine does not have clone3.
            assert_eq!(is_cleared, Some(enter::HAS_CLONE3.load(Ordering::Relaxed)));
        }
    }

    #[test]
    fn children_are_in_their_cgroup_before_their_exec_without_clone3_too() {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let directory = format!("baton-spawn-{}", std::process::id());
        let made = mounts.into_iter().map(|mount| mount.join(&directory));
        let mut made = made.filter(|path| path.with_file_name("cgroup.procs").exists());
        let Some(path) = made.find(|path| fs::create_dir(path).is_ok()) else {
            return println!("not checked: there is no writable cgroup v2 file system here");
        };
        let spawner = spawner();
        let look = format!("grep -q '^0::.*/{directory}$' /proc/self/cgroup");
        let look = CString::new(look).unwrap();
        let alone = CLONE3.lock();
        let mut codes = Vec::new();
        for has_clone3 in [false, true] {
            enter::HAS_CLONE3.store(has_clone3, Ordering::Relaxed);
            let cgroup = File::open(&path).unwrap();
            let child = clone_in(&spawner, &[c"/bin/sh", c"-c", &look], Some(cgroup.into()));
            codes.push(code(child.pid));
        }
        drop(alone);
        // What has ended leaves the cgroup a moment later.
        while fs::remove_dir(&path).is_err() {
            std::thread::yield_now();
        }
        assert_eq!(codes, [Some(0), Some(0)]);
    }

    #[test]
    fn children_ignore_no_signal_though_this_process_does() {
        // SAFETY: nothing sends these signals, and no other test depends on their actions.
        unsafe {
            libc::signal(libc::SIGQUIT, libc::SIG_IGN);
            libc::signal(libc::SIGUSR2, libc::SIG_IGN);
            libc::signal(libc::SIGRTMAX(), libc::SIG_IGN);
        }
        let spawner = spawner();
        let look = [
            c"/bin/grep",
            c"-Eq",
            c"^Sig(Ign|Blk):.*[1-9a-f]",
            c"/proc/self/status",
        ];
        let _alone = CLONE3.lock();
        for has_clone3 in [false, true] {
            enter::HAS_CLONE3.store(has_clone3, Ordering::Relaxed);
            let child = clone_with(&spawner, &look);
            assert_eq!(code(child.pid), Some(1), "new kernel: {has_clone3}");
        }
    }

    #[test]
    fn the_image_is_dropped_at_the_exec_though_the_child_still_runs() {
        let spawner = spawner();
        let child = clone_with(&spawner, &[c"/bin/sleep", c"600"]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.execution.state() == ExecutionState::Pending {
            assert!(Instant::now() < deadline, "it never executes");
            std::thread::yield_now();
        }
        assert!(matches!(
            child.execution.state(),
            ExecutionState::Executed(Some(_))
        ));
        assert_eq!(child.execution.with_image(|_| ()), None);
        let kept = format!("{spawner:?}");
        assert!(kept.contains("idle: 1, in_use: 0"), "{kept}");
        kill_process(child.pid, Signal::KILL).unwrap();
        waitpid(Some(child.pid), WaitOptions::empty()).unwrap();
        assert!(matches!(
            child.execution.state(),
            ExecutionState::Executed(Some(_))
        ));
    }

    #[test]
    fn the_memory_of_many_children_is_reused() {
        let spawner = spawner();
        for _ in 0..3 {
            let children: Vec<_> = (0..2 * crate::limits::IDLE_STACKS)
                .map(|_| clone_one(&spawner, c"/bin/true"))
                .collect();
            for child in children {
                assert_eq!(code(child.pid), Some(0));
                assert!(matches!(
                    child.execution.state(),
                    ExecutionState::Executed(Some(_))
                ));
            }
            let kept = format!("{spawner:?}");
            assert!(kept.contains("idle: 40, in_use: 0"), "{kept}");
        }
    }

    #[test]
    fn the_memory_of_a_child_that_is_killed_before_its_exec_is_reused() {
        let spawner = spawner();
        for _ in 0..300 {
            let child = clone_one(&spawner, c"/bin/true");
            kill_process(child.pid, Signal::KILL).unwrap();
            drop(child.execution);
            waitpid(Some(child.pid), WaitOptions::empty()).unwrap();
        }
        drop(spawner.pool.stack().unwrap());
        let kept = format!("{spawner:?}");
        assert!(kept.contains("in_use: 0"), "{kept}");
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
    fn a_child_whose_exec_fails_reports_the_error_and_exits() {
        let child = clone_one(&spawner(), c"/nowhere");
        assert_eq!(code(child.pid), Some(127));
        assert_eq!(child.execution.state(), ExecutionState::Failed(Errno::NOENT));
    }
}
