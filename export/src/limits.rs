//! Every limit of this crate: its value, what it protects, and what it can cost.

use std::time::Duration;

/// Stages of one record that are exported; a call has about 22. The rest of a longer record is
/// dropped: rounding compares siblings pairwise, and a peer may control the record. At most 128 × 32 bytes a
/// record.
pub const RECORD_STAGES_MAX: usize = 128;

/// Attributes of one record that are exported.
pub const RECORD_ATTRIBUTES_MAX: usize = 64;

/// Bytes of a string attribute's value. The SDK has no such limit, and a client may choose values of a server's
/// attributes.
pub const ATTRIBUTE_VALUE_MAX: usize = 1024;

/// Elements of an array attribute.
pub const ATTRIBUTE_ELEMENTS_MAX: usize = 32;

/// Bytes of a method used as a span name. The caller chooses it.
pub const SPAN_NAME_MAX: usize = 256;

/// Spans that wait for the exporter, if `OTEL_BSP_MAX_QUEUE_SIZE` is not set. A thousand executions a second fill this
/// in one to two seconds; the exporter drains it at every full batch, so it only fills while a collector is slow or
/// dead. As records it costs about 100 bytes a span: 3 MB.
pub const EXPORT_QUEUE_SPANS: usize = 32_768;

/// Spans in one request, if `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` is not set. A full batch wakes the exporter's thread, and
/// a request costs some 150 µs of CPU: 512, the specification's default, would pay that eight times as often. About 0.8
/// MB, held twice while it is sent, and a fifth of the 4 MiB that gRPC servers accept.
pub const EXPORT_BATCH_SPANS: usize = 4_096;

/// Time between exports, if `OTEL_BSP_SCHEDULE_DELAY` is not set: the specification's default.
pub const EXPORT_DELAY: Duration = Duration::from_secs(5);

/// Time for one request, if `OTEL_EXPORTER_OTLP_TIMEOUT` is not set: the specification's default.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time between the two clock readings of a call's anchor. They take 50 ns. A thread that is interrupted
/// between them loses the core for at least some microseconds, and its wall-clock stamps are wrong by that time.
pub const ANCHOR_GAP_MAX: Duration = Duration::from_micros(5);

/// How often an anchor is read again. On a machine that interrupts a thread three times in a row, no stamp is more
/// precise.
pub const ANCHOR_RETRIES: usize = 3;

/// Time that an exporter's thread continues after the exporter is dropped without a shutdown. No caller waits for it.
pub const EXPORT_ABANDONED_GRACE: Duration = Duration::from_secs(1);

/// The longest that a shutdown may be asked to wait for a collector.
pub const EXPORT_SHUTDOWN_MAX: Duration = Duration::from_secs(600);

/// Pause before the second attempt at a request that a collector could not accept. Each later pause is twice as long,
/// up to [`EXPORT_RETRY_MAX`], and shortened at random by up to a half, so that components do not retry at the same
/// time.
pub const EXPORT_RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause between attempts. A request is retried until the collector has accepted or refused it; meanwhile
/// records wait in the bounded queue.
pub const EXPORT_RETRY_MAX: Duration = Duration::from_secs(5);

/// The pause between attempts during an exit.
pub const EXPORT_RETRY_CLOSING: Duration = Duration::from_millis(10);

/// Longest that a command's exit waits for the collector. A person does not notice it, and a collector on this machine
/// or in the same data centre needs 1 to 20 ms.
pub const EXIT_WAIT: Duration = Duration::from_millis(50);

/// After this part of the wait, undelivered spans are written to the spool while the wait continues. A nearby collector
/// has responded by then, so a command usually writes nothing. [`EXIT_WAIT`] leaves 40 ms for a slow disk.
pub const EXIT_SPOOL_AFTER: Duration = Duration::from_millis(10);

/// Longest that an exit waits only for the spool, after its wait for the collector. A working disk needs under 1 ms,
/// and has had [`EXIT_WAIT`] minus [`EXIT_SPOOL_AFTER`]. This limit is for a stalled disk, or an overloaded machine.
/// Spans that are not on disk after it are lost.
pub const EXIT_SPOOL_GRACE: Duration = Duration::from_millis(200);

/// Bytes of all files of a spool. The oldest are dropped for new ones. A command's trace is 2 to 6 KiB of them.
pub const SPOOL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Files of a spool: each exit with a dead collector reads the directory. Reading 4,096 names takes about 2 ms.
pub const SPOOL_FILES_MAX: usize = 4_096;

/// Age at which a file of the spool is dropped. Few trace backends take spans that are older.
pub const SPOOL_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Age at which an unfinished file counts as left by a crashed run.
pub const SPOOL_PART_AGE_MAX: Duration = Duration::from_secs(60);

/// Age of the oldest file from which every exit that adds to the spool reports it. Below this age a slow collector is
/// not reported, because the next command sends the remaining spans.
pub const SPOOL_STALE: Duration = Duration::from_secs(10 * 60);

/// Bytes of one request made of spool files: a quarter of the size that gRPC servers accept by default. Held twice
/// while it is sent.
pub const SPOOL_REQUEST_BYTES: usize = 1024 * 1024;

/// Files in one such request. Each is locked, so it holds a descriptor until the collector has responded.
pub const SPOOL_REQUEST_FILES: usize = 128;

/// Entries of a spool that are reported by name in one run.
pub const SPOOL_FINDINGS_MAX: usize = 3;
