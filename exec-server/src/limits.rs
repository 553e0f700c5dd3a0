//! Every bound of this crate: what it protects, and what it can cost.

use std::time::Duration;

/// Processes alive at once, over all clients, those being killed included; [`Settings::max_processes`](crate::Settings) sets another limit.
/// Protects the machine's process table and descriptors (three a process, four with stdin, two more for those below [`HOLD_CHILD_ENDS_BELOW`]).
///
/// Worst case of memory: 2 × ([`RETAINED_BYTES`] + this × ([`RETAINED_MIN_BYTES`] + [`READ_BYTES`])) of output, and this × [`REQUEST_BYTES`] of input
/// that its child does not read: 4.4 GiB in all, 4.3 MiB for each process more. A command that nobody stalls on purpose takes some 40 KiB.
pub const MAX_PROCESSES: usize = 1024;

/// A client's key may take one more of what clients share while it holds less than this times what is free: processes
/// ([`MAX_PROCESSES`]), finished ids ([`FINISHED_MAX`]), retained output ([`RETAINED_BYTES`]). One key alone gets three quarters (768 processes), and
/// so leaves a quarter to others; of that the next one gets three quarters.
pub const SHARE_OF_FREE: usize = 3;

/// The hint to a client whose start found no place: short commands end in that time, and others are not asked after too often.
pub const PROCESSES_RETRY: Duration = Duration::from_secs(1);

/// Output retained in the logs of all processes together, while they are not at [`RETAINED_MIN_BYTES`] each. As much as 512 full logs. Blocks of
/// buffer are at least half used, so memory is at most twice this.
pub const RETAINED_BYTES: usize = 128 * 1024 * 1024;

/// Output that a process retains, before one more read, whatever its client holds otherwise. Protects a client's commands from each other.
pub const RETAINED_MIN_BYTES: usize = 4 * 1024;

/// Output and event headers that one process's log holds before its pipes are no longer read, and the child so
/// blocks. Four reads of [`READ_BYTES`]: enough for the sender never to wait for a read, small enough to stay in
/// cache. Blocks of buffer are at least half used, so memory is at most twice this.
pub const LOG_BYTES: usize = 256 * 1024;

/// Largest read of a pipe, and so largest `Output`: a pipe holds 64 KiB by default.
pub const READ_BYTES: usize = 64 * 1024;

/// A read of a pipe this long, or a write this long that a pipe does not take whole, found it full or nearly so: half of
/// what a pipe holds by default.
pub const BULK_PIECE_BYTES: usize = 32 * 1024;

/// How a pipe that carries bulk grows.
#[derive(Debug, Clone, Copy)]
pub struct BulkStep {
    /// It is found full so often before.
    pub pieces: u32,
    /// What it holds then. The kernel's memory, and only as far as it is filled.
    pub bytes: usize,
    /// So many pipes at a time.
    pub slots: usize,
}

/// A child and the server change places once for what a pipe holds; a command with a page of output has no use for more than the usual 64 KiB.
/// The second step is the most that Linux gives to everyone (`fs.pipe-max-size`); what stops before it has carried some megabytes never
/// takes one of its places, and what stops later leaves the first step's to others. With the usual pipes of 256 processes, 48 MiB, they
/// are about the 64 MiB of pipes that Linux gives a user other than root (`fs.pipe-user-pages-soft`). Beyond those, new pipes of the same user
/// hold 8 KiB.
pub const BULK_STEPS: [BulkStep; 2] = [
    BulkStep {
        pieces: 8,
        bytes: 256 * 1024,
        slots: 64,
    },
    BulkStep {
        pieces: 256,
        bytes: 1024 * 1024,
        slots: 8,
    },
];

/// A child's ends of its pipes are held open here until it exits, two descriptors more a process, as long as their numbers are below this: while
/// few others run, which spares each exit two wake-ups of an idle server. A busy one is awake anyway, and its other children would get copies.
pub const HOLD_CHILD_ENDS_BELOW: i32 = 64;

/// First read buffer of a process. Most commands write little; a read that fills it moves on to [`READ_BYTES`].
pub const FIRST_READ_BYTES: usize = 4 * 1024;

/// Reads of one process in a row before other tasks run. Protects them, and the process's own exit, from a child that
/// writes faster than its output is taken.
pub const READS_PER_TURN: usize = 8;

/// Largest request: a `Start` with its arguments and environment (Linux itself allows 2 MiB by default), or a chunk
/// of stdin. One is held a process, while the child does not take it.
pub const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// How long `Started` waits for company when the client sends no stdin, and so can do nothing with it but wait on. A
/// person does not notice it; a command shorter than this costs one message of the response instead of two.
pub const STARTED_DELAY: Duration = Duration::from_millis(20);

/// The same when the client sends stdin, and may wait for it with that. Tokio's timers count milliseconds.
pub const STARTED_DELAY_STDIN: Duration = Duration::from_millis(2);

/// From the call to its `Start`. Protects handlers from a client that opens calls and says nothing.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Wait for pipes that a descendant holds open after the exit, unless `Start` says otherwise: long enough for a
/// pipeline's tail to write its last line.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(2);

/// Longest drain a client may ask for; more is cut to this. Protects the process table.
pub const DRAIN_MAX: Duration = Duration::from_secs(60 * 60);

/// Between SIGTERM and SIGKILL when a client has gone away or the server shuts down: shells and build tools remove
/// their temporary files, and what ignores SIGTERM does not outlive its caller noticeably. A process that is being killed
/// keeps its place in the table for this long.
pub const KILL_GRACE: Duration = Duration::from_millis(200);

/// Longest wait for all processes at shutdown: [`KILL_GRACE`], and time for the kernel to end what SIGKILL hit.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a finished process is remembered by its id, where there is room, so that a repeated start cannot run a command twice.
pub const FINISHED_FOR: Duration = Duration::from_secs(10 * 60);

/// How long it is remembered in any case. Longer than a client keeps trying to recover a call.
pub const FINISHED_AT_LEAST: Duration = Duration::from_secs(120);

/// Starts a second that one client's key alone may keep up for ever: its share of [`FINISHED_MAX`] lasts [`FINISHED_AT_LEAST`]. More than one
/// exec-server has been seen to start.
pub const FINISHED_PER_SECOND: usize = 3_000;

/// Ids taken at once, of processes that run and of finished ones: one key's share alone, three quarters, is [`FINISHED_PER_SECOND`] for
/// [`FINISHED_AT_LEAST`]. Beyond its share a client's *new* starts are refused with a hint when to try again; an id is never forgotten early.
pub const FINISHED_MAX: usize = FINISHED_PER_SECOND * FINISHED_AT_LEAST.as_secs() as usize / 3 * 4;

/// What the finished ids take in memory at most: some 220 bytes each, in a queue and an index that grow by doubling.
pub const FINISHED_BYTES: usize = 128 * 1024 * 1024;

/// Within what time the progress of a process that prints is recorded: what is lost with the server is told with a last `seq` that had been
/// reached at most this long, and what the writer waits, before the end. Protects the recorder from output.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Longest wait of a start for its record, where it is asked for. A disk that takes longer is in trouble; the client learns that
/// nothing ran rather than waiting on.
pub const DURABLE_TIMEOUT: Duration = Duration::from_secs(5);
