//! The bars of this benchmark. Each bar is defined here only, so that no two definitions diverge.

use baton_bench::stats::Bar;

/// Nanoseconds that `Step::stream` adds to each item of a stream.
pub(crate) const STREAM_ITEM: Bar = Bar::AtMost(100.0);
/// A stream with a runtime family over the same stream without one.
pub(crate) const FAMILY: Bar = Bar::AtMost(1.02);
/// First command on a session from a pool over a command on a warm session, median.
pub(crate) const POOLED: Bar = Bar::AtMost(1.1);
/// Project root by one `FindUp` over one `Stat`.
pub(crate) const FIND_UP: Bar = Bar::AtMost(1.2);
/// Project root by pipelined probes over one `Stat`.
pub(crate) const FALLBACK: Bar = Bar::AtMost(2.2);
