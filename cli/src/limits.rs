//! Every limit of the binary: its value and what it protects.

use std::time::Duration;

use baton_core_client::limits::STDIN_CHUNK;

/// Largest write that cannot block when the descriptor polls as writable: Linux's PIPE_BUF. Protects the thread that keeps
/// the session alive.
pub(crate) const ATOMIC_WRITE: usize = 4096;

/// Pieces of output that wait to be written by their thread: 64 KiB each, as the exec-server reads them, so 1 MiB, and as much that
/// is being written.
pub(crate) const OUTPUT_QUEUE: usize = 16;

/// How long output that came before an interruption may take to be written. Its reader may never read.
pub(crate) const OUTPUT_GRACE: Duration = Duration::from_millis(200);

/// Size of a read from standard input: one message, and one write to the command's pipe.
pub(crate) const STDIN_READ: usize = STDIN_CHUNK;

/// A read this short is copied, so that it does not keep a buffer of [`STDIN_READ`] alive.
pub(crate) const SMALL_READ: usize = 8 * 1024;

/// Reads of standard input that wait to be sent. With [`STDIN_READ`], 512 KiB of memory.
pub(crate) const STDIN_QUEUE: usize = 4;

/// Bytes after which a pipe to or from us is one of bulk.
pub(crate) const BULK_BYTES: usize = 512 * 1024;

/// What such a pipe is made to hold: the most that Linux gives to everyone (`fs.pipe-max-size`).
pub(crate) const BULK_PIPE_BYTES: usize = 1024 * 1024;

/// Longest that an exec-server's exit waits for the collector. What it does not have by then goes to the spool.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest that a command's exit waits for the collector where `CI` is set, unless `--flush-timeout` says otherwise: the machine may be gone before a
/// later run could send what is left.
pub(crate) const CI_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read of a file with a ticket, which is one line of some 300. Protects memory from a wrong path.
pub(crate) const TICKET_FILE_MAX: u64 = 16 * 1024;

/// Bytes of a trace file before it becomes `FILE.1`: a thousand commands or more, and a quarter of what `baton trace show` reads.
/// With the old one, twice this on disk.
pub(crate) const TRACE_FILE_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of the file of hosts that were warned of: some thousand names. One that is full begins anew, and its hosts are warned of once more.
pub(crate) const WARNED_MAX: u64 = 32 * 1024;

/// How often an exec-server looks for another generation of its ticket. A leaked one is worthless that soon.
pub(crate) const GENERATION_INTERVAL: Duration = Duration::from_secs(1);

/// Symbolic links in a row that lead to a trace file, as many as Linux follows.
pub(crate) const LINKS_MAX: usize = 40;

/// Open descriptors that an exec-server asks the system for, beside [`PROCESS_FILES`] for each process that it may run: for its sessions,
/// and room. Its commands start with the limit that it was started with.
pub(crate) const EXEC_SERVER_FILES: u64 = 4096;

/// Open descriptors of one process: three pipes and a pidfd.
pub(crate) const PROCESS_FILES: u64 = 4;

/// Most processes that an exec-server may be told to run at once. Linux's own default for a user is below it on most machines.
pub(crate) const MAX_PROCESSES_MAX: i64 = 65_536;

/// Most sessions that it may be told to serve at once: 4 GiB of memory when all are idle.
pub(crate) const MAX_SESSIONS_MAX: i64 = 65_536;

/// The same of a relay, beside one for each connection that it allows.
pub(crate) const RELAY_FILES: u64 = 256;

/// Lines of one cause that an exec-server tells in a [`LOG_PERIOD`], where others can cause them at will: a relay, or whoever has a
/// ticket. Protects logs. Enough for a relay that is gone for a while.
pub(crate) const LOG_LINES_PER_PERIOD: u32 = 12;

/// After it the number of those that were not told is.
pub(crate) const LOG_PERIOD: Duration = Duration::from_secs(60);

/// How often the exec-server's owner may hear of the disk. A person need not know sooner, and an idle exec-server should sleep.
pub(crate) const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Longest wait for the disk when the exec-server ends. What is not written then is told.
pub(crate) const STATE_SHUTDOWN: Duration = Duration::from_secs(3);

/// The same, for a writer that does not keep to it.
pub(crate) const STATE_SHUTDOWN_LIMIT: Duration = Duration::from_secs(4);

/// How long records are kept by default: a person looks back a month, not a year.
pub(crate) const RETAIN_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What records may take by default, in bytes: a million usual commands, on a disk that has other uses.
pub(crate) const RETAIN_BYTES: u64 = 1024 * 1024 * 1024;
