//! What the allocator does with memory that was freed.

/// Has the allocator keep freed memory for what comes next. For a program that streams a lot: call it once, early.
///
/// glibc gives the end of its heap back to the system as soon as 128 KiB of it are free. Buffers of a stream come and go by
/// the megabyte, so nearly all of them are fresh pages that the kernel has to clear: a fifth of a download's time. After this call up to
/// 8 MiB stay. Costs nothing that is not used; other allocators ignore it.
pub fn keep_freed_memory() {
    // Without a call that Rust calls unsafe: glibc takes the size of the largest mapping that was freed for what the program usually
    // asks for, and keeps twice as much (mallopt(3), M_MMAP_THRESHOLD, "dynamic").
    const USUAL: usize = 4 * 1024 * 1024;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(USUAL)));
}
