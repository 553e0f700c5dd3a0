//! The limits of starting a child: what each protects, and its cost.

/// A child's stack between its clone and its exec, during which it only makes system calls.
pub const STACK_BYTES: usize = 16 * 1024;

/// Unused stacks that are kept for the next children. Protects memory after many simultaneous starts: at most 640 KiB,
/// without guard pages.
pub const IDLE_STACKS: usize = 40;
