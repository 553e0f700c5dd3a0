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
