//! The memory that a child reads and writes before its exec.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::inherited::InheritedState;
use super::stack::Stack;
use crate::image::Image;

/// The arguments of a child's system calls, as the kernel takes them.
pub(super) struct ExecPlan {
    pub(super) image: Image,
    pub(super) inherited: InheritedState,
    /// Pointers into `image`, with a null pointer at the end.
    pub(super) arguments: Vec<*const c_char>,
    /// Pointers into `image`, with a null pointer at the end.
    pub(super) environment: Vec<*const c_char>,
    /// Become descriptors 0, 1 and 2. None of them is below 3.
    pub(super) stdio: [RawFd; 3],
    /// The directory of the child's cgroup. Open in this process until the child has been created; a child that joins
    /// the cgroup has a copy.
    pub(super) cgroup: Option<RawFd>,
}

// SAFETY: its pointers are into its own `image`, which does not change.
unsafe impl Send for ExecPlan {}
// SAFETY: nothing in it changes after `new`, so threads only read it.
unsafe impl Sync for ExecPlan {}

impl ExecPlan {
    /// `cgroup` is that of the image.
    pub(super) fn new(
        image: Image,
        cgroup: Option<&OwnedFd>,
        inherited: InheritedState,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Self {
        Self {
            arguments: pointers(image.arguments.iter().map(CString::as_c_str)),
            environment: pointers(image.environment.strings()),
            image,
            inherited,
            stdio: stdio.map(|fd| fd.as_raw_fd()),
            cgroup: cgroup.map(|cgroup| cgroup.as_raw_fd()),
        }
    }
}

/// A C array of strings.
fn pointers<'a>(strings: impl IntoIterator<Item = &'a CStr>) -> Vec<*const c_char> {
    let strings = strings.into_iter().map(CStr::as_ptr);
    strings.chain([ptr::null()]).collect()
}

/// The memory that a cloned child shares with this process until its exec.
pub(crate) struct ChildMemory {
    pub(super) plan: ExecPlan,
    pub(super) stack: Stack,
    /// The child's process id, once the child exists.
    pub(super) pid: OnceLock<Pid>,
    /// The kernel stores 0 when the child has left this memory; not if the child was killed before its first
    /// instruction.
    pub(super) present: AtomicU32,
    /// The child starts without this process's signal handlers, and in its cgroup.
    pub(super) is_cleared: AtomicBool,
    /// Why the child could not execute its program; 0: no error.
    pub(super) errno: AtomicI32,
    /// When the child called execve(2), in nanoseconds of CLOCK_MONOTONIC; 0: not yet.
    pub(super) executed_ns: AtomicI64,
}

impl ChildMemory {
    pub(super) fn new(plan: ExecPlan, stack: Stack) -> Self {
        Self {
            plan,
            stack,
            pid: OnceLock::new(),
            present: AtomicU32::new(1),
            is_cleared: AtomicBool::new(false),
            errno: AtomicI32::new(0),
            executed_ns: AtomicI64::new(0),
        }
    }

    pub(crate) fn image(&self) -> &Image {
        &self.plan.image
    }

    /// Whether the child has left this memory, by its exec or its exit.
    pub(crate) fn has_left(&self) -> bool {
        self.present.load(Ordering::Acquire) == 0
    }

    /// Why the child could not execute its program. Valid once the child has left this memory.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self.errno.load(Ordering::Acquire) {
            0 => None,
            errno => Some(Errno::from_raw_os_error(errno)),
        }
    }

    /// When the child called execve(2), in nanoseconds of CLOCK_MONOTONIC. Valid once the child has left this memory.
    pub(crate) fn executed_ns(&self) -> i64 {
        self.executed_ns.load(Ordering::Acquire)
    }

    /// Whether this memory may be freed: the child has left it, was never created, or is dead.
    pub(super) fn is_free(&self) -> bool {
        if self.has_left() {
            return true;
        }
        let Some(pid) = self.pid.get() else { return false };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        // If another child has this process id by now, this memory is freed when that child ends.
        matches!(
            waitid(WaitId::Pid(*pid), options),
            Ok(Some(_)) | Err(Errno::CHILD)
        )
    }
}
