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

/// How long what was found about a directory is taken for true without another look. A person who looks after `git switch` sees it.
pub const FACTS_FRESH: Duration = Duration::from_secs(2);

/// Directories whose facts are remembered, and threads of which it is known what they were told; beyond it all of them are forgotten and
/// found again. About 1 KiB each: 2 MB.
pub const FACTS_CACHED: usize = 1024;

/// Commands whose facts are to be looked for once their first event is on its way: as many as run at once, and some.
pub const FACTS_EXPECTED: usize = 1024;

/// Needs that wait for the finder; further ones are forgotten. Protects memory from a file system that hangs.
pub const FACTS_QUEUE: usize = 64;

/// Directories looked at on the way up from a working directory. Protects from a path that is nothing but slashes and dots.
pub const FACTS_PARENTS: usize = 128;

/// Bytes read of one small file of a repository: a line each.
pub const GIT_FILE_BYTES: u64 = 8 * 1024;

/// Bytes read of a repository's `packed-refs`: a hundred thousand refs and more. Beyond it a branch's commit stays unknown.
pub const GIT_PACKED_BYTES: u64 = 16 * 1024 * 1024;
