//! The options, and the amount of work.

/// Measures Baton beside the floor and judges it by its bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
}

/// Rounds of visits. A round visits each participant twice. Each visit runs `warm_up` uncounted executions, then
/// `executions` counted ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) rounds: usize,
    pub(crate) warm_up: usize,
    pub(crate) executions: usize,
}

/// The amount of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Uncounted executions of each participant before a phase.
    pub(crate) warm_up: usize,
    /// Sequential, beside the floor.
    pub(crate) latency: Rounds,
    /// Many in flight, beside the floor.
    pub(crate) throughput: Rounds,
    /// Sequential, tracing on beside off.
    pub(crate) tracing: Rounds,
    /// Many in flight, tracing on beside off.
    pub(crate) tracing_in_flight: Rounds,
    /// Sequential: the remainder, and the latency of the exit event.
    pub(crate) accounts: Rounds,
    /// Executions before memory is read.
    pub(crate) memory: usize,
    /// Executions in flight in the concurrent measurements.
    pub(crate) width: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// A few minutes.
    pub(crate) const FULL: Self = Self {
        warm_up: 200,
        latency: rounds(100, 3, 50),
        throughput: rounds(16, 64, 1_280),
        tracing: rounds(60, 3, 100),
        tracing_in_flight: rounds(40, 32, 320),
        accounts: rounds(60, 3, 50),
        memory: 1_000,
        width: 32,
        resamples: 2_000,
    };

    /// Under a minute. Intervals are wide, above all those of the 99th percentile.
    pub(crate) const QUICK: Self = Self {
        warm_up: 100,
        latency: rounds(15, 3, 50),
        throughput: rounds(3, 64, 1_280),
        tracing: rounds(8, 3, 100),
        tracing_in_flight: rounds(5, 32, 320),
        accounts: rounds(15, 3, 50),
        ..Self::FULL
    };
}

const fn rounds(rounds: usize, warm_up: usize, executions: usize) -> Rounds {
    Rounds {
        rounds,
        warm_up,
        executions,
    }
}
