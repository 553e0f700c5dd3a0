//! Every bound of this crate: its reason and its cost.

use std::time::Duration;

/// Bytes of a command's arguments that a record keeps; the rest is truncated. Command lines that people read are
/// shorter, and a `Start` may carry 4 MiB.
pub const ARGV_BYTES: usize = 4 * 1024;

/// Longest working directory that is kept: Linux's PATH_MAX.
pub const CWD_BYTES: usize = 4 * 1024;

/// Longest `message`; the rest is truncated.
pub const MESSAGE_BYTES: usize = 512;

/// Largest encoded timings; larger ones are omitted. The server's stages of a call take some 300 bytes.
pub const TIMINGS_BYTES: usize = 2 * 1024;

/// Longest thread id; a longer one is refused.
pub const THREAD_ID_BYTES: usize = 256;

/// Longest step id; a longer one is omitted from its record.
pub const STEP_ID_BYTES: usize = baton_proto::limits::STEP_ID_MAX;

/// Longest title; a longer one is refused.
pub const TITLE_BYTES: usize = 1024;

/// Longest key of a thread's value; a longer one is refused.
pub const VALUE_KEY_BYTES: usize = 128;

/// Longest value; a longer one is refused.
pub const VALUE_BYTES: usize = 4 * 1024;

/// Values that one patch may set or remove; a patch with more is refused. Merged patches of a thread may have more
/// together, within [`THREAD_BYTES`].
pub const VALUES_PER_PATCH: usize = 64;

/// Values that a thread keeps; further keys are not stored. This bounds a thread to 1 MiB, which fits into one
/// response.
pub const VALUES_PER_THREAD: usize = baton_proto::limits::THREAD_METADATA_KEYS_MAX;

/// Interval of the store's upkeep when little is due.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Time for the damage check when a database is opened. It reads some 100 MiB; a larger database is checked in part, so
/// the server's start does not depend on its size.
pub const OPEN_CHECK: Duration = Duration::from_millis(200);

/// Time to wait for a lock that a person's `sqlite3` holds, before a commit or a query fails.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Page cache of the writer: the top of each index and the pages that the last batches touched.
pub const WRITER_CACHE_KIB: i64 = 8 * 1024;

/// Page cache of one reader; with [`IDLE_READERS`] this is 8 MiB.
pub const READER_CACHE_KIB: i64 = 2 * 1024;

/// Readers that are kept open between queries.
pub const IDLE_READERS: usize = 4;

/// Row ids of owners and epochs that are cached: some 100 bytes each.
pub const ROW_IDS_CACHED: usize = 4096;

/// Pages (4 KiB) in the write-ahead log from which a background checkpoint is due: 16 MiB. Four times SQLite's default,
/// because the syncs of a checkpoint delay one or two barriers. With the default that is one barrier in 250, which
/// determines their 99th percentile.
pub const CHECKPOINT_PAGES: u32 = 4_000;

/// Pages in the write-ahead log from which the writer itself checkpoints the rest, so that the log restarts: 32 MiB.
/// Bounds the log, unless a reader uses an old snapshot.
pub const WAL_PAGES: u32 = 8_000;

/// Size to which the log file is truncated when it restarts.
pub const WAL_KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// Databases set aside in one epoch. Where every new database is damaged too, the disk is at fault, and more attempts
/// do not help.
pub const SET_ASIDE_MAX: u32 = 3;

/// Default size of a database in memory (`--state none`): as much as the queue in front of it may take, and some 30,000
/// commands. Small, because its owner asked for no disk and not for a large process.
pub const MEMORY_BYTES: u64 = 32 * 1024 * 1024;

/// Largest size of a database in memory, whatever is configured: SQLite's limit is 1 GiB, and it doubles its allocation
/// as it grows.
pub const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Records that one step of retention reads and removes, threads and epochs that it removes, and records whose timings
/// one step of compaction rounds: some milliseconds of work.
pub const UPKEEP_RECORDS: u32 = 250;

/// Pages that one step gives back to the file system: 1 MiB.
pub const VACUUM_PAGES: u32 = 256;

/// Free pages that stay in the file for the next records: 1 MiB. With fewer, pages would be freed and allocated again
/// all the time.
pub const SLACK_PAGES: u32 = 256;

/// Age from which a record's timings are rounded to within a tenth. Yesterday's waterfalls are exact.
pub const TIMINGS_EXACT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Interval of the sweeps for old records. Each starts at an owner's oldest record and stops at the first that is too
/// young.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Most records or threads on one page of a response.
pub const PAGE_MAX: u32 = 1_000;

/// Most records in the response to an ambiguous id.
pub const SHOW_MAX: u32 = 20;

/// Bytes of process patches that are queued or being written. At the bound the oldest records of *finished* processes
/// are given up. Records of running processes take 12 KiB at most, and 256 processes run at once by default. A usual
/// record takes 1.2 KiB, so a disk that is dead for an hour loses nothing at 4 executions a second.
///
/// With [`THREAD_BYTES`] this is the queue's memory: 21 to 27 MB resident at the bound (`cargo bench -p baton-bench
/// --bench meta -- --only memory`).
pub const PROCESS_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of thread patches that are queued or being written. Beyond it patches are refused unless they merge into a
/// queued one. Enough for some 16,000 threads changed since the last successful write.
pub const THREAD_BYTES: usize = 8 * 1024 * 1024;

/// Size of a queue entry without the memory that its patch points to: the entry (some 400 bytes) and its nodes in the
/// order and in the index by key.
pub const ENTRY_BYTES: usize = 560;

/// Patches in one transaction. A batch of this size takes some 15 ms, and a barrier may have to wait for the batch
/// before its own. Larger batches are hardly more efficient.
pub const BATCH_PATCHES: usize = 2_048;

/// Patches of a batch from which it is freed on another thread, because the writer has a backlog then. At most two such
/// batches exist beside the queue's bound: [`BATCH_BYTES`] each.
pub const DEALLOCATOR_PATCHES: usize = 1_024;

/// Bytes of patches in one transaction, for large patches.
pub const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// How long the writer waits for further patches while no barrier waits. A thread that changes continuously is written
/// twice a second, and a short process once instead of three times. A killed server loses at most this much that no
/// barrier covers.
pub const LINGER: Duration = Duration::from_millis(500);

/// Processes in the queue at which the writer stops waiting for further patches. They hardly merge any further, and a
/// backlog of them would delay a barrier.
pub const EAGER_PROCESSES: usize = 64;

/// How long the writer polls the queue, every [`LINGER`], after its last write. Until then an update does not have to
/// wake it.
pub const POLL_AFTER_WRITE: Duration = Duration::from_secs(5);

/// Delay from a failed write to the first retry, doubled for each further one up to [`RETRY_MAX`].
pub const RETRY_FIRST: Duration = Duration::from_millis(50);

/// Longest delay between two retries. Short enough that a person sees writing resume as soon as the disk has space.
pub const RETRY_MAX: Duration = Duration::from_secs(5);

/// Longest delay between two retries while a barrier waits, so that it reports the present state of the disk.
pub const RETRY_AWAITED: Duration = Duration::from_millis(20);

/// Barriers that may wait at once, some 200 bytes each. Bounds the time that the queue's lock is held, because each
/// settled batch examines every barrier.
pub const BARRIERS_MAX: usize = 4_096;

/// Links of one span `metadata.persist`, for the first sampled processes of its batch.
pub const SPAN_LINKS_MAX: usize = 16;

/// One of this many writes that sampled commands caused becomes a span. Under load every command causes a write, and
/// their traces would outnumber the traces of commands.
pub const WRITES_PER_SPAN: u32 = 100;

/// Time to wait for the state directory's lock before it counts as held: longer than a fork takes until its exec,
/// shorter than a person notices.
pub const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// Age up to which the facts of a directory are used without another lookup. A person who runs `git switch` and then
/// looks sees the new branch.
pub const FACTS_FRESH: Duration = Duration::from_secs(2);

/// Directories whose facts are cached, threads whose reported facts are known, and deleted threads that are known. Each
/// map is cleared when it is full. About 1 KiB an entry: 3 MB.
pub const FACTS_CACHED: usize = 1024;

/// Commands whose facts are looked up after their first event was sent: somewhat more than run at once.
pub const FACTS_EXPECTED: usize = 1024;

/// Requests that wait for a finder thread; further ones are dropped. Bounds memory when a file system hangs.
pub const FACTS_QUEUE: usize = 64;

/// How long a lookup may take before its directory counts as hanging and another thread takes over. A network file
/// system that is up answers sooner.
pub const FACTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads that look up facts. All but one are started because others hang. When all of them hang, no facts are looked
/// up.
pub const FACTS_FINDERS: usize = 4;

/// How long facts that were reported for a thread are assumed to be stored. The thread may have been removed and
/// created anew since.
pub const FACTS_REPORTED: Duration = Duration::from_secs(60);

/// Parent directories that are examined for a repository. Protects from a path of nothing but slashes and dots.
pub const FACTS_PARENTS: usize = 128;

/// Bytes read of a small file of a repository, which has one line.
pub const GIT_FILE_BYTES: u64 = 8 * 1024;

/// Bytes read of a repository's `packed-refs`: a hundred thousand refs and more. Where a ref is beyond them, the
/// branch's commit is unknown.
pub const GIT_PACKED_BYTES: u64 = 16 * 1024 * 1024;

/// Longest wait of a query for updates that were accepted before it, so that a client sees the record of its last
/// command. After that the response has what is on disk, and says so.
pub const READ_FLUSH: Duration = Duration::from_secs(1);

/// Queries that run at once, each on a thread of its own. Protects the host from a client that repeats large queries.
pub const QUERIES_AT_ONCE: usize = 4;

/// Directories that are looked up for `baton thread show` at once, each on a thread of its own, which a hanging file
/// system blocks. Separate from the queries, which continue meanwhile.
pub const LOOKUPS_AT_ONCE: usize = 4;

/// Longest wait for such a lookup. After that the response has the stored facts.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Records in one message of `History`: some 30 KiB. Fewer where command lines are long
/// ([`PAGE_BYTES_MAX`](baton_proto::limits::PAGE_BYTES_MAX)).
pub const HISTORY_PAGE: u32 = baton_proto::limits::PAGE_ITEMS_MAX as u32;

/// Threads in one message of `Threads`.
pub const THREADS_PAGE: u32 = baton_proto::limits::PAGE_ITEMS_MAX as u32;

/// Longest id that `Show` accepts: 32 hexadecimal digits, hyphens and some more.
pub const NAME_BYTES: usize = 64;

/// Largest request of `baton.metadata.v1`: an update of a thread.
pub const METADATA_REQUEST_BYTES: usize = 64 * 1024;

/// Longest wait of a barrier that a client requests. After that the response says that the disk does not answer.
pub const FLUSH_MAX: Duration = Duration::from_secs(30);

/// A write that takes longer is reported as a disk that does not answer.
pub const STALLED: Duration = Duration::from_secs(1);

/// Time between SIGTERM and SIGKILL for processes that an earlier epoch left running. The server waits for it before it
/// serves.
pub const SURVIVOR_GRACE: Duration = Duration::from_millis(200);

/// How much earlier than recorded a process may have started, in clock ticks (a second): its start time is read after
/// its spawn has returned. No other process gets its pid in that time.
pub const START_TICKS_SLACK: u64 = 100;

/// Most stages in a record: more than the tables have rows. Protects the file from a server that records without bound.
pub const STAGES_MAX: usize = 96;
