//! The phases of a run, each of which returns rows, and the state that they share.

mod barrier;
mod coalesce;
mod delivery;
mod history;
mod memory;
mod sustained;

use std::path::PathBuf;

use baton_bench::stats::{Bar, Bootstrap, Rounds, Statistic};
use baton_bench::{Phase, Row, Unit};

use crate::options::Plan;

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 6] = [
    ("coalesce", coalesce::measure),
    ("sustained", sustained::measure),
    ("barrier", barrier::measure),
    ("memory", memory::measure),
    ("history", history::measure),
    ("delivery", delivery::measure),
];

/// The names of all phases.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// The state that all phases share.
pub(crate) struct BenchContext {
    pub(crate) plan: Plan,
    pub(crate) bootstrap: Bootstrap,
    /// The directory of the databases.
    pub(crate) directory: PathBuf,
}

impl BenchContext {
    pub(crate) fn new(plan: Plan, seed: u64, directory: PathBuf) -> Self {
        Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
            directory,
        }
    }

    /// A row with a ratio, and with the noise of the peer against itself.
    fn ratio(
        &self,
        id: &str,
        what: &str,
        [own, peer, peer_again]: [&Rounds; 3],
        statistic: Statistic,
        bar: Option<Bar>,
    ) -> Row {
        let ratio = |over| self.bootstrap.ratio(over, peer, statistic);
        Row::new(id, what, Unit::Times, ratio(own), own)
            .bar(bar)
            .noise(ratio(peer_again))
    }
}
