//! What the child does before its exec, by the rules of the module above: system calls, and nothing else.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{Ordering, fence};

use syscalls::{Errno, Sysno, syscall1, syscall2, syscall3, syscall4};

use super::Shared;

/// Bytes of the kernel's signal set, on every architecture but MIPS.
const SIGSET_BYTES: usize = 8;

/// Highest signal number, on every architecture but MIPS.
const LAST_SIGNAL: usize = 64;

/// More than the kernel's `struct sigaction` on any architecture. Its first word is the handler; all zeroes mean the default.
type Action = [usize; 8];

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
        forget_handlers()?;
        if let Some(cwd) = &shared.image.cwd {
            syscall1(Sysno::chdir, cwd.as_ptr().addr())?;
        }
        for (number, own) in shared.stdio.into_iter().enumerate() {
            syscall3(Sysno::dup3, own as usize, number, 0)?;
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

/// An exec would reset handlers too, but not before a signal that is unblocked can reach one. What is ignored stays so, as nohup wants it;
/// but SIGPIPE, which Rust's own start-up ignores.
unsafe fn forget_handlers() -> Result<(), Errno> {
    const IGNORED: usize = 1;
    let default: Action = [0; 8];
    for signal in 1..=LAST_SIGNAL {
        if signal == libc::SIGKILL as usize || signal == libc::SIGSTOP as usize {
            continue;
        }
        let mut action: Action = [0; 8];
        // SAFETY: an action is read, or the default written, of the kernel's size or more.
        unsafe {
            syscall4(
                Sysno::rt_sigaction,
                signal,
                0,
                (&raw mut action).addr(),
                SIGSET_BYTES,
            )?;
            if action[0] > IGNORED || signal == libc::SIGPIPE as usize {
                syscall4(
                    Sysno::rt_sigaction,
                    signal,
                    (&raw const default).addr(),
                    0,
                    SIGSET_BYTES,
                )?;
            }
        }
    }
    Ok(())
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
