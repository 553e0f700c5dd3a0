//! The options, and the amount of work.

/// Measures what the caller's side costs a caller's loop, and judges it by its bars.
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
    /// Bytes of a stream, which is one visit of the phase `family`.
    pub(crate) family_bytes: u64,
    /// Rounds of such visits, for each content.
    pub(crate) family_rounds: usize,
    /// Commands of one visit of the phase `pool`.
    pub(crate) pool_commands: usize,
    /// Rounds of such visits.
    pub(crate) pool_rounds: usize,
    /// Searches of one visit of the phase `root`.
    pub(crate) root_searches: usize,
    /// Rounds of such visits.
    pub(crate) root_rounds: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// Some minutes.
    pub(crate) const FULL: Self = Self {
        stream_items: 1_000_000,
        stream_rounds: 120,
        family_bytes: 1 << 30,
        family_rounds: 24,
        pool_commands: 20,
        pool_rounds: 60,
        root_searches: 3,
        root_rounds: 40,
        resamples: 2_000,
    };

    /// A few seconds.
    pub(crate) const QUICK: Self = Self {
        stream_items: 200_000,
        stream_rounds: 30,
        family_bytes: 64 << 20,
        family_rounds: 2,
        pool_commands: 5,
        pool_rounds: 4,
        root_searches: 1,
        root_rounds: 4,
        ..Self::FULL
    };
}
