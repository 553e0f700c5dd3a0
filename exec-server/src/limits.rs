//! Every bound of this crate: what it protects, and what it can cost.

use std::time::Duration;

/// Processes alive at once, over all clients, those being killed included; [`Settings::max_processes`](crate::Settings)
/// sets another limit. Protects the machine's process table and descriptors: three per process, four with stdin, two
/// more below [`HOLD_CHILD_ENDS_BELOW`].
///
/// Worst case of memory: 2 × ([`RETAINED_BYTES`] + this × ([`RETAINED_MIN_BYTES`] + [`READ_BYTES`])) of output, and
/// this × [`REQUEST_BYTES`] of input that its child does not read: 4.4 GiB in all, 4.3 MiB for each further process. A
/// command whose input and output are read takes about 40 KiB.
pub const MAX_PROCESSES: usize = 1024;

/// A client's key may take one more unit of a shared resource while it holds less than this times the free units. The
/// resources are processes ([`MAX_PROCESSES`]), finished ids ([`FINISHED_MAX`]) and retained output
/// ([`RETAINED_BYTES`]). One key alone gets three quarters (768 processes). The next key gets three quarters of the
/// rest.
pub const SHARE_OF_FREE: usize = 3;

/// The retry hint of a start that found no free slot: long enough for short commands to end, and for few retries behind
/// long ones.
pub const PROCESSES_RETRY: Duration = Duration::from_secs(1);

/// Output retained in the logs of all processes together, beside the [`RETAINED_MIN_BYTES`] of each. It equals 512 full
/// logs. Blocks of buffer are at least half used, so memory is at most twice this.
pub const RETAINED_BYTES: usize = 128 * 1024 * 1024;

/// Output that a process may retain, before one more read, whatever else its client holds. Protects a client's commands
/// from each other.
pub const RETAINED_MIN_BYTES: usize = 4 * 1024;

/// Output and event headers in one process's log. Above this its pipes are not read, and the child blocks. Four reads
/// of [`READ_BYTES`]: enough for the sender never to wait for a read, small enough to stay in the cache. Blocks of
/// buffer are at least half used, so memory is at most twice this.
pub const LOG_BYTES: usize = 256 * 1024;

/// Largest read of a pipe, and so the largest `Output`: the default capacity of a pipe.
pub const READ_BYTES: usize = 64 * 1024;

/// Output of less than this is copied when it is encoded, so that events of short writes share a frame. Other output is
/// a frame of its own, without a copy.
pub const EVENT_COPY_BYTES: usize = 4 * 1024;

/// Encoded events after which they are handed to the transport, although there are more: as in tonic's encoder. Protects
/// memory: the log of a process that writes bytes one by one is encoded in pieces.
pub const EVENT_BATCH_BYTES: usize = 32 * 1024;

/// A read of at least this length, or an incomplete write of at least this length, shows that the pipe was about full:
/// half of a pipe's default capacity.
pub const BULK_PIECE_BYTES: usize = 32 * 1024;

/// A step by which a pipe that carries bulk grows.
#[derive(Debug, Clone, Copy)]
pub struct BulkStep {
    /// How often the pipe is found full before this step.
    pub pieces: u32,
    /// Its capacity after this step. The memory is the kernel's, which allocates it only when it is filled.
    pub bytes: usize,
    /// The number of pipes that may have this capacity at a time.
    pub slots: usize,
}

/// The steps by which pipes grow. Each capacity's worth of bytes costs one context switch between child and server; a
/// command with a page of output gains nothing above the default of 64 KiB. The second step is the largest capacity
/// that Linux gives every user (`fs.pipe-max-size`). A stream that stops before it has carried some megabytes never
/// takes a slot of the second step; one that stops later leaves the slots of the first step to others. With 48 MiB in
/// the default pipes of 256 processes, all steps together are about the 64 MiB of pipes that Linux gives a user other
/// than root (`fs.pipe-user-pages-soft`). Beyond those, new pipes of the same user hold 8 KiB.
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

/// The child's ends of its pipes are held open in this process until the child exits, if their numbers are below this.
/// That costs two more descriptors per process while few processes run, and saves an idle server two wake-ups per exit.
/// A busy server is awake anyway, and its other children would get copies.
pub const HOLD_CHILD_ENDS_BELOW: i32 = 64;

/// The first read buffer of a process. Most commands write little; after a read that fills it, buffers have
/// [`READ_BYTES`].
pub const FIRST_READ_BYTES: usize = 4 * 1024;

/// Consecutive reads of one process before other tasks run. Protects those tasks, and the detection of the process's
/// own exit, from a child that writes faster than its output is sent.
pub const READS_PER_TURN: usize = 8;

/// Largest request: a `Start` with its arguments and environment (Linux itself allows 2 MiB by default), or a chunk
/// of stdin. Each process holds at most one, while the child does not read it.
pub const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Longest `BATON_ORIGINAL_COMMAND` of a forced command. Half of what Linux takes for one variable. A longer command is
/// refused, because a part of a command is another command.
pub const ORIGINAL_COMMAND_BYTES: usize = 64 * 1024;

/// How long `Started` waits for further events, to share a message with them, when the client sends no stdin. Such a
/// client only waits for events, and a person does not notice the delay. A command shorter than this costs one response
/// message instead of two.
pub const STARTED_DELAY: Duration = Duration::from_millis(20);

/// How long `Started` waits when the client sends stdin, which it may hold back until `Started`. Tokio's timers have a
/// resolution of a millisecond.
pub const STARTED_DELAY_STDIN: Duration = Duration::from_millis(2);

/// Longest wait from the call to its `Start`. Protects handlers from a client that opens calls and sends nothing.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Default wait for pipes that a descendant holds open after the exit: long enough for the tail of a pipeline to write
/// its last line.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(2);

/// Longest drain a client may ask for; more is cut to this. Protects the process table.
pub const DRAIN_MAX: Duration = Duration::from_secs(60 * 60);

/// Time between SIGTERM and SIGKILL when a client is gone, may not decide any more, or the server shuts down. Shells
/// and build tools can remove their temporary files, and a process that ignores SIGTERM hardly outlives its caller. The
/// process keeps its slot in the table for this time. Also the default of `Start.kill_grace_ms`.
pub const KILL_GRACE: Duration = Duration::from_millis(200);

/// Longest `Start.kill_grace_ms`; more is cut to this. Time for a database to close or for a deployment to roll back.
/// It bounds how long a process keeps its slot after its client has ended it; within it the process still ends when its
/// client's key is revoked or the server shuts down.
pub const KILL_GRACE_MAX: Duration = Duration::from_secs(10 * 60);

/// Default of [`Settings::max_grace`](crate::Settings): the longest time that a process may outlive its session. A
/// laptop that sleeps through a meeting finds its build. A process in its grace keeps its slot, within its client's
/// share of [`MAX_PROCESSES`], and at most [`LOG_BYTES`] of output, within its client's share of [`RETAINED_BYTES`]: no
/// more memory than that of a client that does not read.
pub const GRACE_MAX: Duration = Duration::from_secs(60 * 60);

/// The grace of a detached process, which has none that ends: ten years. What it may take otherwise is as for each
/// process with a grace.
pub const DETACHED_GRACE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Longest wait of a `Poll`. Protects calls from a client that is gone and does not say so, as far as its session does
/// not.
pub const POLL_WAIT_MAX: Duration = Duration::from_secs(60);

/// An answer to `Poll` gets no further event once it has this many bytes. Half of
/// [`ANSWER_MAX`](baton_proto::limits::ANSWER_MAX), so that no last event is too much for a client.
pub const POLL_BYTES: usize = 128 * 1024;

/// Bytes of a process's arguments in its client's list of processes: what a person recognises it by. With
/// [`PAGE_ITEMS_MAX`](baton_proto::limits::PAGE_ITEMS_MAX) and a thread's id a page has at most 133 KiB. Each process
/// keeps them: 1 MiB for 1,024 processes.
pub const LISTED_ARGV_BYTES: usize = 1024;

/// Output that a process with a grace keeps after it was handed to the transport, as bytes on the wire: the window that
/// Baton's client announces (1.75 MiB), the send buffer (256 KiB), and what gRPC encodes ahead. What its client
/// has not consumed stays beyond this, and the child blocks then. If the transport does not tell what the client
/// consumes, what is no longer kept is lost to a client that announces a larger window, which is told so by a `Gap`.
pub const KEPT_ENCODED_BYTES: usize = 2560 * 1024;

/// The same output, as bytes of memory. Only a command that writes some bytes at a time, for megabytes, reaches it
/// first, and then keeps less than [`KEPT_ENCODED_BYTES`], or blocks as with that.
pub const KEPT_PROCESS_BYTES: usize = 2 * KEPT_ENCODED_BYTES;

/// Output kept for clients that attach again, of all processes together, beside [`RETAINED_BYTES`]. [`SHARE_OF_FREE`]
/// applies. A process whose key is over its share keeps nothing that its client has consumed. If what the clients of a
/// key's live processes have not consumed is over the share, their pipes are not read beyond [`UNCONSUMED_MIN_BYTES`].
pub const KEPT_BYTES: usize = 128 * 1024 * 1024;

/// Output, as bytes on the wire, that each process may have in its log and that its client has not consumed, before one
/// more read, whatever its key keeps. It must be more than what a client that consumes everything leaves without
/// credit, else a process could wait for ever: a batch of credit, the event in which the batch begins, and headers.
pub const UNCONSUMED_MIN_BYTES: usize = baton_channel::limits::CREDIT_BATCH as usize + READ_BYTES + 1024;

/// Bytes of kept output, of all processes together, above its share of which a key loses its oldest finished process.
/// It is what all live processes may have that is not consumed, so a key that has only those loses none: 128 MiB, and
/// 353 KiB for each of [`MAX_PROCESSES`], 481 MiB in all. Live processes may reach it after finished ones did: twice
/// this is the worst case. Blocks of buffer are at least half used, so memory is at most twice that again. Output in
/// single bytes takes up to nine times the memory of its bytes on the wire, and counts so.
pub const KEPT_UNCONSUMED_BYTES: usize = KEPT_BYTES + MAX_PROCESSES * (UNCONSUMED_MIN_BYTES + READ_BYTES);

/// Finished processes that are kept for a client that attaches again: it may have lost their last events. They are kept
/// for their grace, at most [`FINISHED_FOR`]. [`SHARE_OF_FREE`] applies, and beyond its share a key's oldest one is
/// dropped. Protects memory: some 6 KiB each beside [`KEPT_UNCONSUMED_BYTES`], 48 MiB in all.
pub const KEPT_PROCESSES: usize = 8192;

/// Calls that watch one process. Protects the process's driver, which wakes each of them for each event.
pub const WATCHERS_MAX: usize = 16;

/// How often finished processes are looked through for those that are no longer kept.
pub const KEPT_SWEEP: Duration = Duration::from_secs(5);

/// Bytes of standard input that a process takes between two reports (`StdinTaken`). The client keeps what was not
/// reported.
pub const STDIN_TOLD_BYTES: u64 = 256 * 1024;

/// Passes that stop the processes of a tree before it is killed whether or not all are stopped. Protects the sweep from
/// processes that are created as fast as it finds them.
pub const FREEZE_PASSES: u32 = 16;

/// Longest sweep of a tree, from its kill. A process that is left then is a survivor: it waits for a device, or may not
/// be signalled. Protects the client, who waits for `Closed`, and the shutdown, whose [`SHUTDOWN_TIMEOUT`] has to be
/// longer than this and [`KILL_GRACE`].
pub const SWEEP_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause of a sweep after a pass that has killed something: the time that the kernel needs to end a process.
pub const SWEEP_PAUSE: Duration = Duration::from_millis(1);

/// Pause between two looks at a tree whose process is over, and that has some time left to end by itself. Eight in
/// [`KILL_GRACE`]; one look reads a file per process of the machine, some 5 µs each.
pub const SWEEP_LOOK_EVERY: Duration = Duration::from_millis(25);

/// Looks at a process with an empty environment before that counts as its environment. Protects the sweep from missing
/// a process in the middle of execve(2), and from waiting for one that has no environment.
pub const EMPTY_ENVIRONMENT_LOOKS: u32 = 4;

/// Bytes of an environment that are read at a time. The mark is mostly in the first read.
pub const ENVIRONMENT_READ_BYTES: usize = 64 * 1024;

/// Most of an environment that is read: more than Linux gives a process (6 MiB with its arguments). The sweep has one
/// buffer.
pub const ENVIRONMENT_READ_MAX: usize = 8 * 1024 * 1024;

/// The stack of the sweep's thread, of which there is one: some buffers of 2 KiB.
pub const SWEEP_STACK: usize = 256 * 1024;

/// Pause between two looks for orphans that have exited, where this process has to reap them. A look reads a file per
/// process of the container, some 5 µs each. An orphan is a zombie for at most this time, so this many seconds' worth
/// of them count against the limit on processes.
pub const ORPHANS_EVERY: Duration = Duration::from_secs(1);

/// Cgroups below that of one process that are removed with it, and whose processes are looked for. A command creates
/// some only if it may write there, as a container runtime does. Protects the memory of one removal: some 100 bytes
/// each.
pub const CGROUP_TREE_MAX: usize = 1024;

/// Names of cgroups that are tried, in case one is left of an earlier exec-server. Each has the next number, so a
/// second try finds a free one unless a client has used one id for all its commands.
pub const CGROUP_NAME_TRIES: u32 = 64;

/// Cgroups of finished processes that are remembered, to be removed when their daemons have ended: some 80 bytes each,
/// 320 KiB in all. Those beyond it are removed by the next exec-server.
pub const CGROUPS_LEFT_MAX: usize = 4096;

/// Cgroups that are tried in one turn. Protects the thread that tries: some 10 µs each.
pub const CGROUPS_REMOVED_AT_ONCE: usize = 256;

/// The first pause before a cgroup is tried again: the time that the kernel needs to end a process.
pub const CGROUP_RETRY_FIRST: Duration = Duration::from_millis(10);

/// The longest such pause, after which a cgroup whose daemon has ended is removed. The pauses double.
pub const CGROUP_RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Longest wait for all processes at shutdown: [`KILL_GRACE`], and time for the kernel to end the processes that got
/// SIGKILL.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the id of a finished process is remembered while there is room, so that a repeated start cannot run a
/// command twice.
pub const FINISHED_FOR: Duration = Duration::from_secs(10 * 60);

/// How long the id of a finished process is always remembered. Longer than a client tries to recover a call.
pub const FINISHED_AT_LEAST: Duration = Duration::from_secs(120);

/// Starts per second that one client's key alone may sustain: its share of [`FINISHED_MAX`] lasts
/// [`FINISHED_AT_LEAST`]. More than the highest measured rate of one exec-server.
pub const FINISHED_PER_SECOND: usize = 3_000;

/// Ids of running and finished processes together. One key's share alone, three quarters, is [`FINISHED_PER_SECOND`]
/// for [`FINISHED_AT_LEAST`]. Beyond its share a client's *new* starts are refused with a retry hint; an id is never
/// forgotten early.
pub const FINISHED_MAX: usize = FINISHED_PER_SECOND * FINISHED_AT_LEAST.as_secs() as usize / 3 * 4;

/// Largest memory of the finished ids: about 220 bytes each, in a queue and an index that grow by doubling.
pub const FINISHED_BYTES: usize = 128 * 1024 * 1024;

/// Longest time between an output event and the report of its `seq` to the observer. After a crash the stored last
/// `seq` is at most this old, plus the delay of the writer. Protects the writer from a report per output event.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Directories of a PATH that are searched for the program of a command that runs as another user. Protects the memory
/// of a start: a few hundred bytes each, beside the PATH itself.
pub const SEARCHED_DIRECTORIES: usize = 1024;

/// Lookups of paths that wait for the file system at once, and lookups of users that wait for the user database at
/// once, each over all clients: one thread and one descriptor each. [`SHARE_OF_FREE`] applies, so a key whose file
/// system hangs holds three quarters and leaves the rest to others.
pub const LOOKUPS_AT_ONCE: usize = 32;

/// Lookups of paths, and of users, that wait for a slot, each of all clients. One key may have half: more than the
/// calls of one session. Protects memory: some 10 KiB each, 10 MiB in all.
pub const LOOKUPS_QUEUE: usize = 1024;

/// Longest wait of a lookup, for its slot and for the file system or the user database: more than a disk needs to spin
/// up. Protects clients from a mount, or a directory service, that hangs.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The stack of a lookup's thread: some buffers of a path's length. 8 MiB for all of them, and as much for users.
pub const LOOKUP_STACK: usize = 256 * 1024;

/// Directories that are listed and files that are read, hashed or written at once, over all clients: one thread and one
/// to three descriptors each. [`SHARE_OF_FREE`] applies. A client that does not take what it asked for keeps its slots,
/// and leaves those of others.
pub const TRANSFERS_AT_ONCE: usize = 64;

/// Transfers that wait for a slot, of all clients. One key may have half. Protects memory: some 10 KiB each.
pub const TRANSFERS_QUEUE: usize = 1024;

/// Messages of one transfer that were read and not taken by the channel; and messages of a write that its thread begins
/// with. With one more in the thread and [`FILE_PIECE_MAX`](baton_proto::limits::FILE_PIECE_MAX) each, all transfers
/// hold 24 MiB, and 40 MiB if all are writes.
pub const TRANSFER_OUTBOX: usize = 2;

/// How long a thread of a transfer waits for the next one: longer than a client needs from one file of a tree to the
/// next. Memory: some pages of its stack.
pub const TRANSFER_THREAD_IDLE: Duration = Duration::from_secs(1);

/// The stack of a transfer's thread: some buffers of a path's length. 16 MiB for all of them.
pub const TRANSFER_STACK: usize = 256 * 1024;

/// Bytes that are hashed between two signs of life: [`LOOKUP_TIMEOUT`] is the longest wait for one of them, which is
/// 0.8 MiB a second.
pub const HASH_STEP_BYTES: u64 = 8 * 1024 * 1024;

/// `Glob` and `Grep` calls that are answered at once, over all clients: one thread, and three descriptors, each.
/// [`SHARE_OF_FREE`] applies, so one key alone has six. Each may keep a processor busy, and takes memory as its
/// compiled pattern, its longest line and its walk need: at most some 80 MiB, for all of them 640 MiB.
pub const SEARCHES_AT_ONCE: usize = 8;

/// `Glob` and `Grep` calls that wait for a slot, of all clients. One key may have half. Protects memory: some 40 KiB
/// each, 5 MiB in all.
pub const SEARCHES_QUEUE: usize = 128;

/// The stack of a search's thread: the compiler of regular expressions recurses by [`PATTERN_NEST_MAX`]. 16 MiB for all
/// of them.
pub const SEARCH_STACK: usize = 2 * 1024 * 1024;

/// Longest search, waits for its client and for the file system included. What was found by then is the answer, which
/// says so. Protects slots from trees without an end, such as `/proc` or a mount of millions of files.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest time for which a search keeps what it has found, and the longest between two signs of life
/// ([`LOOKUP_TIMEOUT`] is the longest wait for one). So a page is not full if matches are rare.
pub const SEARCH_PAGE_INTERVAL: Duration = Duration::from_millis(100);

/// Names of entries that a walk has read and not yet visited, in bytes, each with [`WALK_ENTRY_BYTES`] more. Sorting
/// needs all names of a directory. Some 200,000 entries; 128 MiB for all searches.
pub const WALK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a name takes beside its bytes while it waits.
pub const WALK_ENTRY_BYTES: usize = 64;

/// Bytes of the .gitignore files that a walk heeds at once: those of a directory and of all above it. A compiled one
/// takes some hundred times its bytes: 6 MiB a search.
pub const IGNORE_BYTES_MAX: usize = 64 * 1024;

/// Lines of these files. Each takes some KiB compiled, however short it is.
pub const IGNORE_LINES_MAX: usize = 2048;

/// Largest compiled pattern of a `Grep`, and largest cache of the automaton built from it, each for forward and
/// backward search: 16 MiB a search. Protects memory from patterns such as `\w{500}{500}`.
pub const PATTERN_COMPILED_MAX: usize = 4 * 1024 * 1024;

/// Levels of groups and repetitions in a pattern. Protects the stack of the thread that compiles it.
pub const PATTERN_NEST_MAX: u32 = 100;

/// Longest line that a `Grep` searches, with the lines before it that it keeps. Longer ones exist in data, not in text.
/// A search's buffer grows to it as needed: 64 MiB for all of them.
pub const GREP_BUFFER_MAX: usize = 8 * 1024 * 1024;

/// Attempts to open a path below a root while directories of it are moved. The kernel refuses each one that it cannot
/// prove to stay below the root.
pub const BENEATH_RETRIES: u32 = 64;

/// Longest wait of a `Write` for the file system: for room in the thread's queue, which is full while the file that it
/// replaces is hashed, and for the end, with fsync. Protects a slot from a mount that hangs.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// Longest wait of a start until its record is durable, where that is required. A disk that takes longer has a fault;
/// the client gets an error, and nothing runs.
pub const DURABLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Conversations on the board of warm sessions, of all keys. A state takes at most some 24 KiB decoded: 24 MiB.
pub const BOARD_CONVERSATIONS_MAX: usize = 1024;

/// Watchers of the board, of all keys. Beside the shared states, each remembers the ids of at most twice
/// [`WARM_CONVERSATIONS_MAX`](baton_proto::limits::WARM_CONVERSATIONS_MAX) conversations: 64 KiB, so 16 MiB.
pub const BOARD_WATCHERS_MAX: usize = 256;

/// Watchers of one key. Each change is handed to every watcher of its key under the board's lock.
pub const BOARD_KEY_WATCHERS_MAX: usize = 16;
