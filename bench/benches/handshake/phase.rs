//! The phases of a run, each of which returns rows, and the state that they share.

mod first;
mod hello;
mod steady;

use baton_bench::stats::{Bar, Bootstrap, Rounds, Statistic};
use baton_bench::{Failure, Phase, Row, Unit, Worker, interleave};

use crate::options::Plan;

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 3] = [
    ("steady", steady::measure),
    ("first", first::measure),
    ("hello", hello::measure),
];

/// The names of all phases.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// The state that all phases share.
pub(crate) struct BenchContext {
    pub(crate) plan: Plan,
    pub(crate) bootstrap: Bootstrap,
}

/// Two participants, and the second visits of the one that the other is compared with.
#[derive(Clone, Copy)]
struct Compared<'a> {
    own: &'a Rounds,
    floor: &'a Rounds,
    /// For A against A.
    floor_again: &'a Rounds,
}

impl BenchContext {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
        }
    }

    /// A row with a ratio of medians.
    fn ratio(&self, id: &str, what: String, of: Compared<'_>) -> Row {
        let ratio = |over| self.bootstrap.ratio(over, of.floor, Statistic::P50);
        Row::new(id, what, Unit::Times, ratio(of.own), of.own).noise(ratio(of.floor_again))
    }

    /// A row with a difference of medians in milliseconds. The samples are seconds.
    fn added(&self, id: &str, what: String, of: Compared<'_>, bar: Option<Bar>) -> Row {
        let added = |own| {
            let difference = self.bootstrap.difference(own, of.floor, Statistic::P50);
            difference.times(1e3)
        };
        Row::new(id, what, Unit::Milliseconds, added(of.own), of.own)
            .noise(added(of.floor_again))
            .bar(bar)
    }

    /// A row with a median in milliseconds. The samples are seconds.
    fn milliseconds(&self, id: &str, what: String, of: &Rounds) -> Row {
        let median = self.bootstrap.value(of, Statistic::P50).times(1e3);
        Row::new(id, what, Unit::Milliseconds, median, of)
    }

    /// Visits each role in rounds. A visit starts some new processes; a sample is the seconds that one printed.
    fn in_new_processes(&self, roles: &[[&str; 2]]) -> Result<Vec<Rounds>, Failure> {
        let visit = |role: usize| {
            (0..self.plan.processes)
                .map(|_| Ok(Worker::start(&roles[role], None)?.ready().parse()?))
                .collect()
        };
        // Reads the executable into the page cache.
        visit(0)?;
        interleave(roles.len(), self.plan.process_rounds, visit, |_| Ok(()))
    }
}
