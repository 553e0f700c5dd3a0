//! The options, and the amount of work.

use baton_bench::ProcessSets;

/// Measures Baton's data path beside ssh and a blind relay and judges it by its bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
    /// Install OpenSSH with apt-get where it is missing; takes root
    #[arg(long)]
    pub(crate) install_ssh: bool,
}

/// The amount of work. A round visits each participant twice. Process sets are started anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Bytes of a stream that is timed.
    pub(crate) bulk_bytes: u64,
    /// Process sets of timed streams.
    pub(crate) bulk: ProcessSets,
    /// Process sets of timed streams beside ssh, which is slower.
    pub(crate) ssh: ProcessSets,
    /// Process sets of executions beside ssh in a library.
    pub(crate) warm: ProcessSets,
    /// Uncounted executions at the start of a visit.
    pub(crate) warm_up: usize,
    /// Counted executions of a visit.
    pub(crate) executions: usize,
    /// Process sets beside which new processes run.
    pub(crate) cold: ProcessSets,
    /// Processes that a visit starts.
    pub(crate) cold_executions: usize,
    /// Process sets beside which new processes with a new ssh connection each run, which is slower.
    pub(crate) connection: ProcessSets,
    /// Processes that such a visit starts.
    pub(crate) connection_executions: usize,
    /// Process sets of executions beside a stream.
    pub(crate) beside: ProcessSets,
    /// Bytes of a stream through the slow link.
    pub(crate) link_bytes: u64,
    /// Process sets of such streams, and of executions beside them.
    pub(crate) link: ProcessSets,
    /// Executions of a visit through the slow link.
    pub(crate) link_executions: usize,
    /// Bytes of a stream beside stalled sessions.
    pub(crate) stalled_bytes: u64,
    /// Process sets of such streams.
    pub(crate) stalled: ProcessSets,
    /// Idle sessions.
    pub(crate) idle: usize,
    /// Process sets of executions beside idle sessions.
    pub(crate) idle_sets: ProcessSets,
    /// Idle sessions through three relays and a balancer.
    pub(crate) fleet: usize,
    /// Process sets of executions beside them.
    pub(crate) fleet_sets: ProcessSets,
    /// Bytes to the stalled readers.
    pub(crate) stall_bytes: u64,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// About half an hour.
    pub(crate) const FULL: Self = Self {
        bulk_bytes: 1 << 30,
        bulk: sets(12, 1),
        ssh: sets(10, 1),
        warm: sets(21, 2),
        warm_up: 3,
        executions: 50,
        cold: sets(20, 2),
        cold_executions: 10,
        connection: sets(9, 2),
        connection_executions: 5,
        beside: sets(12, 2),
        link_bytes: 100_000_000,
        link: sets(6, 1),
        link_executions: 15,
        stalled_bytes: 512 << 20,
        stalled: sets(9, 1),
        idle: 2_000,
        idle_sets: sets(6, 6),
        fleet: 10_000,
        fleet_sets: sets(3, 6),
        stall_bytes: 2 << 30,
        resamples: 2_000,
    };

    /// A few minutes. Intervals are wide.
    pub(crate) const QUICK: Self = Self {
        bulk_bytes: 256 << 20,
        bulk: sets(4, 1),
        ssh: sets(5, 1),
        warm: sets(3, 1),
        cold: sets(5, 1),
        connection: sets(3, 1),
        beside: sets(3, 2),
        link_bytes: 30_000_000,
        stalled_bytes: 128 << 20,
        stalled: sets(3, 1),
        idle: 400,
        idle_sets: sets(3, 1),
        fleet: 600,
        fleet_sets: sets(3, 1),
        ..Self::FULL
    };
}

const fn sets(sets: usize, rounds: usize) -> ProcessSets {
    ProcessSets { sets, rounds }
}
