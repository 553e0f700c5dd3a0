//! Every limit of the binary: its value and what it protects.

use std::time::Duration;

/// Largest write that cannot block when the descriptor polls as writable: Linux's PIPE_BUF. Protects the thread that keeps
/// the session alive.
pub(crate) const ATOMIC_WRITE: usize = 4096;

/// Size of a read from standard input: what a pipe holds.
pub(crate) const STDIN_READ: usize = 64 * 1024;

/// Reads of standard input that wait to be sent. With [`STDIN_READ`], 256 KiB of memory.
pub(crate) const STDIN_QUEUE: usize = 4;

/// Longest that an exit waits for the collector. Exporting must never hold a command's exit code back for long.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read of a file with a ticket, which is one line of some 300. Protects memory from a wrong path.
pub(crate) const TICKET_FILE_MAX: u64 = 16 * 1024;

/// Bytes of a trace file before it becomes `FILE.1`: a thousand commands or more, and a quarter of what `baton trace show` reads.
/// With the old one, twice this on disk.
pub(crate) const TRACE_FILE_MAX: u64 = 16 * 1024 * 1024;

/// How often the exec-server's owner may hear of the disk. A person need not know sooner, and an idle exec-server should sleep.
pub(crate) const HEALTH_LOOK: Duration = Duration::from_secs(5);

/// Longest wait for the disk when the exec-server ends. What is not written then is told.
pub(crate) const STATE_SHUTDOWN: Duration = Duration::from_secs(3);
