//! Signal handlers and signal masks, by system calls alone: the C library's functions store errors in thread-local
//! memory, which a cloned child shares with this process.

use std::ffi::c_int;

use syscalls::{Errno, Sysno, syscall4};

/// Bytes of the kernel's signal set, on every architecture but MIPS.
const SIGSET_BYTES: usize = 8;

/// Highest signal number, on every architecture but MIPS.
const LAST_SIGNAL: usize = 64;

/// The handler of a signal that has its default action.
const DEFAULT: usize = 0;

/// The handler of a signal that is ignored.
const IGNORED: usize = 1;

/// Larger than the kernel's `struct sigaction` on any architecture. Its first word is the handler; all zeroes mean the
/// default action.
type Action = [usize; 8];

/// Gives every signal its default action.
///
/// An exec resets handlers too, but a signal can reach a handler before it. An exec keeps ignored signals ignored:
/// without this, a command would not react to its user's Ctrl-C if the exec-server was once started by nohup, or by a
/// shell in the background.
pub(super) fn reset_all() -> Result<(), Errno> {
    for signal in 1..=LAST_SIGNAL {
        if is(signal, libc::SIGKILL) || is(signal, libc::SIGSTOP) {
            continue;
        }
        if handler(signal)? != DEFAULT {
            reset(signal)?;
        }
    }
    Ok(())
}

fn is(signal: usize, other: c_int) -> bool {
    usize::try_from(other) == Ok(signal)
}

/// Gives these signals their default action; signal N is bit N - 1.
pub(super) fn reset_each(signals: u64) -> Result<(), Errno> {
    let mut left = signals;
    while left != 0 {
        reset(left.trailing_zeros() as usize + 1)?;
        left &= left - 1;
    }
    Ok(())
}

/// The signals that this process ignores; signal N is bit N - 1. SIGPIPE is always one: Rust's runtime ignores it.
pub(super) fn ignored() -> u64 {
    let ignored = (1..=LAST_SIGNAL).filter(|signal| handler(*signal) == Ok(IGNORED));
    ignored.fold(1 << (libc::SIGPIPE - 1), |signals, signal| {
        signals | 1 << (signal - 1)
    })
}

/// Restores the default action of SIGCHLD if it is ignored. A parent may have ignored it, which children inherit; the
/// kernel then discards exit statuses.
pub(super) fn keep_exit_statuses() {
    let signal = libc::SIGCHLD as usize;
    if handler(signal) == Ok(IGNORED) {
        // It fails only for signals that do not exist.
        let _ = reset(signal);
    }
}

fn handler(signal: usize) -> Result<usize, Errno> {
    let mut action: Action = [0; 8];
    // SAFETY: the kernel writes an action, which is no larger than this one.
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
    // SAFETY: the kernel reads an action, which is no larger than this one.
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

/// Blocks no signal.
pub(super) fn unblock_all() -> Result<(), Errno> {
    set_mask(&0, None)
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

/// Blocks all signals of this thread until it is dropped.
pub(super) struct BlockedSignals {
    old: u64,
}

impl BlockedSignals {
    pub(super) fn new() -> Self {
        let mut old = 0;
        // It fails only for arguments other than these.
        let _ = set_mask(&u64::MAX, Some(&mut old));
        Self { old }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        let _ = set_mask(&self.old, None);
    }
}
