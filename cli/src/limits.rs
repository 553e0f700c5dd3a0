//! Every limit of the binary: its value and what it protects.

use std::time::Duration;

use baton_core_client::limits::STDIN_CHUNK;

/// The largest write that cannot block if the descriptor polls as writable: Linux's PIPE_BUF. Protects the thread that
/// drives the session.
pub(crate) const ATOMIC_WRITE: usize = 4096;

/// Chunks of output that wait for the writer thread: 64 KiB each, as the exec-server reads them, so 1 MiB, and as much
/// that is being written.
pub(crate) const OUTPUT_QUEUE: usize = 16;

/// Largest `--max-output`: its last half is kept in memory until the command ends.
pub(crate) const MAX_OUTPUT_MAX: usize = 256 * 1024 * 1024;

/// Time to write the output that precedes an interruption. Its reader may never read.
pub(crate) const OUTPUT_GRACE: Duration = Duration::from_millis(200);

/// Default of `--kill-grace`: commands write their last lines and remove their temporary files, and a person does not
/// wait long after Ctrl-C.
pub(crate) const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// Time after the kill grace in which the end of the command has to arrive. Protects the user of a command whose
/// exec-server is out of reach.
pub(crate) const KILL_MARGIN: Duration = Duration::from_secs(2);

/// Size of a read from standard input: one message, and one write to the command's pipe.
pub(crate) const STDIN_READ: usize = STDIN_CHUNK;

/// A read this short is copied, so that it does not keep a buffer of [`STDIN_READ`] alive.
pub(crate) const SMALL_READ: usize = 8 * 1024;

/// Reads of standard input that wait to be sent. With [`STDIN_READ`], 512 KiB of memory.
pub(crate) const STDIN_QUEUE: usize = 4;

/// Pieces typed on a raw terminal that wait while the command takes none, so that `~.` is still found. Linux's terminal
/// returns at most 4 KiB a read, so 1 MiB of memory.
pub(crate) const KEYS_QUEUE: usize = 256;

/// Escapes that wait: what is typed after one waits for its answer.
pub(crate) const ESCAPES_QUEUE: usize = 1;

/// Time to send the hang-up of `~.` to an exec-server. It may be out of reach, and a user who leaves does not wait.
pub(crate) const HANG_UP_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes after which a pipe of this process counts as carrying a bulk transfer.
pub(crate) const BULK_BYTES: usize = 512 * 1024;

/// The capacity that such a pipe is set to: Linux's default limit for any user (`fs.pipe-max-size`).
pub(crate) const BULK_PIPE_BYTES: usize = 1024 * 1024;

/// Longest that an exec-server's exit waits for the collector. Undelivered spans are spooled then.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest that a command's exit waits for the collector if `CI` is set and `--flush-timeout` is not: a CI machine may
/// be deleted before a later run could send the spool.
pub(crate) const CI_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read of a ticket file, which has one line of about 300 bytes. Protects memory from a wrong path.
pub(crate) const TICKET_FILE_MAX: u64 = 16 * 1024;

/// Bytes of a file of environment variables. Protects memory; Linux takes at most 2 MiB of arguments and variables for
/// a new program, by default.
pub(crate) const ENV_FILE_MAX: u64 = 2 * 1024 * 1024;

/// Bytes of a host's name: those of a label of the DNS, which many names are.
pub(crate) const HOST_NAME_MAX: usize = 64;

/// Bytes of the file of hosts: some three thousand. Protects memory.
pub(crate) const HOSTS_FILE_MAX: u64 = 1024 * 1024;

/// Bytes of a trace file before it is renamed to `FILE.1`: at least a thousand commands. Both files together take twice
/// this on disk.
pub(crate) const TRACE_FILE_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of the file of warned hosts: about a thousand names. A full file is truncated, and its hosts are warned about
/// once more.
pub(crate) const WARNED_MAX: u64 = 32 * 1024;

/// How often an exec-server checks for a new generation of its ticket: the delay until a leaked ticket is revoked.
pub(crate) const GENERATION_INTERVAL: Duration = Duration::from_secs(1);

/// Length of a chain of symbolic links to a trace file, the same as Linux's limit.
pub(crate) const LINKS_MAX: usize = 40;

/// Open descriptors that an exec-server requests, in addition to [`PROCESS_FILES`] for each process that it may run:
/// for its sessions, with a reserve. Its commands start with the limit that it was started with.
pub(crate) const EXEC_SERVER_FILES: u64 = 4096;

/// Open descriptors of one process: three pipes and a pidfd.
pub(crate) const PROCESS_FILES: u64 = 4;

/// The maximum of `--max-processes`. Linux's default limit for a user is lower on most machines.
pub(crate) const MAX_PROCESSES_MAX: i64 = 65_536;

/// The maximum of `--grace` and `--max-grace`: a command that runs for weeks needs a service manager. 32 bits of
/// milliseconds hold it.
pub(crate) const GRACE_LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Default of the relay's `--drain`: most sessions end within it. Shorter than the 30 s after which Kubernetes kills a
/// container, and the 90 s of systemd, so that the relay still tells the rest that it shuts down.
pub(crate) const RELAY_DRAIN_DEFAULT: Duration = Duration::from_secs(25);

/// The maximum of `--stop-timeout` and of the relay's `--drain`: the longest build that a stopped machine should wait
/// for.
pub(crate) const STOP_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum of `--max-sessions`: 4 GiB of memory if all are idle.
pub(crate) const MAX_SESSIONS_MAX: i64 = 65_536;

/// The maximum of `--threads` of a relay: more than the cores of most machines. Each thread takes up to 8 MiB.
pub(crate) const RELAY_THREADS_MAX: i64 = 256;

/// Open descriptors that a relay requests, in addition to one for each connection that it allows.
pub(crate) const RELAY_FILES: u64 = 256;

/// Connections to `--metrics` of a relay at once; further ones wait. Protects the relay's memory and descriptors from
/// scrapers.
pub(crate) const METRICS_CONNECTIONS: usize = 16;

/// Time for one request to `--metrics` and its answer. Frees the place of a scraper that sends or reads nothing. Well
/// below Prometheus's own 10 s, so that a scrape that waits for a place still succeeds.
pub(crate) const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest request to `--metrics`. A scraper's headers have some hundred bytes; hyper's own limit is 400 KiB.
pub(crate) const METRICS_REQUEST_BYTES: usize = 16 * 1024;

/// Pause after `--metrics` could not accept a connection, which fails for as long as descriptors are short.
pub(crate) const METRICS_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Log lines of one kind that an exec-server writes in a [`LOG_PERIOD`], for kinds that a relay or any holder of a
/// ticket can cause. Protects logs. Enough for a relay that is unreachable for a while.
pub(crate) const LOG_LINES_PER_PERIOD: u32 = 12;

/// The period of [`LOG_LINES_PER_PERIOD`]. After it, the number of suppressed lines is logged.
pub(crate) const LOG_PERIOD: Duration = Duration::from_secs(60);

/// How often the exec-server checks the health of its disk for log lines. An idle exec-server should rarely wake.
pub(crate) const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Longest wait for the disk when the exec-server ends. Records that are not written by then are reported.
pub(crate) const STATE_SHUTDOWN: Duration = Duration::from_secs(3);

/// Longest that the shutdown hook may take, in case the writer exceeds [`STATE_SHUTDOWN`].
pub(crate) const STATE_SHUTDOWN_LIMIT: Duration = Duration::from_secs(4);

/// Default maximum age of records: users look back a month, not a year.
pub(crate) const RETAIN_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Default maximum size of records in bytes: a million typical commands, on a disk that has other uses.
pub(crate) const RETAIN_BYTES: u64 = 1024 * 1024 * 1024;

/// Commands of a history whose stages are requested at once: enough to hide the round trip of a distant exec-server.
pub(crate) const SHOWN_AT_ONCE: usize = 32;

/// Deadline of a connection to a Jaeger, which is nearby.
pub(crate) const JAEGER_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Deadline of one answer of a Jaeger: a search over a slow storage, and a long transfer.
pub(crate) const JAEGER_ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// The window of a search in a Jaeger without `--since`: as long as its own page shows by default.
pub(crate) const JAEGER_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Default interval of `baton warm`: shorter than the time after which most caches and proxies drop what idles.
pub(crate) const WARM_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);

/// How often `baton warm` draws its countdown again: its unit is a second.
pub(crate) const WARM_REDRAW_INTERVAL: Duration = Duration::from_secs(1);

/// The same for intervals below [`WARM_SHORT_INTERVAL`], whose unit is a tenth of a second.
pub(crate) const WARM_SHORT_REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Below this interval `baton warm` counts in tenths of a second: whole seconds would hardly change between two warms.
pub(crate) const WARM_SHORT_INTERVAL: Duration = Duration::from_secs(10);

/// Changes that wait to be printed, of at most some 24 KiB each. Beyond it the exec-server counts what is missed.
pub(crate) const WARM_UPDATES_QUEUE: usize = 16;

/// How often `baton cp` draws its progress again, and how long a copy takes at least to show any.
pub(crate) const COPY_REDRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Wait before a lost watch of the board begins again. Protects the exec-server; connecting has its own retries.
pub(crate) const WATCH_RETRY_INTERVAL: Duration = Duration::from_secs(1);
