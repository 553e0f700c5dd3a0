//! The options, and the amount of work.

/// Measures what the caller's side adds to a caller's loop, and judges it by its bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
}

/// The amount of work. A round visits each participant twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Items of a stream, which is one visit of the phase `stream`.
    pub(crate) stream_items: u64,
    /// Rounds of such visits.
    pub(crate) stream_rounds: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// A few seconds.
    pub(crate) const FULL: Self = Self {
        stream_items: 1_000_000,
        stream_rounds: 120,
        resamples: 2_000,
    };

    /// Less than a second.
    pub(crate) const QUICK: Self = Self {
        stream_items: 200_000,
        stream_rounds: 30,
        ..Self::FULL
    };
}
