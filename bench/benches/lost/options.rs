//! The options, and the amount of work.

/// Loses connections under running commands, and judges what their client gets.
#[derive(clap::Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: baton_bench::Options,
}

/// The amount of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// `echo ok` by the library.
    pub(crate) echoes: usize,
    /// `echo ok` by a new `baton exec` each.
    pub(crate) echo_processes: usize,
    /// Commands while the relay is killed.
    pub(crate) killed: u32,
    /// Commands while processes are frozen.
    pub(crate) frozen: u32,
    /// Times that processes are frozen.
    pub(crate) freezes: u32,
    /// The longest of these times, in seconds; the shortest is one second.
    pub(crate) freeze_seconds: f64,
    /// Process sets with outages, side by side.
    pub(crate) outage_sets: usize,
    /// Outages of each.
    pub(crate) outages: usize,
    /// The longest outage, in seconds.
    pub(crate) outage_seconds: f64,
    /// Resamples of each bootstrap.
    pub(crate) resamples: usize,
}

impl Plan {
    /// About nine minutes.
    pub(crate) const FULL: Self = Self {
        echoes: 9_000,
        echo_processes: 1_000,
        killed: 1_000,
        frozen: 200,
        freezes: 6,
        freeze_seconds: 30.0,
        outage_sets: 10,
        outages: 30,
        outage_seconds: 10.0,
        resamples: 2_000,
    };

    /// Under a minute.
    pub(crate) const QUICK: Self = Self {
        echoes: 900,
        echo_processes: 100,
        killed: 100,
        frozen: 20,
        freezes: 3,
        freeze_seconds: 5.0,
        outage_sets: 3,
        outages: 3,
        outage_seconds: 3.0,
        ..Self::FULL
    };
}
