//! The bars of this benchmark.

use baton_bench::stats::Bar;

/// Bytes, exits and runs that are not as they must be.
pub(crate) const NONE: Bar = Bar::AtMost(0.0);

/// Milliseconds from the relay's return to the next byte of a command: median, 99th percentile.
pub(crate) const RECOVERY: [Bar; 2] = [Bar::AtMost(500.0), Bar::AtMost(2_000.0)];
