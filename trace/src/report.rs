//! What a person reads of one call: where its time went, and what nobody accounted for.
//!
//! * [`coverage`]: the envelope, the accounted part of it, and the remainder;
//! * [`critical_path`]: what Jaeger draws as the critical path, and what must hold of it;
//! * [`tree`]: the stages in the order and depth in which they are shown;
//! * [`waterfall`](mod@waterfall): both, drawn for a terminal;
//! * [`brief`](mod@brief): the longest of them, in ten rows;
//! * [`units`]: durations in words.
//!
//! Everything is a pure function of one [`CallRecord`](crate::record::CallRecord). Records hold figures from the
//! other side of the wire and from files: nothing here panics, whatever they say.

pub mod brief;
pub mod coverage;
pub mod critical_path;
pub mod tree;
pub mod units;
pub mod waterfall;

pub use brief::brief;
pub use coverage::Coverage;
pub use waterfall::{WaterfallStyle, waterfall};
