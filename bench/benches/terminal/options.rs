//! The options, and the amount of work.

use baton_bench::ProcessSets;

/// Measures keystrokes through Baton beside a local terminal, and judges them by their bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
}

/// The amount of work. A round visits each participant twice. Process sets are started anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Process sets of each phase.
    pub(crate) sets: ProcessSets,
    /// Keystrokes of a visit.
    pub(crate) keys: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// About two minutes.
    pub(crate) const FULL: Self = Self {
        sets: ProcessSets { sets: 18, rounds: 2 },
        keys: 20,
        resamples: 2_000,
    };

    /// A few seconds.
    pub(crate) const QUICK: Self = Self {
        sets: ProcessSets { sets: 3, rounds: 1 },
        ..Self::FULL
    };
}
