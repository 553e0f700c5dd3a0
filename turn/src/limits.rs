//! Every limit of this crate: its value, what it protects, and the memory that it can cost.

use std::time::Duration;

/// Bytes of a thread's id: as many as the exec-server stores.
pub const THREAD_ID_MAX: usize = 256;

/// Bytes of a step's id: as many as a command carries. It is an attribute of every span below the step.
pub const STEP_ID_MAX: usize = 128;

/// Number of a turn: the attribute is a signed integer.
pub const TURN_MAX: u64 = i64::MAX as u64;

/// Steps of one turn. Ends the trace of a loop that never ends; a backend stores every span of it. Only open steps cost
/// memory here, about 1 KiB each: 4 MiB if all are open together.
pub const STEPS_MAX: u32 = 4_096;

/// Tool calls of one step. A model asks for tens. About 600 bytes each while open: 600 KiB a step.
pub const TOOL_CALLS_MAX: u32 = 1_024;

/// Streams of one step that are measured; items of a further one pass through. Retries need a few. About 150 bytes each
/// while open, and two spans: 150 KiB a step.
pub const STREAMS_MAX: u32 = 1_024;

/// Bytes of a text attribute that comes from a caller or a model: a tool's name, the id of its call, a model, a
/// provider, an agent, an error type. Longer texts are cut. The SDK has no such limit.
pub const TEXT_MAX: usize = 256;

/// Distance between two spans that follow each other. Jaeger counts in whole microseconds and omits a span that touches
/// the next one from its critical path.
pub const SPAN_GAP_NS: u64 = 1_000;

/// How long the context for a tool's first remote call is held back after `tool.dispatch` ended, on a clock that runs:
/// the distance of [`SPAN_GAP_NS`], and a microsecond by which an exporter may round the call's start down.
pub const DISPATCH_GAP: Duration = Duration::from_micros(2);

/// Clock readings that the wait for [`DISPATCH_GAP`] takes at most: a clock that stands still never passes it. One takes
/// 20 to 40 ns, so this many take 5 to 10 µs, more than the gap on any machine.
pub const DISPATCH_GAP_READINGS: u32 = 256;

/// Longest time between the two clock readings of an anchor. They take 50 ns. A thread that is interrupted between them
/// loses the core for at least some microseconds, and its wall-clock times are wrong by that time.
pub const ANCHOR_GAP_MAX: Duration = Duration::from_micros(5);

/// How often an anchor is read again. On a machine that interrupts a thread three times in a row, no time is more
/// precise.
pub const ANCHOR_RETRIES: usize = 3;

/// A step whose wall clock is this far ahead of its turn's anchor gets a new anchor: the machine was suspended, which
/// stops the monotonic clock, or its clock was set. Above what a test on a paused clock takes on a busy machine.
pub const ANCHOR_BEHIND_MAX: Duration = Duration::from_secs(5);

/// Requests of one stream that wait for a timing report at once. A server that never reports would otherwise grow the
/// table without end. Enough for three requests a second over all of [`REPORT_TIMEOUT`]. 40 bytes each, so 40 KiB.
pub const WAITING_REQUESTS_MAX: usize = 1024;

/// How long a request waits for its timing report. Longer than a slow answer of a model takes, because a report often
/// comes with the answer's end.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(300);

/// Settled requests of one stream whose late or duplicate report is still recognised. A multiple of
/// [`WAITING_REQUESTS_MAX`], so that requests that were lost together are all remembered; 16 bytes each, so 64 KiB.
pub const SETTLED_REQUESTS_MAX: usize = 4096;

/// The most that a caller may set the two bounds above to. 2.5 MiB of waiting and 1 MiB of settled requests.
pub const WAITING_REQUESTS_CEILING_MAX: usize = 65_536;

/// Parts of one timing report that are kept; the others are counted. Servers report a handful. Bounds the spans of a
/// request, and the comparisons that find overlaps (1,024).
pub const REPORT_PARTS_MAX: usize = 32;

/// Bytes of a part's name that are kept. It becomes a span's name. A result holds at most [`REPORT_PARTS_MAX`] of them,
/// 2 KiB.
pub const REPORT_PART_NAME_MAX: usize = 64;

/// Sections of one request, and of one declaration. A conversation sends some hundred messages. The guard keeps 32
/// bytes of each stable section: 128 KiB a conversation. Declared names can cost 700 KiB.
pub const PREFIX_SECTIONS_MAX: usize = 4_096;

/// Bytes of a section's name. It is an attribute of a step's span.
pub const SECTION_NAME_MAX: usize = 128;

/// Bytes of all sections of one request. The guard hashes them in the caller's task, about a quarter of a second for
/// this many. The context of a model takes some megabytes. Nothing is copied.
pub const PREFIX_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Requests that a simulated cache stores; the one that was not used for the longest time goes first. 24 bytes a
/// section, so at most 6 MiB, in tests.
pub const SIMULATED_REQUESTS_MAX: usize = 64;
