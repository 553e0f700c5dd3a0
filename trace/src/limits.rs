//! Every limit of this crate: its value, what it protects, and what it can cost.

use std::time::Duration;

/// List members of one tracestate (Trace Context Level 2, section 3.3.2). A longer list is malformed.
pub const TRACESTATE_MEMBERS_MAX: usize = 32;

/// Bytes of a tracestate key (Level 2, section 3.3.2.2.1).
pub const TRACESTATE_KEY_MAX: usize = 256;

/// Bytes of a tracestate value (Level 2, section 3.3.2.2.2).
pub const TRACESTATE_VALUE_MAX: usize = 256;

/// Bytes of a tracestate that travel on. The grammar allows 16,447; section 3.3.3.1 asks for at least 512 and for a
/// documented cap. 4 KiB is eight times that, leaves room beside the baggage in `HEAD_MAX`, and bounds what a call
/// holds for it.
pub const TRACESTATE_BYTES_MAX: usize = 4096;

/// A member longer than this goes first when a tracestate is over [`TRACESTATE_BYTES_MAX`] (section 3.3.3.1).
pub const TRACESTATE_LONG_MEMBER: usize = 128;

/// List members of one baggage that travel on. W3C Baggage section 3.3.2 obliges us to carry this many.
pub const BAGGAGE_MEMBERS_MAX: usize = 64;

/// Bytes of a baggage that travel on. W3C Baggage section 3.3.2 obliges us to carry this many; more would let a peer
/// grow every `Head` and the environment of every child.
pub const BAGGAGE_BYTES_MAX: usize = 8192;

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

/// Stages a handler may add to one call; more are dropped. Protects `Trailers` and memory from a handler in a loop.
pub const HANDLER_STAGES_MAX: usize = 32;

/// Clock samples kept of one session. Old ones must go: clocks drift and are stepped.
pub const CLOCK_SAMPLES: usize = 8;

/// Between the two clock readings of a call's anchor. They take 50 ns; a thread that is interrupted between them loses the core for at least some
/// microseconds, and its wall-clock stamps are wrong by as much.
pub const ANCHOR_GAP_MAX: Duration = Duration::from_micros(5);

/// How often an anchor is read again. Being interrupted three times in a row is a machine on which no stamp is worth more.
pub const ANCHOR_RETRIES: usize = 3;

/// Records that a collecting sink keeps; further ones are dropped. Protects a long-running tool from itself.
pub const COLLECTED_MAX: usize = 65_536;

/// Calls read from one trace file.
pub const TRACE_FILE_CALLS_MAX: usize = 65_536;

/// Time that an exporter's thread keeps for itself when it is dropped without a shutdown. Nobody waits for it.
pub const EXPORT_ABANDONED_GRACE: Duration = Duration::from_secs(1);

/// The longest that a shutdown may be asked to wait for a collector.
pub const EXPORT_SHUTDOWN_MAX: Duration = Duration::from_secs(600);

/// Further attempts at a request that a collector could not take at the moment.
pub const EXPORT_RETRIES: usize = 3;

/// Pause before the first of them; each later one is twice as long.
pub const EXPORT_RETRY_FIRST: Duration = Duration::from_millis(100);

/// How much nicer to others (`setpriority(2)`) a thread is whose work nobody waits for: exporter, writer of metadata and its helpers. The scheduler
/// then lets a command that wants the core go first. Not so nice that it starves: beside a busy thread of this process on one core it still gets
/// a ninth of what that gets (110 to 1,024 by the kernel's table of weights), and needs a tenth at most: 5 to 14 µs an execution of 180.
pub const BACKGROUND_NICENESS: i32 = 10;
