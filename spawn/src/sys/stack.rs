//! A stack of a child, with a guard page below it.

use std::ffi::c_void;
use std::io;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::param::page_size;

use crate::limits::STACK_BYTES;

/// Memory of its own, unmapped when dropped.
pub(super) struct Stack {
    /// Of the guard page.
    bottom: *mut c_void,
    bytes: usize,
}

// SAFETY: it is memory and nothing else; whoever owns the value owns it.
unsafe impl Send for Stack {}
// SAFETY: nothing is read or written through a reference.
unsafe impl Sync for Stack {}

impl Stack {
    pub(super) fn new() -> io::Result<Self> {
        let guard = page_size();
        let bytes = guard + STACK_BYTES.next_multiple_of(guard);
        // SAFETY: new memory, where the kernel likes it.
        let bottom = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::STACK,
            )?
        };
        let stack = Self { bottom, bytes };
        // SAFETY: its first page, which nobody uses.
        unsafe { mprotect(bottom, guard, MprotectFlags::empty())? };
        Ok(stack)
    }

    /// Where it begins: stacks grow down. Aligned to a page.
    pub(super) fn top(&self) -> *mut c_void {
        self.bottom.wrapping_byte_add(self.bytes)
    }
}

impl Stack {
    /// Its lowest address and how many bytes it has, the guard page included.
    pub(super) fn range(&self) -> (usize, usize) {
        (self.bottom.addr(), self.bytes)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody's any more. It fails only for arguments that no mapping has.
        let _ = unsafe { munmap(self.bottom, self.bytes) };
    }
}
