//! The bars of this benchmark: milliseconds that Baton adds to an echo, median.

use baton_bench::stats::Bar;

/// While nothing else runs.
pub(crate) const IDLE: Bar = Bar::AtMost(0.4);

/// Beside another process of the same session that writes at full speed.
pub(crate) const BUSY: Bar = Bar::AtMost(3.0);
