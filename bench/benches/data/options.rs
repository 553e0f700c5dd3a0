//! What the command line asks for, and how much is measured.

/// Measures Baton's data path beside ssh and a blind relay and judges it by its bars.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
    /// Install OpenSSH with apt-get where it is missing; takes root
    #[arg(long)]
    pub(crate) install_ssh: bool,
}

/// How much is measured. A round visits each participant twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Bytes of a stream that is timed.
    pub(crate) bulk_bytes: u64,
    /// Rounds of such streams.
    pub(crate) bulk_rounds: usize,
    /// Rounds of such streams beside ssh, which takes longer.
    pub(crate) ssh_rounds: usize,
    /// Rounds of executions, and how many a visit counts, after some that it does not.
    pub(crate) rounds: usize,
    pub(crate) warm_up: usize,
    pub(crate) executions: usize,
    /// Rounds of new processes, and how many a visit starts.
    pub(crate) cold_rounds: usize,
    pub(crate) cold_executions: usize,
    /// Bytes of a stream through the narrow link, rounds of them, and executions of a visit behind bulk.
    pub(crate) link_bytes: u64,
    pub(crate) link_rounds: usize,
    pub(crate) link_executions: usize,
    /// Bytes of a stream beside stalled sessions, and rounds of them.
    pub(crate) stalled_bytes: u64,
    pub(crate) stalled_rounds: usize,
    /// Idle sessions.
    pub(crate) idle: usize,
    /// Bytes to the reader that stalls.
    pub(crate) stall_bytes: u64,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// Some twenty minutes.
    pub(crate) const FULL: Self = Self {
        bulk_bytes: 2 << 30,
        bulk_rounds: 6,
        ssh_rounds: 5,
        rounds: 40,
        warm_up: 3,
        executions: 50,
        cold_rounds: 30,
        cold_executions: 15,
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
        link_bytes: 50_000_000,
        link_rounds: 2,
        stalled_bytes: 128 << 20,
        stalled_rounds: 3,
        idle: 400,
        ..Self::FULL
    };
}
