//! The options, and the amount of work.

use std::path::PathBuf;
use std::time::Duration;

/// Measures writes and queries of metadata and their effect on clients, and judges them by their bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
    /// Directory of the databases, on the disk to measure
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    pub(crate) directory: PathBuf,
}

/// The amount of work. A round visits each participant twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Seconds of the phase `coalesce`.
    pub(crate) coalesce_seconds: f64,
    /// Seconds of a visit of the phase `sustained`. There are two visits.
    pub(crate) sustain_seconds: f64,
    /// Windows of such a visit.
    pub(crate) sustain_windows: usize,
    /// Barriers without load. Visits are short, so that sporadic delays of the disk affect barrier and fsync alike.
    pub(crate) idle: Barriers,
    /// Barriers beside load. Visits are long, because patches accumulate between them and the first barrier of a visit
    /// must wait until they are written.
    pub(crate) loaded: Barriers,
    /// Queries of a visit.
    pub(crate) queries: usize,
    /// Rounds of such visits.
    pub(crate) query_rounds: usize,
    /// Counted executions of a visit.
    pub(crate) executions: usize,
    /// Rounds of such visits.
    pub(crate) delivery_rounds: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

/// The amount of work of a barrier measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Barriers {
    /// Barriers, or fsyncs, of a visit.
    pub(crate) visit: usize,
    /// Rounds of visits.
    pub(crate) rounds: usize,
    /// The pause before each barrier or fsync.
    pub(crate) pause: Duration,
}

impl Plan {
    /// About twenty minutes and 10 GB of disk.
    pub(crate) const FULL: Self = Self {
        coalesce_seconds: 10.0,
        sustain_seconds: 60.0,
        sustain_windows: 12,
        idle: Barriers {
            visit: 10,
            rounds: 1_200,
            pause: Duration::from_millis(1),
        },
        loaded: Barriers {
            visit: 150,
            rounds: 32,
            pause: Duration::from_millis(3),
        },
        queries: 25,
        query_rounds: 16,
        executions: 300,
        delivery_rounds: 60,
        resamples: 2_000,
    };

    /// Three minutes. Intervals are wide.
    pub(crate) const QUICK: Self = Self {
        coalesce_seconds: 4.0,
        sustain_seconds: 4.0,
        sustain_windows: 4,
        idle: Barriers {
            rounds: 100,
            ..Self::FULL.idle
        },
        loaded: Barriers {
            visit: 100,
            rounds: 4,
            ..Self::FULL.loaded
        },
        queries: 10,
        query_rounds: 5,
        executions: 300,
        delivery_rounds: 6,
        ..Self::FULL
    };
}
