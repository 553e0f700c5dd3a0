//! Limits of the client, each with what it protects.

use std::time::Duration;

/// Default limit of the output that [`crate::Client::run`] collects, in bytes. Protects the caller's memory; use
/// [`crate::Client::start`] for more output.
pub const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// Default of [`Command::grace`](crate::Command::grace): a relay restarts, a laptop changes its network. The command of a
/// client that is killed runs on as long.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(60);

/// Messages of one run that wait to be sent. With [`STDIN_CHUNK`] it bounds the buffered standard input of a run.
pub const OUTBOX: usize = 8;

/// Largest chunk of standard input in one message: one write to the command's pipe.
pub const STDIN_CHUNK: usize = 128 * 1024;

/// Longest wait for the answer to a signal, reconnecting included. Protects the caller from an exec-server that is out of
/// reach.
pub const SIGNAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Processes in the answers to one list: more than any exec-server runs. Protects the caller's memory, some 100 MiB.
pub const PROCESSES_MAX: usize = 65_536;

/// Standard input of a command with a grace that its process has not taken: twice what an exec-server may hold of it, so
/// that a report is never waited for. Protects the caller's memory.
pub const STDIN_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// How much earlier than the end of a command's grace a client stops to recover it, at most; at least a tenth of the
/// grace. The exec-server may have noticed the loss before the client, and somebody who is told that the command still
/// runs needs time to act.
pub const RECOVERY_MARGIN_MAX: Duration = Duration::from_secs(5);

/// Wait after the first failed attempt to attach to a command again; it doubles with each further one. An attempt
/// itself already retries to connect, for the channel's `connect_timeout`.
pub const RECOVERY_WAIT_FIRST: Duration = Duration::from_millis(100);

/// How often a start is repeated whose session was lost before its first event: each loses another session.
pub const START_ATTEMPTS: u32 = 5;

/// Longest wait between two attempts to attach.
pub const RECOVERY_WAIT_MAX: Duration = Duration::from_secs(1);

/// Pieces of a file that wait to be sent. With [`FILE_PIECE_MAX`](baton_proto::limits::FILE_PIECE_MAX) it bounds what
/// a [`crate::FileWriter`] holds to 512 KiB, beside the session's window.
pub const WRITE_OUTBOX: usize = 4;

/// Files of a tree that are copied, and directories of it that are listed, at once: enough to hide the round trip of a
/// distant exec-server. With [`COPY_LISTINGS`] it stays below the 48 transfers that an exec-server gives one key. Memory:
/// at most [`COPY_BATCH`] each, beside the session's windows.
pub const COPY_IN_FLIGHT: usize = 32;

/// Small files of an upload that are read on one thread, and then written by one call each. As many count as in flight.
pub const COPY_GROUP: usize = 8;

/// What [`READ_MANY_MAX`](baton_proto::limits::READ_MANY_MAX) files of a download, which take one call, count as in flight
/// at most. With [`COPY_IN_FLIGHT`] that is four such calls, enough to hide a round trip. Memory: 1 MiB each.
pub const COPY_GROUP_WEIGHT: usize = 8;

/// Directories of a tree that are partly listed. Each holds a transfer of the exec-server, and one descriptor here.
pub const COPY_LISTINGS: usize = 8;

/// Files beyond [`COPY_BATCH`] that are copied at once. Each holds two batches.
pub const COPY_STREAMS: usize = 4;

/// Bytes of a file that are read or written on another thread at once. A smaller file takes one such thread.
pub const COPY_BATCH: usize = 1024 * 1024;

/// Pieces of a file in one batch: eight times as many as a batch of whole pieces has. Protects memory from an
/// exec-server that sends single bytes.
pub const COPY_BATCH_PIECES: usize = 64;

/// Directories of a tree that are found and not listed yet. Protects memory from a tree without end: some 100 bytes
/// each, 25 MiB in all.
pub const COPY_DIRECTORIES_MAX: usize = 256 * 1024;

/// Ancestors that are probed at once for a project root, where the exec-server has no `FindUp`: most roots are nearer.
/// With 16 markers that is half of the calls of a session.
pub const PROBED_AT_ONCE: usize = 8;

/// Changed paths of a turn that a [`crate::Thread`] records. With more, it asks git about the whole repository.
pub const CHANGED_PATHS_MAX: usize = 4096;

/// Bytes of all changed paths of a turn, which are arguments of one command: a quarter of what Linux allows. Protects
/// the caller's memory.
pub const CHANGED_BYTES_MAX: usize = 512 * 1024;

/// Bytes of `git status` about a turn. Protects the caller's memory: a decoded entry takes some 100 bytes more.
pub const STATUS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of `git diff` about a turn. A larger one is reported as such. Protects the caller's memory.
pub const DIFF_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest run of git about a turn: more than the status of a large repository on a slow disk needs. Protects the
/// caller from a file system that hangs.
pub const GIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of git's message that an error shows: some lines.
pub const GIT_MESSAGE_BYTES: usize = 1024;

/// Longest duration of one warm, which then counts as failed. Longer than a channel tries to connect by default, so that
/// its own error is reported. Protects the timer from a warm that never ends.
pub const WARM_TIMEOUT: Duration = Duration::from_secs(40);

/// Sessions of one pool. An idle session costs each end some 60 KiB, and a key's share of the exec-server's sessions.
pub const POOL_SESSIONS_MAX: usize = 64;

/// How often a full pool looks for sessions that have ended: the longest time for which it is smaller than it should be.
pub const POOL_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long after a session was taken from a full pool the next one is established. Protects the first command of the
/// session that was taken: beside a handshake it took half as long again.
pub const POOL_REFILL_DELAY: Duration = Duration::from_millis(100);

/// Failures in a row after which a pool stops to dial, until a session is taken. With the waits between them, some 30 s
/// in which an exec-server restarts; each attempt itself also retries for the channel's `connect_timeout`.
pub const POOL_ATTEMPTS_MAX: u32 = 8;

/// Wait of a pool after its first failure; it doubles with each further one.
pub const POOL_RETRY_FIRST: Duration = Duration::from_millis(250);

/// Longest wait of a pool between two attempts.
pub const POOL_RETRY_MAX: Duration = Duration::from_secs(10);
