//! The options, and the amount of work.

use std::path::PathBuf;

/// Measures a change: another commit's build beside this one's.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
    /// Directory with `baton`, `exec` and `data` of the earlier commit, as `bench/benches/before/save` copies them
    #[arg(long, value_name = "DIR")]
    pub(crate) before: PathBuf,
    /// Directory of the later commit; without it, the build of this checkout
    #[arg(long, value_name = "DIR")]
    pub(crate) after: Option<PathBuf>,
}

/// The amount of work. A round visits each of the three sets twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Process sets of each side.
    pub(crate) sets: usize,
    /// Rounds of visits to one set.
    pub(crate) rounds: usize,
    /// Uncounted executions at the start of a visit.
    pub(crate) warm_up: usize,
    /// Sequential executions of a visit.
    pub(crate) executions: usize,
    /// Concurrent executions of a visit.
    pub(crate) in_flight: usize,
    /// The number of executions in flight.
    pub(crate) width: usize,
    /// New `baton exec` processes of a visit.
    pub(crate) cold: usize,
    /// Bytes of a download and of an upload; a visit has one of each.
    pub(crate) stream_bytes: u64,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// About ten minutes.
    pub(crate) const FULL: Self = Self {
        sets: 8,
        rounds: 6,
        warm_up: 10,
        executions: 100,
        in_flight: 960,
        width: 32,
        cold: 25,
        stream_bytes: 256 << 20,
        resamples: 2_000,
    };

    /// Under a minute. Intervals are wide.
    pub(crate) const QUICK: Self = Self {
        sets: 3,
        rounds: 3,
        in_flight: 320,
        cold: 10,
        ..Self::FULL
    };
}
