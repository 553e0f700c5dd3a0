//! The options, and the amount of work.

use baton_bench::ProcessSets;

/// Measures Baton beside the floor and judges it by its bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
}

/// The visits of a phase, in process sets that are started anew. Each visit runs `warm_up` uncounted executions, then
/// `executions` counted ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visits {
    pub(crate) sets: ProcessSets,
    pub(crate) warm_up: usize,
    pub(crate) executions: usize,
}

/// The amount of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Uncounted executions of each participant of a new process set.
    pub(crate) warm_up: usize,
    /// Sequential, beside the floor.
    pub(crate) latency: Visits,
    /// Many in flight, beside the floor.
    pub(crate) throughput: Visits,
    /// On many sessions, and sequential: a relay with two threads beside relays with one.
    pub(crate) threads: Visits,
    /// `cat` and `sleep`, beside the floor.
    pub(crate) programs: Visits,
    /// Sequential, tracing on beside off.
    pub(crate) tracing: Visits,
    /// Many in flight, tracing on beside off.
    pub(crate) tracing_in_flight: Visits,
    /// Sequential: the remainder, the envelope, and the latency of the exit event.
    pub(crate) accounts: Visits,
    /// Executions before memory is read.
    pub(crate) memory: usize,
    /// Seconds of executions before the memory of finished processes is read.
    pub(crate) plateau_seconds: u64,
    /// Executions in flight in the concurrent measurements.
    pub(crate) width: usize,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// About half an hour.
    pub(crate) const FULL: Self = Self {
        warm_up: 200,
        latency: visits(28, 5, 3, 30),
        throughput: visits(21, 1, 64, 640),
        threads: visits(21, 1, 64, 640),
        programs: visits(21, 2, 2, 20),
        tracing: visits(21, 5, 3, 100),
        tracing_in_flight: visits(21, 2, 32, 320),
        accounts: visits(20, 3, 3, 50),
        memory: 1_000,
        // A minute longer than the exec-server remembers the id of a finished process.
        plateau_seconds: baton_exec_server::limits::FINISHED_FOR.as_secs() + 60,
        width: 32,
        resamples: 2_000,
    };

    /// About a minute. Intervals are wide, above all those of the 99th percentile.
    pub(crate) const QUICK: Self = Self {
        warm_up: 50,
        latency: visits(7, 2, 3, 30),
        throughput: visits(7, 1, 32, 320),
        threads: visits(6, 1, 32, 640),
        programs: visits(7, 1, 1, 10),
        tracing: visits(3, 2, 3, 50),
        tracing_in_flight: visits(3, 1, 32, 320),
        accounts: visits(3, 2, 3, 50),
        plateau_seconds: 5,
        ..Self::FULL
    };
}

const fn visits(sets: usize, rounds: usize, warm_up: usize, executions: usize) -> Visits {
    Visits {
        sets: ProcessSets { sets, rounds },
        warm_up,
        executions,
    }
}
