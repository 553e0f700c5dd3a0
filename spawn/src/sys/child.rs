//! The steps of a child from its creation to its exec, by the rules in the documentation of [`clone`](super::clone):
//! system calls, and nothing else.

use std::convert::Infallible;
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::sync::atomic::{Ordering, fence};

use syscalls::{Errno, Sysno, syscall0, syscall1, syscall2, syscall3, syscall4};

use super::memory::{ChildMemory, ExecPlan};
use super::signals;

pub(super) mod as_user;

/// A process's own controlling terminal, if it has one.
pub(super) const TERMINAL: &CStr = c"/dev/tty";

/// The first instruction of a cloned child. Executes the program, or stores the error and exits.
pub(super) extern "C" fn main(memory: *mut c_void) -> c_int {
    // SAFETY: the parent passes memory that lives until this child has left it, and changes none of it but atomics.
    let memory = unsafe { &*memory.cast_const().cast::<ChildMemory>() };
    // SAFETY: the kernel stores 0 there when this process leaves the memory, which is not freed before. Not
    // CLONE_CHILD_CLEARTID: musl's clone refuses that flag.
    let _ = unsafe { syscall1(Sysno::set_tid_address, memory.present.as_ptr().addr()) };
    let is_cleared = memory.is_cleared.load(Ordering::Acquire);
    let Err(errno) = execute(&memory.plan, is_cleared, OtherDescriptors::Close, || {
        memory.executed_ns.store(monotonic_ns(), Ordering::Relaxed);
        publish();
    });
    memory.errno.store(errno.into_raw(), Ordering::Relaxed);
    publish();
    exit()
}

/// Ends this process, which is not a thread of its parent.
fn exit() -> ! {
    loop {
        // SAFETY: no pointer.
        let _ = unsafe { syscall1(Sysno::exit_group, 127) };
    }
}

/// Orders what was stored before the kernel's own store to `present`, whatever the machine's memory model.
fn publish() {
    fence(Ordering::Release);
}

/// The treatment of the descriptors above 2, as flags of close_range(2).
#[derive(Debug, Clone, Copy)]
pub(super) enum OtherDescriptors {
    /// They are closed at once. The exec closes them too, but may take long, and among them are other children's pipes,
    /// whose readers would wait for it.
    Close = 0,
    /// They are closed by the exec. One of them reports a failed exec.
    CloseOnExec = libc::CLOSE_RANGE_CLOEXEC as isize,
}

/// Becomes the program. `is_cleared`: this child has none of the parent's signal handlers, and was created in its
/// cgroup.
pub(super) fn execute(
    plan: &ExecPlan,
    is_cleared: bool,
    others: OtherDescriptors,
    before_exec: impl FnOnce(),
) -> Result<Infallible, Errno> {
    isolate(plan, is_cleared)?;
    if let Some(cwd) = &plan.image.cwd {
        chdir(cwd)?;
    }
    connect_stdio(plan)?;
    // Kernels before 5.9 do not have this call, and before 5.11 not the flag.
    let _ = close_range(plan.stdio.len(), others);
    restore_limits(plan);
    signals::unblock_all()?;
    before_exec();
    Err(exec(plan, &plan.image.program))
}

/// Leaves the parent's cgroup, process group, signal handlers and terminal.
fn isolate(plan: &ExecPlan, is_cleared: bool) -> Result<(), Errno> {
    if let Some(cgroup) = plan.cgroup
        && !is_cleared
    {
        // No error of an exec, for which the program would be blamed.
        join(cgroup).map_err(|_| Errno::ENODEV)?;
    }
    // SAFETY: neither call has a pointer.
    unsafe {
        match plan.image.terminal {
            true => syscall0(Sysno::setsid)?,
            false => syscall2(Sysno::setpgid, 0, 0)?,
        };
    }
    match is_cleared {
        true => signals::reset_each(plan.inherited.ignored_signals)?,
        false => signals::reset_all()?,
    }
    if plan.inherited.has_terminal {
        give_up_terminal();
    }
    Ok(())
}

/// Moves this process, which has one thread, to a cgroup.
fn join(cgroup: RawFd) -> Result<(), Errno> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    let this_process = b"0";
    // SAFETY: a string that ends, and a buffer whose length is given.
    unsafe {
        let members = syscall4(
            Sysno::openat,
            cgroup as usize,
            c"cgroup.procs".as_ptr().addr(),
            flags as usize,
            0,
        )?;
        let joined = syscall3(
            Sysno::write,
            members,
            this_process.as_ptr().addr(),
            this_process.len(),
        );
        let _ = syscall1(Sysno::close, members);
        joined.map(drop)
    }
}

fn chdir(directory: &CStr) -> Result<(), Errno> {
    // SAFETY: a string that ends.
    unsafe { syscall1(Sysno::chdir, directory.as_ptr().addr()) }.map(drop)
}

/// Sets the descriptors 0, 1 and 2, and the controlling terminal.
fn connect_stdio(plan: &ExecPlan) -> Result<(), Errno> {
    for (number, own) in plan.stdio.into_iter().enumerate() {
        // SAFETY: no pointer.
        unsafe { syscall3(Sysno::dup3, own as usize, number, 0)? };
    }
    if plan.image.terminal {
        // SAFETY: a request that has no pointer.
        unsafe { syscall3(Sysno::ioctl, 0, libc::TIOCSCTTY as usize, 0)? };
    }
    Ok(())
}

/// Closes the descriptors from `first` on, now or by the exec.
fn close_range(first: usize, others: OtherDescriptors) -> Result<(), Errno> {
    // SAFETY: no pointer.
    unsafe { syscall3(Sysno::close_range, first, u32::MAX as usize, others as usize) }.map(drop)
}

fn restore_limits(plan: &ExecPlan) {
    if let Some(limit) = &plan.inherited.open_files {
        // The child runs even if the limit cannot be set.
        // SAFETY: the kernel reads a `struct rlimit64`.
        let _ = unsafe {
            syscall4(
                Sysno::prlimit64,
                0,
                libc::RLIMIT_NOFILE as usize,
                (&raw const *limit).addr(),
                0,
            )
        };
    }
}

/// Executes a program. Returns only its error.
fn exec(plan: &ExecPlan, program: &CStr) -> Errno {
    // SAFETY: a string that ends, and two arrays of strings, owned by `plan`, that end with a null pointer.
    let executed = unsafe {
        syscall3(
            Sysno::execve,
            program.as_ptr().addr(),
            plan.arguments.as_ptr().addr(),
            plan.environment.as_ptr().addr(),
        )
    };
    executed.err().unwrap_or(Errno::EINVAL)
}

/// Gives up the controlling terminal, which belongs to the server's owner. A program in the background of that terminal
/// would be stopped for ever when it asks for a password. setsid(2) is not used, because a session costs the kernel a
/// scheduler group.
fn give_up_terminal() {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: a string that ends, and a request that has no argument.
    unsafe {
        let terminal = syscall3(
            Sysno::openat,
            libc::AT_FDCWD as usize,
            TERMINAL.as_ptr().addr(),
            flags as usize,
        );
        if let Ok(terminal) = terminal {
            let _ = syscall2(Sysno::ioctl, terminal, libc::TIOCNOTTY as usize);
            let _ = syscall1(Sysno::close, terminal);
        }
    }
}

/// Nanoseconds of CLOCK_MONOTONIC; 0 if it cannot be read.
pub(super) fn monotonic_ns() -> i64 {
    let mut time = [0_i64; 2];
    // SAFETY: a `timespec` of the kernel's 64-bit interface is two words.
    let returned = unsafe {
        syscall2(
            Sysno::clock_gettime,
            libc::CLOCK_MONOTONIC as usize,
            (&raw mut time).addr(),
        )
    };
    match returned {
        Ok(_) => time[0].wrapping_mul(1_000_000_000).wrapping_add(time[1]),
        Err(_) => 0,
    }
}
