//! Every limit of this crate: its value, what it protects, and what it can cost.

/// List members of one tracestate (Trace Context Level 2, section 3.3.2). A longer list is malformed.
pub const TRACESTATE_MEMBERS_MAX: usize = 32;

/// Bytes of a tracestate key (Level 2, section 3.3.2.2.1).
pub const TRACESTATE_KEY_MAX: usize = 256;

/// Bytes of a tracestate value (Level 2, section 3.3.2.2.2).
pub const TRACESTATE_VALUE_MAX: usize = 256;

/// Bytes of a tracestate that are propagated. The grammar allows 16,447; section 3.3.3.1 asks for at least 512 and for
/// a documented cap. 4 KiB is eight times that, leaves room beside the baggage in `HEAD_MAX`, and bounds what a call
/// holds for it.
pub const TRACESTATE_BYTES_MAX: usize = 4096;

/// A member longer than this is removed first when a tracestate exceeds [`TRACESTATE_BYTES_MAX`] (section 3.3.3.1).
pub const TRACESTATE_LONG_MEMBER: usize = 128;

/// List members of one baggage that are propagated. W3C Baggage section 3.3.2 requires this many.
pub const BAGGAGE_MEMBERS_MAX: usize = 64;

/// Bytes of a baggage that are propagated. W3C Baggage section 3.3.2 requires this many. A higher limit would let a
/// peer enlarge every `Head` and the environment of every child.
pub const BAGGAGE_BYTES_MAX: usize = 8192;

/// Stages that a handler, and a caller, may add to one call; more are dropped. Bounds `Trailers` and memory if a loop
/// adds stages.
pub const HANDLER_STAGES_MAX: usize = 32;

/// Stages that a process may register: as many as a handler may add to one call. Bounds the table that orders the rows
/// of a waterfall.
pub const REGISTERED_STAGES_MAX: usize = HANDLER_STAGES_MAX;

/// Bytes of a registered stage's name. It is a span's name, and a column of the waterfall.
pub const STAGE_NAME_MAX: usize = 48;

/// Clock samples kept of one session. Old samples are dropped, because clocks drift and are stepped.
pub const CLOCK_SAMPLES: usize = 8;

/// Records that a collecting sink keeps; further records are dropped. Bounds the memory of a long-running tool.
pub const COLLECTED_MAX: usize = 65_536;

/// Increment of the niceness (`setpriority(2)`) of background threads: the exporter, the metadata writer and its
/// helpers. The scheduler then prefers a command on the same core. The thread does not starve: beside a busy thread of
/// this process on one core it still gets a ninth of that thread's time (110 to 1,024 in the kernel's table of
/// weights), and needs at most a tenth: 5 to 14 µs of the 180 µs of an execution.
pub const BACKGROUND_NICENESS: i32 = 10;

/// Characters shown of a text from a relay, a peer or the system. Protects terminals and logs.
pub const HINT_CHARS: usize = 200;

/// Bytes at the beginning of a command's standard output in which the ready marker of its family is looked for. A
/// program that is ready says so in its first message, behind a banner or a log at most. The detector takes about 3 ms
/// for these bytes if they are JSON, less than 1 ms for other text, 9 ms if every line has two bytes, and nothing for
/// the rest. So a stream of 1 GiB whose marker never comes costs about 0.5 % more.
pub const FAMILY_OUTPUT_MAX: usize = 1024 * 1024;

/// Bytes of one line, or of one message behind a `Content-Length`, that may be the ready marker. A longer one is data.
/// First messages with a list of tools have some tens of KiB. Detection continues with the next line. Costs no memory,
/// because the detector keeps no output.
pub const FAMILY_LINE_MAX: usize = 256 * 1024;

/// Nesting of a JSON text that may be the ready marker: one bit each. The limit of common parsers, such as serde_json.
pub const JSON_DEPTH_MAX: u32 = 128;
