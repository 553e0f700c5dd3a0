//! Every limit of this crate: its value, what it protects, and what it can cost.

use std::time::Duration;

/// Stages of one record that are exported or read from a file; a call has about 22. The rest of a longer record is
/// dropped: rounding compares siblings pairwise, and the record may be a peer's or a file's doing. At most 128 × 32
/// bytes a record.
pub const RECORD_STAGES_MAX: usize = 128;

/// Attributes of one record that are exported or read from a file.
pub const RECORD_ATTRIBUTES_MAX: usize = 64;

/// Bytes of a string attribute's value. The SDK has no such limit; a server's attributes may hold what its client
/// chose.
pub const ATTRIBUTE_VALUE_MAX: usize = 1024;

/// Elements of an array attribute.
pub const ATTRIBUTE_ELEMENTS_MAX: usize = 32;

/// Bytes of a method where it serves as a span's name. The caller chooses it.
pub const SPAN_NAME_MAX: usize = 256;

/// Spans that wait for the exporter where `OTEL_BSP_MAX_QUEUE_SIZE` says nothing. A thousand executions a second
/// fill this in one to two seconds; the exporter drains it at every full batch, so it only fills while a collector
/// is slow or dead. As records it costs about 100 bytes a span: 3 MB.
pub const EXPORT_QUEUE_SPANS: usize = 32_768;

/// Spans in one request where `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` says nothing. A full batch wakes the exporter's
/// thread, and a request costs some 150 µs of CPU: 512, the specification's default, would pay that eight times as
/// often. About 0.8 MB, held twice while it is sent, and a fifth of the 4 MiB that gRPC servers accept.
pub const EXPORT_BATCH_SPANS: usize = 4_096;

/// Time between exports where `OTEL_BSP_SCHEDULE_DELAY` says nothing: the specification's default.
pub const EXPORT_DELAY: Duration = Duration::from_secs(5);

/// Time for one request where `OTEL_EXPORTER_OTLP_TIMEOUT` says nothing: the specification's default.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a trace file that is read: it is read whole, and parsed costs several times its size.
pub const TRACE_FILE_MAX: u64 = 64 * 1024 * 1024;

/// Parents followed from a stage of a trace file to its call: more than the tables are deep. A file may hold a cycle.
pub const TRACE_FILE_DEPTH_MAX: usize = 8;

/// Between the two clock readings of a call's anchor. They take 50 ns; a thread that is interrupted between them loses the core for at least some
/// microseconds, and its wall-clock stamps are wrong by as much.
pub const ANCHOR_GAP_MAX: Duration = Duration::from_micros(5);

/// How often an anchor is read again. Being interrupted three times in a row is a machine on which no stamp is worth more.
pub const ANCHOR_RETRIES: usize = 3;

/// Calls read from one trace file.
pub const TRACE_FILE_CALLS_MAX: usize = 65_536;

/// Time that an exporter's thread keeps for itself when it is dropped without a shutdown. Nobody waits for it.
pub const EXPORT_ABANDONED_GRACE: Duration = Duration::from_secs(1);

/// The longest that a shutdown may be asked to wait for a collector.
pub const EXPORT_SHUTDOWN_MAX: Duration = Duration::from_secs(600);

/// Pause before the second attempt at a request that a collector could not take; each later one is twice as long, to
/// [`EXPORT_RETRY_MAX`], and up to half of it shorter by chance, so that parts do not come back all at once.
pub const EXPORT_RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest such pause. A request is tried until the collector has taken or refused it: meanwhile records wait in the queue, which is bounded.
pub const EXPORT_RETRY_MAX: Duration = Duration::from_secs(5);

/// Such a pause while somebody waits for an exit.
pub const EXPORT_RETRY_CLOSING: Duration = Duration::from_millis(10);

/// Longest that a command's exit waits for the collector. A person does not feel it, and a collector on this machine or in
/// the same data centre needs 1 to 20 ms.
pub const EXIT_WAIT: Duration = Duration::from_millis(50);

/// After this part of the wait, what is not with the collector is written to the spool, beside waiting on. A collector nearby has answered by
/// then, so a command usually writes nothing; and [`EXIT_WAIT`] leaves a slow disk 40 ms.
pub const EXIT_SPOOL_AFTER: Duration = Duration::from_millis(10);

/// Longest that an exit waits for the spool alone, after its wait for the collector. A disk that works needs under 1 ms, and has had
/// [`EXIT_WAIT`] less [`EXIT_SPOOL_AFTER`]; this is for one that stalls, or a machine without a core to spare. Spans that are not on disk then are lost.
pub const EXIT_SPOOL_GRACE: Duration = Duration::from_millis(200);

/// Bytes of all files of a spool. The oldest are dropped for new ones. A command's trace is 2 to 6 KiB of them.
pub const SPOOL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Files of a spool: each exit with a dead collector reads the directory. Reading 4,096 names takes about 2 ms.
pub const SPOOL_FILES_MAX: usize = 4_096;

/// Age at which a file of the spool is dropped. Few trace backends take spans that are older.
pub const SPOOL_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Age at which a file that was not finished counts as left behind by a crash.
pub const SPOOL_PART_AGE_MAX: Duration = Duration::from_secs(60);

/// Age of the oldest waiting file from which every exit that adds to the spool is told. Below it a slow collector is nobody's business:
/// the next command sends what this one leaves.
pub const SPOOL_STALE: Duration = Duration::from_secs(10 * 60);

/// Bytes of one request made of files of the spool: a quarter of what gRPC servers accept by default. Held twice while it is sent.
pub const SPOOL_REQUEST_BYTES: usize = 1024 * 1024;

/// Files in such a request: each is locked, so it holds a descriptor until the collector has answered.
pub const SPOOL_REQUEST_FILES: usize = 128;

/// Files and other entries of a spool that are told by name in one run.
pub const SPOOL_FINDINGS_MAX: usize = 3;
