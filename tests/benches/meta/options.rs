//! What the command line asks for, and how much is measured.

use std::path::PathBuf;

/// Measures the writing of metadata beside SQLite and fsync alone and judges it by its bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    /// Measure less, for a first look and for CI
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only the rows of this phase; repeatable. Without it, all
    #[arg(long, value_name = "PHASE", value_parser = clap::builder::PossibleValuesParser::new(crate::phase::names()))]
    pub(crate) only: Vec<String>,
    /// Where the databases are made: on the disk that is meant
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    pub(crate) directory: PathBuf,
    /// Seed of the bootstrap; a random one is printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Write every number to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Fail when a bar is failed
    #[arg(long)]
    pub(crate) check: bool,
    /// Cargo passes this
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// How much is measured. A round visits each participant twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Seconds of patches of threads.
    pub(crate) coalesce_seconds: f64,
    /// Seconds of records without a pause, a visit, and rounds of such visits.
    pub(crate) sustain_seconds: f64,
    pub(crate) sustain_rounds: usize,
    /// Barriers of a visit, and fsyncs of one; rounds of such visits.
    pub(crate) barriers: usize,
    pub(crate) barrier_rounds: usize,
    /// Executions of a visit, and rounds of such visits.
    pub(crate) executions: usize,
    pub(crate) delivery_rounds: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// Some eight minutes.
    pub(crate) const FULL: Self = Self {
        coalesce_seconds: 10.0,
        sustain_seconds: 60.0,
        sustain_rounds: 1,
        barriers: 250,
        barrier_rounds: 8,
        executions: 600,
        delivery_rounds: 30,
        resamples: 2_000,
    };

    /// A minute. Intervals are wide.
    pub(crate) const QUICK: Self = Self {
        coalesce_seconds: 4.0,
        sustain_seconds: 4.0,
        sustain_rounds: 2,
        barriers: 100,
        barrier_rounds: 4,
        executions: 300,
        delivery_rounds: 6,
        ..Self::FULL
    };
}
