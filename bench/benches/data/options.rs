//! The options, and the amount of work.

/// Measures Baton's data path beside ssh and a blind relay and judges it by its bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
    /// Install OpenSSH with apt-get where it is missing; takes root
    #[arg(long)]
    pub(crate) install_ssh: bool,
}

/// The amount of work. A round visits each participant twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Bytes of a stream that is timed.
    pub(crate) bulk_bytes: u64,
    /// Rounds of timed streams.
    pub(crate) bulk_rounds: usize,
    /// Rounds of timed streams beside ssh, which is slower.
    pub(crate) ssh_rounds: usize,
    /// Rounds of executions.
    pub(crate) rounds: usize,
    /// Uncounted executions at the start of a visit.
    pub(crate) warm_up: usize,
    /// Counted executions of a visit.
    pub(crate) executions: usize,
    /// Rounds of new processes.
    pub(crate) cold_rounds: usize,
    /// Processes that a visit starts.
    pub(crate) cold_executions: usize,
    /// Rounds of new processes with a new ssh connection each, which is slower.
    pub(crate) connection_rounds: usize,
    /// Processes that such a visit starts.
    pub(crate) connection_executions: usize,
    /// Bytes of a stream through the slow link.
    pub(crate) link_bytes: u64,
    /// Rounds of such streams, and of executions beside them.
    pub(crate) link_rounds: usize,
    /// Executions of a visit through the slow link.
    pub(crate) link_executions: usize,
    /// Bytes of a stream beside stalled sessions.
    pub(crate) stalled_bytes: u64,
    /// Rounds of such streams.
    pub(crate) stalled_rounds: usize,
    /// Idle sessions.
    pub(crate) idle: usize,
    /// Bytes to the stalled readers.
    pub(crate) stall_bytes: u64,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// About twenty minutes.
    pub(crate) const FULL: Self = Self {
        bulk_bytes: 2 << 30,
        bulk_rounds: 6,
        ssh_rounds: 5,
        rounds: 40,
        warm_up: 3,
        executions: 50,
        cold_rounds: 30,
        cold_executions: 15,
        connection_rounds: 20,
        connection_executions: 5,
        link_bytes: 100_000_000,
        link_rounds: 3,
        link_executions: 15,
        stalled_bytes: 512 << 20,
        stalled_rounds: 8,
        idle: 2_000,
        stall_bytes: 2 << 30,
        resamples: 2_000,
    };

    /// A few minutes. Intervals are wide.
    pub(crate) const QUICK: Self = Self {
        bulk_bytes: 512 << 20,
        bulk_rounds: 3,
        ssh_rounds: 3,
        rounds: 10,
        cold_rounds: 8,
        cold_executions: 10,
        connection_rounds: 5,
        link_bytes: 50_000_000,
        link_rounds: 2,
        stalled_bytes: 128 << 20,
        stalled_rounds: 3,
        idle: 400,
        ..Self::FULL
    };
}
