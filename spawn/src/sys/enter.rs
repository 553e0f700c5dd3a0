//! Creates the child by clone3(2), which can reset this process's signal handlers in the child and create it in a cgroup,
//! or by clone(2) where clone3 is not available or refused. After clone(2) the child resets the handlers itself, which
//! takes about 60 system calls, and joins its cgroup itself.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::offset_of;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Pid;
use syscalls::Errno;

use super::child;
use super::memory::ChildMemory;

const FLAGS: c_int = libc::CLONE_VM | libc::CLONE_PIDFD;

/// CLONE_CLEAR_SIGHAND, since Linux 5.5.
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// CLONE_INTO_CGROUP, since Linux 5.7.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// False once clone3 has failed.
pub(super) static HAS_CLONE3: AtomicBool = AtomicBool::new(true);

/// Creates a child that starts in [`child::main`], and its pidfd.
///
/// # Safety
///
/// All signals are blocked. The shared memory, including the child's stack, is neither moved nor used by anything else
/// until the child has left it.
pub(super) unsafe fn enter(memory: &ChildMemory, pidfd: &mut RawFd) -> io::Result<Pid> {
    if HAS_CLONE3.load(Ordering::Relaxed) {
        // SAFETY: clone3 has the same conditions as this function, whose caller meets them.
        match unsafe { clone3(memory, pidfd) } {
            // An old kernel, another architecture, or a seccomp filter that does not know this call.
            Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => HAS_CLONE3.store(false, Ordering::Relaxed),
            Err(errno) => return Err(io::Error::from_raw_os_error(errno.into_raw())),
            Ok(pid) => return valid(pid),
        }
    }
    // SAFETY: clone has the same conditions as this function, whose caller meets them.
    unsafe { clone(memory, pidfd) }
}

/// # Safety
///
/// As [`enter`].
unsafe fn clone(memory: &ChildMemory, pidfd: &mut RawFd) -> io::Result<Pid> {
    memory.is_cleared.store(false, Ordering::Release);
    // SAFETY: by the caller, and `child::main` keeps the rules of the module above. The kernel writes to `pidfd` before
    // this returns.
    let pid = unsafe {
        libc::clone(
            child::main,
            memory.stack.top(),
            FLAGS | libc::SIGCHLD,
            ptr::from_ref(memory).cast_mut().cast::<c_void>(),
            ptr::from_mut(pidfd),
            ptr::null_mut::<c_void>(),
            ptr::null_mut::<c_void>(),
        )
    };
    match pid {
        1.. => valid(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

fn valid(pid: c_int) -> io::Result<Pid> {
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The kernel's `struct clone_args`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[repr(C)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    // Linux 5.3, the first with clone3, knows the fields up to here.
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// # Safety
///
/// As [`enter`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn clone3(memory: &ChildMemory, pidfd: &mut RawFd) -> Result<c_int, Errno> {
    memory.is_cleared.store(true, Ordering::Release);
    let (stack, stack_size) = memory.stack.range();
    let (of_cgroup, cgroup, size) = match memory.plan.cgroup {
        None => (0, 0, offset_of!(Arguments, set_tid)),
        Some(cgroup) => (INTO_CGROUP, cgroup as u64, size_of::<Arguments>()),
    };
    let arguments = Arguments {
        flags: FLAGS as u64 | CLEAR_SIGHAND | of_cgroup,
        pidfd: ptr::from_mut(pidfd).addr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack as u64,
        stack_size: stack_size as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup,
    };
    // SAFETY: by the caller, and `child::main` keeps the rules of the module above. The kernel reads `arguments` and
    // writes to `pidfd` before this returns.
    let returned = unsafe { jump(&arguments, size, ptr::from_ref(memory).cast()) };
    match returned {
        1.. => Ok(returned as c_int),
        _ => Err(Errno::new(-returned as i32)),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(_: &ChildMemory, _: &mut RawFd) -> Result<c_int, Errno> {
    Err(Errno::ENOSYS)
}

/// The system call. It returns here in this process, and the child continues in [`child::main`] on its own stack. The
/// child starts with all registers of this thread except the stack pointer, and leaves this function's frame at once.
///
/// # Safety
///
/// As [`enter`], and `size` is at most that of `arguments`.
#[cfg(target_arch = "x86_64")]
unsafe fn jump(arguments: &Arguments, size: usize, memory: *const c_void) -> isize {
    let returned: isize;
    // SAFETY: by the caller. The kernel changes only rax, rcx and r11; the values that the child uses are in other
    // registers. The top of its stack is page-aligned, as the call requires.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {memory}",
            "call {main}",
            "ud2",
            "2:",
            memory = in(reg) memory,
            main = in(reg) child::main as *const (),
            inout("rax") libc::SYS_clone3 => returned,
            in("rdi") ptr::from_ref(arguments),
            in("rsi") size,
            out("rcx") _,
            out("r11") _,
        );
    }
    returned
}

/// As for x86-64.
///
/// # Safety
///
/// As [`enter`], and `size` is at most that of `arguments`.
#[cfg(target_arch = "aarch64")]
unsafe fn jump(arguments: &Arguments, size: usize, memory: *const c_void) -> isize {
    let returned: isize;
    // SAFETY: by the caller. The kernel changes only x0.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, {memory}",
            "blr {main}",
            "brk 1",
            "2:",
            memory = in(reg) memory,
            main = in(reg) child::main as *const (),
            inout("x0") ptr::from_ref(arguments) => returned,
            in("x1") size,
            in("x8") libc::SYS_clone3,
        );
    }
    returned
}
