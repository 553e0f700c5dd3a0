//! What the child does before its exec, by the rules of the module above: system calls, and nothing else.

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{Ordering, fence};

use syscalls::{Errno, Sysno, syscall1, syscall2, syscall3, syscall4};

use super::clone::Shared;

/// Bytes of the kernel's signal set, on every architecture but MIPS.
const SIGSET_BYTES: usize = 8;

/// Highest signal number, on every architecture but MIPS.
const LAST_SIGNAL: usize = 64;

/// What a signal has for a handler that does what it does by default.
const DEFAULT: usize = 0;

/// What a signal that is ignored has for a handler.
const IGNORED: usize = 1;

/// More than the kernel's `struct sigaction` on any architecture. Its first word is the handler; all zeroes mean the default.
type Action = [usize; 8];

/// A process's own controlling terminal, if it has one.
pub(super) const TERMINAL: &CStr = c"/dev/tty";

/// Becomes the program, or says why not and exits.
pub(super) extern "C" fn main(shared: *mut c_void) -> c_int {
    // SAFETY: whoever clones passes what lives until this child has left the memory, and shares it only.
    let shared = unsafe { &*shared.cast_const().cast::<Shared>() };
    // SAFETY: the kernel makes it 0 when this process leaves the memory, which is not given back before. Here and not by
    // CLONE_CHILD_CLEARTID: musl's clone refuses that.
    let _ = unsafe { syscall1(Sysno::set_tid_address, shared.present.as_ptr().addr()) };
    let Err(errno) = execute(shared);
    shared.errno.store(errno.into_raw(), Ordering::Relaxed);
    publish();
    loop {
        // SAFETY: ends this process, which is not a thread of its parent.
        let _ = unsafe { syscall1(Sysno::exit_group, 127) };
    }
}

/// Orders what was stored before the kernel's own store to `present`, whatever the machine's memory model.
fn publish() {
    fence(Ordering::Release);
}

enum Never {}

fn execute(shared: &Shared) -> Result<Never, Errno> {
    // SAFETY: every pointer is to something that `shared` owns, or to this stack, and of the size that the call expects.
    unsafe {
        syscall2(Sysno::setpgid, 0, 0)?;
        match shared.is_cleared.load(Ordering::Acquire) {
            true => heed(shared.image.inheritance.ignored)?,
            false => reset_all()?,
        }
        if shared.image.inheritance.leaves_terminal {
            give_up_terminal();
        }
        if let Some(cwd) = &shared.image.cwd {
            syscall1(Sysno::chdir, cwd.as_ptr().addr())?;
        }
        for (number, own) in shared.stdio.into_iter().enumerate() {
            syscall3(Sysno::dup3, own as usize, number, 0)?;
        }
        // The exec would close them too, but may take its time, and among them are pipes of other children, which would not end
        // meanwhile. Older kernels do not know this call.
        let _ = syscall3(Sysno::close_range, shared.stdio.len(), u32::MAX as usize, 0);
        if let Some(limit) = &shared.image.inheritance.open_files {
            // A higher one is no reason not to run.
            let _ = syscall4(
                Sysno::prlimit64,
                0,
                libc::RLIMIT_NOFILE as usize,
                (&raw const *limit).addr(),
                0,
            );
        }
        let nothing: u64 = 0;
        set_mask(&nothing, None)?;
        shared.executed_ns.store(monotonic_ns(), Ordering::Relaxed);
        publish();
        syscall3(
            Sysno::execve,
            shared.image.program.as_ptr().addr(),
            shared.arguments.as_ptr().addr(),
            shared.environment.as_ptr().addr(),
        )?;
    }
    Err(Errno::EINVAL)
}

/// Leaves the controlling terminal, which is the server's owner's and no client's: a program that asks it for a password, say, would be
/// stopped by it for ever, being in the background there. Not by a session of its own, which costs the kernel a group of its scheduler.
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

/// Restores the default of every signal. An exec would reset handlers too, but not before a signal that is unblocked can reach one; and what is
/// ignored would stay so, which programs started by hand do not expect: a command would not heed the Ctrl-C of its user because the
/// exec-server was once started by nohup, or by a shell in the background.
fn reset_all() -> Result<(), Errno> {
    for signal in 1..=LAST_SIGNAL {
        if signal == libc::SIGKILL as usize || signal == libc::SIGSTOP as usize {
            continue;
        }
        if handler(signal)? != DEFAULT {
            reset(signal)?;
        }
    }
    Ok(())
}

/// The same for these signals (signal N is bit N - 1), where the kernel has removed all handlers.
fn heed(signals: u64) -> Result<(), Errno> {
    let mut left = signals;
    while left != 0 {
        reset(left.trailing_zeros() as usize + 1)?;
        left &= left - 1;
    }
    Ok(())
}

/// The signals that this process ignores, signal N as bit N - 1. SIGPIPE, which Rust's own start-up ignores, is always one.
pub(super) fn ignored() -> u64 {
    let ignored = (1..=LAST_SIGNAL).filter(|signal| handler(*signal) == Ok(IGNORED));
    ignored.fold(1 << (libc::SIGPIPE - 1), |signals, signal| {
        signals | 1 << (signal - 1)
    })
}

/// Sees to it that this process learns how its children end. Some parents ignore SIGCHLD, which is inherited, and then the kernel
/// throws exit statuses away.
pub(super) fn keep_exit_statuses() {
    let signal = libc::SIGCHLD as usize;
    if handler(signal) == Ok(IGNORED) {
        // It fails only for signals that do not exist.
        let _ = reset(signal);
    }
}

fn handler(signal: usize) -> Result<usize, Errno> {
    let mut action: Action = [0; 8];
    // SAFETY: an action is written, of the kernel's size or less.
    unsafe {
        syscall4(
            Sysno::rt_sigaction,
            signal,
            0,
            (&raw mut action).addr(),
            SIGSET_BYTES,
        )?;
    }
    Ok(action[0])
}

fn reset(signal: usize) -> Result<(), Errno> {
    let default: Action = [0; 8];
    // SAFETY: an action is read, of the kernel's size or less.
    let returned = unsafe {
        syscall4(
            Sysno::rt_sigaction,
            signal,
            (&raw const default).addr(),
            0,
            SIGSET_BYTES,
        )
    };
    returned.map(drop)
}

fn set_mask(mask: &u64, old: Option<&mut u64>) -> Result<(), Errno> {
    let old = old.map_or(0, |old| (&raw mut *old).addr());
    // SAFETY: both sets have the kernel's size.
    let returned = unsafe {
        syscall4(
            Sysno::rt_sigprocmask,
            libc::SIG_SETMASK as usize,
            (&raw const *mask).addr(),
            old,
            SIGSET_BYTES,
        )
    };
    returned.map(drop)
}

/// Nanoseconds of CLOCK_MONOTONIC; 0 if there is none.
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

/// All signals of this thread, blocked until it is dropped.
pub(super) struct Signals {
    old: u64,
}

impl Signals {
    pub(super) fn block() -> Self {
        let mut old = 0;
        // It fails only for arguments that these are not.
        let _ = set_mask(&u64::MAX, Some(&mut old));
        Self { old }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = set_mask(&self.old, None);
    }
}
