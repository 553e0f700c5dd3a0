//! Every bound of starting a child: what it protects, and what it can cost.

/// A child's stack between its clone and its exec, where it only makes system calls.
pub const STACK_BYTES: usize = 16 * 1024;

/// Such stacks kept for the next children. Protects memory after many starts at once: at most 640 KiB, guard pages not
/// counted.
pub const IDLE_STACKS: usize = 40;
