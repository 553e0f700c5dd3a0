//! The bars of this benchmark. Each bar is defined here only, so that no two definitions diverge.

use baton_bench::stats::Bar;

/// Nanoseconds that `Step::stream` adds to each item of a stream.
pub(crate) const STREAM_ITEM: Bar = Bar::AtMost(100.0);
