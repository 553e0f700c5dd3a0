//! The phases of a run, each of which returns rows, and the state that they share.

mod family;
mod pool;
mod root;
mod stream;

use baton_bench::stats::{Bar, Bootstrap, Rounds, Statistic};
use baton_bench::{Failure, Phase, Row, Unit, Worker};
use baton_support::process::Stack;

use crate::options::Plan;

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 4] = [
    ("stream", stream::measure),
    ("family", family::measure),
    ("pool", pool::measure),
    ("root", root::measure),
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

impl BenchContext {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
        }
    }

    /// A row with a ratio of medians.
    fn ratio(&self, id: &str, what: impl Into<String>, of: Compared<'_>) -> Row {
        let ratio = |over| self.bootstrap.ratio(over, of.peer, Statistic::P50);
        Row::new(id, what, Unit::Times, ratio(of.own), of.own)
            .noise(ratio(of.peer_again))
            .bar(of.bar)
    }

    /// A row with a median in milliseconds. The samples are seconds.
    fn milliseconds(&self, id: &str, what: impl Into<String>, of: &Rounds) -> Row {
        let median = self.bootstrap.value(of, Statistic::P50).times(1e3);
        Row::new(id, what, Unit::Milliseconds, median, of)
    }
}

/// The two sides of a ratio, with the noise and the bar.
#[derive(Clone, Copy)]
struct Compared<'a> {
    own: &'a Rounds,
    peer: &'a Rounds,
    /// The peer's second visits, for A against A.
    peer_again: &'a Rounds,
    bar: Option<Bar>,
}

/// Starts a client of this stack with this ticket and a warm session.
fn client(stack: &Stack, ticket: &str) -> Result<Worker, Failure> {
    Worker::start(&["client", ticket, &key(stack)?], None)
}

/// The path of the client key that the stack's exec-server accepts.
fn key(stack: &Stack) -> Result<String, Failure> {
    let key = stack.client_key();
    let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
    Ok(key.to_owned())
}
