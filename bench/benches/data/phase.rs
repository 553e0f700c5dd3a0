//! The phases of a run, each of which returns rows, and the state that they share.

mod balancer;
mod beside;
mod blind;
mod cold;
mod connection;
mod idle;
mod link;
mod reader;
mod ssh;
mod stalled;
mod warm;

use baton_bench::stats::{Bar, Bootstrap, Estimate, Rounds, Statistic};
use baton_bench::{Failure, Phase, ProcessSets, Row, Unit};

use self::idle::Relays;
use crate::options::Plan;

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 14] = [
    ("blind-bbr", |bench| blind::measure(bench, "bbr")),
    ("blind-cubic", |bench| blind::measure(bench, "cubic")),
    ("ssh-download", |bench| ssh::measure(bench, Direction::Download)),
    ("ssh-upload", |bench| ssh::measure(bench, Direction::Upload)),
    ("warm", warm::measure),
    ("cold", cold::measure),
    ("connection", connection::measure),
    ("beside", beside::measure),
    ("link", link::measure),
    ("stalled", stalled::measure),
    ("idle", |bench| idle::measure(bench, Relays::One)),
    ("balancer", balancer::measure),
    ("fleet", |bench| idle::measure(bench, Relays::Fleet)),
    ("reader", reader::measure),
];

/// The names of all phases.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// The direction of a stream, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Download,
    Upload,
}

/// The state that all phases share.
pub(crate) struct BenchContext {
    pub(crate) plan: Plan,
    pub(crate) bootstrap: Bootstrap,
}

impl BenchContext {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
        }
    }

    /// [`ProcessSets::measure_warm`] of one quantity.
    fn in_sets<S>(
        &self,
        sets: ProcessSets,
        participants: usize,
        start: impl FnMut(usize) -> Result<S, Failure>,
        visit: impl Fn(&S, usize) -> Result<Vec<f64>, Failure>,
    ) -> Result<Vec<Rounds>, Failure> {
        let visit = |processes: &S, visited| Ok([visit(processes, visited)?]);
        let [measured] = sets.measure_warm(participants, start, visit)?;
        Ok(measured)
    }

    /// A row with a ratio.
    fn ratio(&self, id: String, what: String, of: Compared<'_>, statistic: Statistic) -> Row {
        let ratio = |over| self.bootstrap.ratio(over, of.peer, statistic);
        let row = Row::new(id, what, Unit::Times, ratio(of.own), of.own).bar(of.bar);
        match of.peer_again {
            Some(again) => row.noise(ratio(again)),
            None => row,
        }
    }

    /// A row in megabytes per second. The samples are those of [`per_megabyte`].
    fn throughput(&self, id: String, what: String, of: &Rounds) -> Row {
        let estimate = self.bootstrap.value(of, Statistic::Rate);
        Row::new(id, what, Unit::MegabytesPerSecond, estimate, of)
    }

    /// A row in milliseconds. The samples are seconds.
    fn milliseconds(&self, id: String, what: String, of: &Rounds, statistic: Statistic) -> Row {
        let estimate = self.bootstrap.value(of, statistic).times(1e3);
        Row::new(id, what, Unit::Milliseconds, estimate, of)
    }
}

/// The two sides of a ratio, with the noise and the bar.
#[derive(Clone, Copy)]
struct Compared<'a> {
    own: &'a Rounds,
    peer: &'a Rounds,
    /// A second instance of the peer, for A against A.
    peer_again: Option<&'a Rounds>,
    bar: Option<Bar>,
}

/// The sample of a stream: seconds per 10^6 bytes.
fn per_megabyte(seconds: f64, bytes: u64) -> Vec<f64> {
    vec![seconds / (bytes as f64 / 1e6)]
}

/// The number in an answer of exactly one number.
fn one(answer: Vec<f64>) -> Result<f64, Failure> {
    match answer[..] {
        [number] => Ok(number),
        _ => Err("not one number".into()),
    }
}

/// A row in KiB of a number that was measured once.
fn kibibytes(id: String, what: String, bytes: f64) -> Row {
    Row::once(id, what, Unit::Kibibytes, Estimate::exact(bytes / 1024.0))
}
