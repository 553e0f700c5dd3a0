//! The options, and the amount of work.

use baton_bench::ProcessSets;

/// Measures what the caller's side costs a caller's loop, and judges it by its bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
}

/// The amount of work. A round visits each participant twice. Process sets are started anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Items of a stream, which is one visit of the phase `stream`.
    pub(crate) stream_items: u64,
    /// Process sets of such visits.
    pub(crate) stream: ProcessSets,
    /// Bytes of a stream, which is one visit of the phase `family`.
    pub(crate) family_bytes: u64,
    /// Process sets of such visits, for each content.
    pub(crate) family: ProcessSets,
    /// Commands of one visit of the phase `pool`.
    pub(crate) pool_commands: usize,
    /// Process sets of such visits.
    pub(crate) pool: ProcessSets,
    /// Searches of one visit of the phase `root`.
    pub(crate) root_searches: usize,
    /// Process sets of such visits.
    pub(crate) root: ProcessSets,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// Some minutes.
    pub(crate) const FULL: Self = Self {
        stream_items: 1_000_000,
        stream: sets(30, 4),
        family_bytes: 1 << 30,
        family: sets(12, 2),
        pool_commands: 20,
        pool: sets(20, 3),
        root_searches: 3,
        root: sets(14, 3),
        resamples: 2_000,
    };

    /// A few seconds.
    pub(crate) const QUICK: Self = Self {
        stream_items: 200_000,
        stream: sets(8, 1),
        family_bytes: 64 << 20,
        family: sets(3, 1),
        pool_commands: 5,
        pool: sets(4, 1),
        root_searches: 1,
        root: sets(7, 1),
        ..Self::FULL
    };
}

const fn sets(sets: usize, rounds: usize) -> ProcessSets {
    ProcessSets { sets, rounds }
}
