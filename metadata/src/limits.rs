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

/// Values that one patch may set or take away; one with more is refused. Merged patches of a thread may have more together, within
/// [`THREAD_BYTES`].
pub const VALUES_PER_PATCH: usize = 64;

/// Values that a thread keeps. Further keys are not taken: 1 MiB a thread, which one answer has room for.
pub const VALUES_PER_THREAD: usize = baton_proto::limits::THREAD_METADATA_KEYS_MAX;

/// How often the store's upkeep runs when there is little to do.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Check for damage when a database is opened. Some 100 MiB are read in this time; a larger database is checked in part, so that a
/// server starts at once whatever it has stored.
pub const OPEN_CHECK: Duration = Duration::from_millis(200);

/// Wait for a lock that a person's `sqlite3` holds, before a commit or a query fails with it.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Page cache of the writer: the top of each index and the pages that the last batches touched.
pub const WRITER_CACHE_KIB: i64 = 8 * 1024;

/// Page cache of one reader; with [`IDLE_READERS`] this is 8 MiB.
pub const READER_CACHE_KIB: i64 = 2 * 1024;

/// Readers that are kept open between queries.
pub const IDLE_READERS: usize = 4;

/// Owners and lives whose numbers are remembered. Some 100 bytes each.
pub const ROW_IDS_CACHED: usize = 4096;

/// Pages (4 KiB) in the log from which on it is moved into the database beside the writer: 16 MiB. Four times SQLite's own default, because the syncs
/// of a move keep the one or two barriers waiting that fall into it: one in 250 otherwise, which is most of their 99th percentile.
pub const CHECKPOINT_PAGES: u32 = 4_000;

/// Pages in the log from which on the writer itself moves the rest, so that the log begins anew: 32 MiB. Bounds the log, unless a
/// reader holds on to an old state of it.
pub const WAL_PAGES: u32 = 8_000;

/// Size that the log's file is cut to when it begins anew.
pub const WAL_KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// Databases set aside in one life of the server. A disk on which each new one is damaged too is not helped by more.
pub const SET_ASIDE_MAX: u32 = 3;

/// Size of a database in memory (`--state none`) when none is asked for: as much as the queue in front of it may take, and some 30,000
/// commands. An exec-server is a small program, whose owner asked for no disk and not for a large one.
pub const MEMORY_BYTES: u64 = 32 * 1024 * 1024;

/// Most that a database in memory takes, whatever is asked for: SQLite ends at 1 GiB, and doubles what it takes as it grows.
pub const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Records that one step of retention looks at and removes, threads and lives that it removes, and records whose timings one step of compaction
/// rounds: some milliseconds' work.
pub const UPKEEP_RECORDS: u32 = 250;

/// Pages that one step gives back to the file system: 1 MiB.
pub const VACUUM_PAGES: u32 = 256;

/// Free pages that stay in the file for the next records: 1 MiB. Fewer would be freed and taken again all the time.
pub const SLACK_PAGES: u32 = 256;

/// Age from which on a record's timings are kept to within a tenth. A waterfall of yesterday is still exact.
pub const TIMINGS_EXACT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Between two sweeps for old records. Each begins at an owner's oldest and ends at the first that is too young.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Records or threads on one page of an answer, at most.
pub const PAGE_MAX: u32 = 1_000;

/// Records that an ambiguous id is answered with, at most.
pub const SHOW_MAX: u32 = 20;

/// Patches of processes that wait or are being written. At the bound the oldest records of *finished* processes are given up. Those of
/// running ones take 12 KiB at most, and 256 processes run at once by default. A usual record takes 1.2 KiB, so a disk that is dead for an
/// hour costs nothing at 4 executions a second.
///
/// With [`THREAD_BYTES`] this is the queue's memory: 21 to 27 MB resident at the bound (`cargo bench -p baton-bench --bench meta -- --only memory`).
pub const PROCESS_BYTES: usize = 16 * 1024 * 1024;

/// Patches of threads that wait or are being written; beyond it patches are refused that do not merge into what waits. Some 16,000 threads
/// changed since the disk last took anything.
pub const THREAD_BYTES: usize = 8 * 1024 * 1024;

/// What an entry of the queue costs beside what its patch points to: the entry itself (some 400 bytes), its place in the order and in
/// the index by key.
pub const ENTRY_BYTES: usize = 560;

/// Patches in one transaction. A batch of this size is written in some 15 ms, which is how long a barrier may have to wait for the one before its
/// own; larger ones are hardly faster.
pub const BATCH_PATCHES: usize = 2_048;

/// Patches of a batch from which on it is freed beside the writer, which then has a backlog. Two such batches wait at most, beside the
/// queue's bound: [`BATCH_BYTES`] each.
pub const DEALLOCATOR_PATCHES: usize = 1_024;

/// Patches in one transaction, in bytes, for those that are large.
pub const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// How long the writer waits for more when nobody waits for it: a thread that is changed again and again is written twice a second, and
/// a short process once instead of three times. As much is lost at most, of what no barrier covers, when the server is killed.
pub const LINGER: Duration = Duration::from_millis(500);

/// Processes in the queue at which the writer no longer waits for more. They hardly merge any further, and a backlog of them would be in a
/// barrier's way.
pub const EAGER_PROCESSES: usize = 64;

/// How long the writer goes on looking by itself, every [`LINGER`], after it last had something to write. So whoever hands over an update does
/// not pay for waking it.
pub const POLL_AFTER_WRITE: Duration = Duration::from_secs(5);

/// From a failed write to the next try, doubled each time up to [`RETRY_MAX`].
pub const RETRY_FIRST: Duration = Duration::from_millis(50);

/// Longest wait between two tries. Short enough that a disk with space again is used at once, by a person's measure.
pub const RETRY_MAX: Duration = Duration::from_secs(5);

/// Longest wait between two tries while somebody waits at a barrier: it tells what the disk says now, not what it said.
pub const RETRY_AWAITED: Duration = Duration::from_millis(20);

/// Barriers that wait at once, some 200 bytes each. Protects the queue's lock, which looks at each when a batch is settled.
pub const BARRIERS_MAX: usize = 4_096;

/// Links of one span `metadata.persist`, for the first sampled processes of its batch.
pub const SPAN_LINKS_MAX: usize = 16;

/// Of so many writes that sampled commands are behind, the last becomes a span. Under load there is a write a command: a trace of each would
/// outnumber the traces of the commands.
pub const WRITES_PER_SPAN: u32 = 100;

/// Wait for the state directory's lock before its holder is named: longer than a fork takes until its exec, shorter than a person notices.
pub const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// How long what was found about a directory is taken for true without another look. A person who looks after `git switch` sees it.
pub const FACTS_FRESH: Duration = Duration::from_secs(2);

/// Directories whose facts are remembered, threads of which it is known what they were told, and threads that were deleted; beyond it all of
/// them are forgotten and found again. About 1 KiB each: 3 MB.
pub const FACTS_CACHED: usize = 1024;

/// Commands whose facts are to be looked for once their first event is on its way: as many as run at once, and some.
pub const FACTS_EXPECTED: usize = 1024;

/// Needs that wait for the finder; further ones are forgotten. Protects memory from a file system that hangs.
pub const FACTS_QUEUE: usize = 64;

/// How long a look may take before its directory counts as one that hangs, and another thread does what its finder would. A network file
/// system that is up answers within.
pub const FACTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads that look for facts. All but one are begun because the others hang; with all of them hanging, no more is looked for.
pub const FACTS_FINDERS: usize = 4;

/// How long a thread is taken to know what it was told. It may have been removed and begun anew meanwhile.
pub const FACTS_REPORTED: Duration = Duration::from_secs(60);

/// Directories looked at on the way up from a working directory. Protects from a path that is nothing but slashes and dots.
pub const FACTS_PARENTS: usize = 128;

/// Bytes read of one small file of a repository: a line each.
pub const GIT_FILE_BYTES: u64 = 8 * 1024;

/// Bytes read of a repository's `packed-refs`: a hundred thousand refs and more. Beyond it a branch's commit stays unknown.
pub const GIT_PACKED_BYTES: u64 = 16 * 1024 * 1024;

/// Longest wait of a query for what was accepted before it: a person waits that long for the record of what has just run. Beyond it the
/// answer is what is on disk, and says so.
pub const READ_FLUSH: Duration = Duration::from_secs(1);

/// Queries that run at once, each on a thread of its own. Protects the machine from a client that asks for everything many times.
pub const QUERIES_AT_ONCE: usize = 4;

/// Directories looked at for `baton thread show` at once, each on a thread of its own, which a file system that hangs keeps. Apart from the
/// queries, which go on meanwhile.
pub const LOOKUPS_AT_ONCE: usize = 4;

/// Longest wait for such a look. Beyond it the answer is what was found before.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Records in one message of `History`: some 30 KiB. Of long command lines fewer
/// ([`PAGE_BYTES_MAX`](baton_proto::limits::PAGE_BYTES_MAX)).
pub const HISTORY_PAGE: u32 = baton_proto::limits::PAGE_ITEMS_MAX as u32;

/// Threads in one message of `Threads`.
pub const THREADS_PAGE: u32 = baton_proto::limits::PAGE_ITEMS_MAX as u32;

/// Bytes of a name that `Show` is asked for: 32 hexadecimal digits, hyphens and some more.
pub const NAME_BYTES: usize = 64;

/// Largest request of `baton.metadata.v1`: an update of a thread.
pub const METADATA_REQUEST_BYTES: usize = 64 * 1024;

/// Longest wait of a barrier that a client asks for. A disk that does not answer for so long is the answer.
pub const FLUSH_MAX: Duration = Duration::from_secs(30);

/// A write that takes longer is told as a disk that does not answer.
pub const STALLED: Duration = Duration::from_secs(1);

/// Between SIGTERM and SIGKILL to what an earlier life of the server had left running: as for any process that is killed. The server waits for it
/// before it serves.
pub const SURVIVOR_GRACE: Duration = Duration::from_millis(200);

/// How much earlier than recorded a process may have begun, in clock ticks (a second): when it was made is noted once its spawn has
/// returned. No other process gets its pid in that time.
pub const START_TICKS_SLACK: u64 = 100;

/// Stages kept of a process at most: more than the tables have rows. Protects the file from a server that measured without end.
pub const STAGES_MAX: usize = 96;
