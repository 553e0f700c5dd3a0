//! A stack of a child, with a guard page below it.

use std::ffi::c_void;
use std::io;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::param::page_size;

use crate::limits::STACK_BYTES;

/// A mapping of its own, unmapped when dropped.
pub(super) struct Stack {
    /// The address of the guard page.
    bottom: *mut c_void,
    bytes: usize,
}

// SAFETY: the value owns its mapping, which is not bound to a thread.
unsafe impl Send for Stack {}
// SAFETY: nothing is read or written through a reference.
unsafe impl Sync for Stack {}

impl Stack {
    pub(super) fn new() -> io::Result<Self> {
        let guard = page_size();
        let bytes = guard + STACK_BYTES.next_multiple_of(guard);
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let bottom = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::STACK,
            )?
        };
        let stack = Self { bottom, bytes };
        // SAFETY: the first page of the new mapping, which is unused.
        unsafe { mprotect(bottom, guard, MprotectFlags::empty())? };
        Ok(stack)
    }

    /// The start of the stack, which grows down. Page-aligned.
    pub(super) fn top(&self) -> *mut c_void {
        self.bottom.wrapping_byte_add(self.bytes)
    }
}

impl Stack {
    /// Its lowest address and its size in bytes, including the guard page.
    pub(super) fn range(&self) -> (usize, usize) {
        (self.bottom.addr(), self.bytes)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no longer used. It cannot fail for a valid mapping.
        let _ = unsafe { munmap(self.bottom, self.bytes) };
    }
}
