//! Reports about one call for a person: the duration of each stage, and the time that no stage accounts for.
//!
//! * [`coverage`]: the envelope, the accounted part of it, and the remainder;
//! * [`critical_path`]: the critical path as Jaeger computes it, and its invariants;
//! * [`tree`]: the stages in the order and depth in which they are shown;
//! * [`waterfall`](mod@waterfall): coverage and stages, drawn for a terminal;
//! * [`brief`](mod@brief): the longest stages, in at most ten rows;
//! * [`units`]: formats durations and shares.
//!
//! Everything is a pure function of one [`CallRecord`](crate::record::CallRecord). Records hold untrusted figures from
//! peers and from files. Nothing here panics on any of them.

pub mod brief;
pub mod coverage;
pub mod critical_path;
pub mod tree;
pub mod units;
pub mod waterfall;

pub use brief::brief;
pub use coverage::Coverage;
pub use waterfall::{WaterfallStyle, waterfall};
