//! The options, and the amount of work.

use baton_bench::ProcessSets;

/// Measures what the post-quantum halves of the key exchanges cost, and judges it by its bar.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
}

/// The amount of work. A round visits each participant twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Handshakes of one visit of the phase `steady`.
    pub(crate) steady_handshakes: usize,
    /// Process sets of such visits, which are started anew.
    pub(crate) steady: ProcessSets,
    /// New processes of one visit of the phases `first` and `hello`.
    pub(crate) processes: usize,
    /// Rounds of such visits.
    pub(crate) process_rounds: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// About two minutes.
    pub(crate) const FULL: Self = Self {
        steady_handshakes: 200,
        steady: ProcessSets { sets: 20, rounds: 3 },
        processes: 8,
        process_rounds: 60,
        resamples: 2_000,
    };

    /// A few seconds.
    pub(crate) const QUICK: Self = Self {
        steady: ProcessSets { sets: 6, rounds: 1 },
        processes: 4,
        process_rounds: 12,
        ..Self::FULL
    };
}
