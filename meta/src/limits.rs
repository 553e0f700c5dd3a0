//! Every bound of this crate: what it protects, and what it can cost.

use std::time::Duration;

/// Of the arguments of a command, all together, that a record keeps; the rest is cut. A command line that a person reads is shorter,
/// and a `Start` may carry 4 MiB.
pub const ARGV_BYTES: usize = 4 * 1024;

/// Longest working directory that is kept; Linux allows no longer one (PATH_MAX).
pub const CWD_BYTES: usize = 4 * 1024;

/// Longest `fault`; the rest is cut.
pub const FAULT_BYTES: usize = 512;

/// Largest encoded timings; larger ones are left out. The server's stages of a call take some 300.
pub const TIMINGS_BYTES: usize = 2 * 1024;

/// Longest thread id; a longer one is refused.
pub const THREAD_ID_BYTES: usize = 256;

/// Longest title; a longer one is refused.
pub const TITLE_BYTES: usize = 1024;

/// Longest key of a thread's value; a longer one is refused.
pub const VALUE_KEY_BYTES: usize = 128;

/// Longest value; a longer one is refused.
pub const VALUE_BYTES: usize = 4 * 1024;

/// Values that one patch may set or take away, those merged into it while it waits included.
pub const VALUES_PER_PATCH: usize = 64;

/// How often the store's upkeep runs when there is little to do.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(30);
