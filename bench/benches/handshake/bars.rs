//! The bars of this benchmark. Each bar is defined here only, so that no two definitions diverge.

use baton_bench::stats::Bar;

/// Milliseconds that ML-KEM adds to the first handshake of a new process, both ends together, median.
pub(crate) const FIRST_ADDED: Bar = Bar::AtMost(0.4);
