//! The steps of a child that becomes another user, by the rules of [`super`], in its own copy of the parent's memory.
//!
//! In this order:
//!
//! 1. What needs the parent's rights, and cannot be delayed by the user.
//! 2. All descriptors but the report are closed, which ends the parent's wait: see [`fork`](crate::sys::fork).
//! 3. The user: the groups first, since a process that is not root cannot change them, and the user id last.
//! 4. The directory and the program, which are looked for with the user's rights. With the parent's, a client would
//!    learn which files exist that its user cannot see.
//!
//! From the user id on, the user may send signals to this child, and no more: the kernel marks the memory of a process
//! that changes its user as not dumpable, until its exec.

use std::convert::Infallible;
use std::ffi::CStr;

use syscalls::{Errno, Sysno, syscall1, syscall2, syscall3};

use super::{
    OtherDescriptors, chdir, close_range, connect_stdio, exec, exit, isolate, monotonic_ns, restore_limits,
    signals,
};
use crate::sys::fork::UserPlan;
use crate::sys::report::{Message, kind};
use crate::user::User;

/// The descriptor of the report.
const REPORT: usize = 3;

/// The descriptors that are closed one by one where close_range(2) is missing: more than a server has by default.
const DESCRIPTORS: usize = 65_536;

/// The umask of a login: files of the user are not writable for others.
const UMASK: usize = 0o022;

/// keyctl(2) with a null pointer: a new, anonymous session keyring.
const JOIN_SESSION_KEYRING: usize = 1;

/// `_LINUX_CAPABILITY_VERSION_3`
const CAPABILITIES: u32 = 0x2008_0522;

/// An id that changes nothing.
const SAME: usize = u32::MAX as usize;

#[cfg(target_pointer_width = "64")]
mod call {
    use syscalls::Sysno;

    pub(super) const SETGROUPS: Sysno = Sysno::setgroups;
    pub(super) const SETRESGID: Sysno = Sysno::setresgid;
    pub(super) const SETRESUID: Sysno = Sysno::setresuid;
    pub(super) const GETRESGID: Sysno = Sysno::getresgid;
    pub(super) const GETRESUID: Sysno = Sysno::getresuid;
}

/// The calls without `32` have ids of 16 bits there.
#[cfg(not(target_pointer_width = "64"))]
mod call {
    use syscalls::Sysno;

    pub(super) const SETGROUPS: Sysno = Sysno::setgroups32;
    pub(super) const SETRESGID: Sysno = Sysno::setresgid32;
    pub(super) const SETRESUID: Sysno = Sysno::setresuid32;
    pub(super) const GETRESGID: Sysno = Sysno::getresgid32;
    pub(super) const GETRESUID: Sysno = Sysno::getresuid32;
}

/// Becomes the user and the program. Returns an error only before the other descriptors are closed; later ones are
/// reported.
pub(in crate::sys) fn execute(plan: &UserPlan) -> Result<Infallible, Errno> {
    isolate(&plan.exec, false)?;
    connect_stdio(&plan.exec)?;
    if plan.report as usize != REPORT {
        // SAFETY: no pointer.
        unsafe {
            syscall3(
                Sysno::dup3,
                plan.report as usize,
                REPORT,
                libc::O_CLOEXEC as usize,
            )?
        };
    }
    close_others();
    let (kind, errno) = go_on(plan);
    report([kind, errno.into_raw() as u64]);
    exit()
}

/// Closes everything above the report. Among it are other children's pipes, and the descriptor by which the standard
/// library waits.
fn close_others() {
    if close_range(REPORT + 1, OtherDescriptors::Close).is_ok() {
        return;
    }
    for descriptor in REPORT + 1..DESCRIPTORS {
        // SAFETY: no pointer.
        let _ = unsafe { syscall1(Sysno::close, descriptor) };
    }
}

/// Returns only a failure, as it is reported.
fn go_on(plan: &UserPlan) -> (u64, Errno) {
    restore_limits(&plan.exec);
    if let Err(errno) = become_user(&plan.user) {
        return (kind::IDENTITY, errno);
    }
    // A user may have no home.
    if let Err(errno) = chdir(&plan.user.home).or_else(|_| chdir(c"/")) {
        return (kind::DIRECTORY, errno);
    }
    if let Some(cwd) = &plan.exec.image.cwd
        && let Err(errno) = chdir(cwd)
    {
        return (kind::DIRECTORY, errno);
    }
    if let Err(errno) = signals::unblock_all() {
        return (kind::IDENTITY, errno);
    }
    report([kind::EXECUTES, monotonic_ns() as u64]);
    search(plan)
}

fn become_user(user: &User) -> Result<(), Errno> {
    let (uid, gid) = (user.uid as usize, user.gid as usize);
    // SAFETY: no pointer but that of `groups`, whose length is given, and of what the kernel fills in completely.
    unsafe {
        syscall1(Sysno::umask, UMASK)?;
        // A process possesses the keys of its session, whatever its user. As root, whose quota is large. A kernel or
        // sandbox without keyrings has no keys either.
        match syscall2(Sysno::keyctl, JOIN_SESSION_KEYRING, 0) {
            Ok(_) | Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => {}
            Err(errno) => return Err(errno),
        }
        syscall2(call::SETGROUPS, user.groups.len(), user.groups.as_ptr().addr())?;
        syscall3(call::SETRESGID, gid, gid, gid)?;
        syscall3(call::SETRESUID, uid, uid, uid)?;
        if user.uid != 0 {
            // The user id has cleared them already, but for the inheritable ones, and unless a parent has said to keep
            // them.
            let (header, none) = ([CAPABILITIES, 0], [0_u32; 6]);
            syscall2(
                Sysno::capset,
                (&raw const header).addr(),
                (&raw const none).addr(),
            )?;
        }
        let is_user = ids(call::GETRESUID)? == [user.uid; 3] && ids(call::GETRESGID)? == [user.gid; 3];
        // A kernel or sandbox that only pretends would leave this process root.
        let is_root_again = user.uid != 0 && syscall3(call::SETRESUID, SAME, 0, SAME).is_ok();
        if !is_user || is_root_again {
            return Err(Errno::EPERM);
        }
    }
    Ok(())
}

/// The real, effective and saved id.
fn ids(call: Sysno) -> Result<[u32; 3], Errno> {
    let mut ids = [0_u32; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: the kernel writes three ids.
    unsafe {
        syscall3(
            call,
            (&raw mut *real).addr(),
            (&raw mut *effective).addr(),
            (&raw mut *saved).addr(),
        )?;
    }
    Ok(ids)
}

/// Executes the first program that the user may execute, as execvp(3) does. Returns only a failure.
fn search(plan: &UserPlan) -> (u64, Errno) {
    let mut failure = (kind::MISSING, Errno::ENOENT);
    let image = &plan.exec.image;
    for program in [&image.program].into_iter().chain(&plan.user.alternatives) {
        match exec(&plan.exec, program) {
            Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP | Errno::ENAMETOOLONG => {
                // A file that is there is not executable, or names an interpreter that is not there.
                if is_there(program) {
                    failure = (kind::PROGRAM, Errno::EACCES);
                }
            }
            errno => return (kind::PROGRAM, errno),
        }
    }
    failure
}

fn is_there(path: &CStr) -> bool {
    // SAFETY: a string that ends.
    let found = unsafe {
        syscall3(
            Sysno::faccessat,
            libc::AT_FDCWD as usize,
            path.as_ptr().addr(),
            libc::F_OK as usize,
        )
    };
    found.is_ok()
}

fn report(message: Message) {
    // The parent may be gone.
    // SAFETY: the kernel reads a message.
    let _ = unsafe {
        syscall3(
            Sysno::write,
            REPORT,
            (&raw const message).addr(),
            size_of::<Message>(),
        )
    };
}
