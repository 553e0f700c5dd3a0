//! What the command line asks for, and how much is measured.

use std::path::PathBuf;
use std::time::Duration;

/// Measures the writing of metadata beside SQLite and fsync alone, what is read of it and what a client feels of it, and judges it by its
/// bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
    /// Where the databases are made: on the disk that is meant
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    pub(crate) directory: PathBuf,
}

/// How much is measured. A round visits each participant twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Seconds of patches of threads.
    pub(crate) coalesce_seconds: f64,
    /// Seconds of records without a pause, a visit, of which there are two; and in how many windows they are looked at.
    pub(crate) sustain_seconds: f64,
    pub(crate) sustain_windows: usize,
    /// Barriers with nothing beside them: short visits, so that what the disk does now and then meets barrier and fsync alike.
    pub(crate) idle: Barriers,
    /// Beside the load: long visits, because it piles up between them, and the first barrier of each has that to write.
    pub(crate) loaded: Barriers,
    /// Queries of a visit, and rounds of such visits.
    pub(crate) queries: usize,
    pub(crate) query_rounds: usize,
    /// Executions of a visit that count, and rounds of such visits.
    pub(crate) executions: usize,
    pub(crate) delivery_rounds: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

/// Barriers of a visit, and fsyncs of one; rounds of such visits; and the pause before each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Barriers {
    pub(crate) visit: usize,
    pub(crate) rounds: usize,
    pub(crate) pause: Duration,
}

impl Plan {
    /// Some twenty minutes, and 10 GB of disk meanwhile.
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
