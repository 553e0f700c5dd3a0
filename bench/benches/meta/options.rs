//! The options, and the amount of work.

use std::path::PathBuf;
use std::time::Duration;

use baton_bench::ProcessSets;

/// Measures writes and queries of metadata and their effect on clients, and judges them by their bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
    /// Directory of the databases, on the disk to measure
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    pub(crate) directory: PathBuf,
}

/// The amount of work. A round visits each participant twice. Process sets are started anew, but for `history` with
/// new databases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Seconds of the phase `coalesce`.
    pub(crate) coalesce_seconds: f64,
    /// Seconds of a visit of the phase `sustained`.
    pub(crate) sustain_seconds: f64,
    /// Process sets of such visits.
    pub(crate) sustain: ProcessSets,
    /// Barriers without load. Visits are short, so that sporadic delays of the disk affect barrier and fsync alike.
    pub(crate) idle: Barriers,
    /// Barriers beside load. Visits are long, because patches accumulate between them and the first barrier of a visit
    /// must wait until they are written.
    pub(crate) loaded: Barriers,
    /// Queries of a visit.
    pub(crate) queries: usize,
    /// Process sets of such visits, which all open the same database.
    pub(crate) history: ProcessSets,
    /// Counted executions of a visit.
    pub(crate) executions: usize,
    /// Process sets of such visits.
    pub(crate) delivery: ProcessSets,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

/// The amount of work of a barrier measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Barriers {
    /// Barriers, or fsyncs, of a visit.
    pub(crate) visit: usize,
    /// Process sets.
    pub(crate) sets: ProcessSets,
    /// The pause before each barrier or fsync.
    pub(crate) pause: Duration,
}

impl Plan {
    /// About twenty minutes and 10 GB of disk.
    pub(crate) const FULL: Self = Self {
        coalesce_seconds: 10.0,
        sustain_seconds: 5.0,
        sustain: sets(12, 1),
        idle: Barriers {
            visit: 10,
            sets: sets(20, 60),
            pause: Duration::from_millis(1),
        },
        loaded: Barriers {
            visit: 150,
            sets: sets(21, 2),
            pause: Duration::from_millis(3),
        },
        queries: 25,
        history: sets(12, 1),
        executions: 300,
        delivery: sets(21, 2),
        resamples: 2_000,
    };

    /// A minute or two. Intervals are wide.
    pub(crate) const QUICK: Self = Self {
        coalesce_seconds: 4.0,
        sustain_seconds: 0.5,
        sustain: sets(3, 1),
        idle: Barriers {
            sets: sets(3, 20),
            ..Self::FULL.idle
        },
        loaded: Barriers {
            visit: 100,
            sets: sets(3, 1),
            ..Self::FULL.loaded
        },
        queries: 10,
        history: sets(6, 1),
        executions: 200,
        delivery: sets(6, 1),
        ..Self::FULL
    };
}

const fn sets(sets: usize, rounds: usize) -> ProcessSets {
    ProcessSets { sets, rounds }
}
