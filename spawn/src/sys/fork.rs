//! Creates a child by the standard library's fork(2), and waits for its exec, or for a child that becomes another user.
//!
//! The standard library waits until the child has closed the descriptor by which it would report an error. A child that
//! becomes another user closes it before that. Its user could stop it before its exec, or let the exec wait for a file
//! system, and this process would wait with it.
//!
//! It needs neither shared memory nor a pidfd from clone, so it works in sandboxes that refuse them. Its cost grows
//! with this process's memory, whose page tables fork copies.
//!
//! `posix_spawn` is no alternative: it shares memory too, and can neither give up the terminal nor restore the limit on
//! open files. A helper program could do both, but it costs a second exec, and a library has no such program.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::Pid;

use super::child::{self, OtherDescriptors};
use super::inherited::InheritedState;
use super::memory::ExecPlan;
use super::report::{self, ReportReader};
use super::signals::BlockedSignals;
use crate::SpawnError;
use crate::image::Image;
use crate::user::User;

/// Added to the errno of a step in the child, to distinguish it from an error of the standard library's fork.
const IN_CHILD: i32 = 1 << 16;

/// Creates a child, and returns when it has executed its program.
pub(crate) fn fork(
    mut image: Image,
    inherited: InheritedState,
    stdio: [BorrowedFd<'_>; 3],
) -> Result<Pid, SpawnError> {
    let cgroup = image.cgroup.take();
    let plan = Arc::new(ExecPlan::new(image, cgroup.as_ref(), inherited, stdio));
    let childs = Arc::clone(&plan);
    let spawned = spawn(move || child::execute(&childs, false, OtherDescriptors::CloseOnExec, || ()));
    spawned.map_err(|error| failure(error, Arc::into_inner(plan)))
}

/// A child that becomes another user.
pub(crate) struct Forked {
    pub(crate) pid: Pid,
    pub(crate) report: ReportReader,
    /// When it was created, by this process's clock.
    pub(crate) at: Instant,
    /// The same moment by the child's clock.
    pub(crate) at_ns: i64,
}

/// The arguments of the system calls of a child that becomes another user.
pub(super) struct UserPlan {
    pub(super) exec: ExecPlan,
    pub(super) user: User,
    /// Not below 3.
    pub(super) report: RawFd,
}

/// Creates a child that becomes another user, and returns when it leads its process group.
pub(crate) fn fork_as(
    mut image: Image,
    user: User,
    inherited: InheritedState,
    stdio: [BorrowedFd<'_>; 3],
) -> Result<Forked, SpawnError> {
    let (report, childs_report) = report::report().map_err(SpawnError::NotCreated)?;
    let cgroup = image.cgroup.take();
    let plan = Arc::new(UserPlan {
        exec: ExecPlan::new(image, cgroup.as_ref(), inherited, stdio),
        user,
        report: childs_report.as_raw_fd(),
    });
    let (at, at_ns) = (Instant::now(), child::monotonic_ns());
    let childs = Arc::clone(&plan);
    let spawned = spawn(move || child::as_user::execute(&childs));
    let pid = spawned.map_err(|error| failure(error, Arc::into_inner(plan).map(|plan| plan.exec)))?;
    Ok(Forked {
        pid,
        report,
        at,
        at_ns,
    })
}

/// Creates a child that does this, which only makes system calls and allocates nothing, and returns when it has closed
/// the descriptor of the standard library.
fn spawn(
    execute: impl Fn() -> Result<Infallible, syscalls::Errno> + Send + Sync + 'static,
) -> io::Result<Pid> {
    let mut command = command(execute);
    // The child inherits the mask, so that no handler of this process runs in it.
    let signals = BlockedSignals::new();
    let spawned = command.spawn();
    drop(signals);
    Ok(Pid::from_child(&spawned?))
}

#[expect(
    clippy::disallowed_methods,
    reason = "where this is used, posix_spawn may not work either, since it shares memory"
)]
fn command(execute: impl Fn() -> Result<Infallible, syscalls::Errno> + Send + Sync + 'static) -> Command {
    // Never executed: the plan has the program. Standard streams are inherited, and replaced by the plan.
    let mut command = Command::new("/");
    // SAFETY: the closure only makes system calls. It allocates nothing and takes no lock that another thread may have
    // held during the fork.
    unsafe {
        command.pre_exec(move || {
            let Err::<Infallible, _>(errno) = execute();
            Err(io::Error::from_raw_os_error(errno.into_raw() + IN_CHILD))
        });
    }
    command
}

/// Distinguishes a failed fork from a failed exec.
fn failure(error: io::Error, plan: Option<ExecPlan>) -> SpawnError {
    let errno = error.raw_os_error().and_then(|raw| raw.checked_sub(IN_CHILD));
    match (errno, plan) {
        (Some(errno @ 1..), Some(plan)) => SpawnError::NotExecuted {
            errno: Errno::from_raw_os_error(errno),
            image: Box::new(plan.image),
        },
        _ => SpawnError::NotCreated(error),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs::{self, File, Permissions};
    use std::os::fd::AsFd as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use rustix::process::{WaitOptions, geteuid, waitpid};

    use super::*;
    use crate::environment::Environment;
    use crate::sys::report::Reported;

    /// fcntl(2): the signal that the holder of a lease gets.
    const F_SETSIG: i32 = 10;

    /// A lease is to a test what a network file system is to a user: the exec waits for its holder.
    #[test]
    fn a_user_whose_program_does_not_answer_holds_up_no_start() {
        if !geteuid().is_root() {
            return println!("not checked: this test needs root");
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let program = directory.path().join("true");
        fs::copy("/bin/true", &program).unwrap();
        let held = File::open(&program).unwrap();
        let lease = |lease: i32| loop {
            // SAFETY: neither call has a pointer. SIGURG is ignored by default.
            let set = unsafe {
                libc::fcntl(held.as_raw_fd(), F_SETSIG, libc::SIGURG);
                libc::fcntl(held.as_raw_fd(), libc::F_SETLEASE, lease)
            };
            match io::Error::last_os_error().raw_os_error() {
                _ if set == 0 => break,
                // The copy of another test's child has not been closed.
                Some(libc::EAGAIN) => std::thread::yield_now(),
                error => panic!("{error:?}"),
            }
        };
        lease(libc::F_WRLCK);
        let text = |text: &[u8]| CString::new(text).unwrap();
        let image = Image {
            program: text(program.as_os_str().as_bytes()),
            arguments: vec![text(b"true")],
            environment: Environment::new(None, Vec::new()),
            cwd: None,
            terminal: false,
            cgroup: None,
        };
        let user = User {
            uid: 65534,
            gid: 65534,
            groups: Vec::new(),
            home: text(b"/"),
            alternatives: Vec::new(),
        };
        let null = File::open("/dev/null").unwrap();
        let stdio = rustix::io::fcntl_dupfd_cloexec(null, 3).unwrap();
        let begun = Instant::now();
        let mut child = fork_as(image, user, InheritedState::capture(None), [stdio.as_fd(); 3]).unwrap();
        // A lease that nobody gives back is broken after /proc/sys/fs/lease-break-time, 45 s.
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(child.report.read(), Reported::Pending);
        lease(libc::F_UNLCK);
        let (_, status) = waitpid(Some(child.pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        // The child of another test has a copy of the report until its exec.
        while child.report.read() == Reported::Pending {
            std::thread::yield_now();
        }
        assert!(matches!(child.report.read(), Reported::Executed(Some(_))));
    }
}
