//! Every limit of this crate: its value, what it protects, and what it can cost.

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

/// Stages a handler may add to one call, and a caller; more are dropped. Protects `Trailers` and memory from a loop.
pub const HANDLER_STAGES_MAX: usize = 32;

/// Stages that a process may register: as many as a handler may add to one call. Bounds the table that a waterfall orders its rows by.
pub const REGISTERED_STAGES_MAX: usize = HANDLER_STAGES_MAX;

/// Bytes of a registered stage's name. It is a span's name, and a column of the waterfall.
pub const STAGE_NAME_MAX: usize = 48;

/// Clock samples kept of one session. Old ones must go: clocks drift and are stepped.
pub const CLOCK_SAMPLES: usize = 8;

/// Records that a collecting sink keeps; further ones are dropped. Protects a long-running tool from itself.
pub const COLLECTED_MAX: usize = 65_536;

/// How much nicer to others (`setpriority(2)`) a thread is whose work nobody waits for: exporter, writer of metadata and its helpers. The scheduler
/// then lets a command that wants the core go first. Not so nice that it starves: beside a busy thread of this process on one core it still gets
/// a ninth of what that gets (110 to 1,024 by the kernel's table of weights), and needs a tenth at most: 5 to 14 µs an execution of 180.
pub const BACKGROUND_NICENESS: i32 = 10;

/// Characters that are shown of what a relay, a peer or the system says. Protects terminals and logs.
pub const HINT_CHARS: usize = 200;
