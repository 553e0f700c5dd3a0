//! The phases of a run, each of which returns rows, and the state that they share.

mod accounts;
mod latency;
mod memory;
mod throughput;
mod tracing;

use std::cell::Cell;

use baton_bench::Phase;
use baton_bench::stats::{Bootstrap, Rounds};

use crate::Failure;
use crate::exports::Exports;
use crate::options::{self, Plan};
use crate::protocol::{Request, Task};
use crate::worker::{Baton, Worker};

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 5] = [
    ("latency", latency::measure),
    ("throughput", throughput::measure),
    ("tracing", tracing::measure),
    ("accounts", accounts::measure),
    ("memory", memory::measure),
];

/// The names of all phases.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// The state that all phases share.
pub(crate) struct BenchContext {
    pub(crate) plan: Plan,
    pub(crate) bootstrap: Bootstrap,
    sink: baton_bench::Worker,
    sampled: Cell<usize>,
}

/// A worker, and the task of each visit to it.
pub(crate) struct Participant<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) task: Task,
}

impl BenchContext {
    /// Starts the sink.
    pub(crate) fn start(plan: Plan, seed: u64) -> Result<Self, Failure> {
        Ok(Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
            sink: baton_bench::Worker::start(&["sink"], None)?,
            sampled: Cell::default(),
        })
    }

    /// Starts Baton with every execution sampled and exported to the sink.
    pub(crate) fn traced(&self) -> Result<Baton, Failure> {
        Baton::start(Some(self.sink.ready()))
    }

    /// Stops it and adds its executions to the number that the sink must have received.
    pub(crate) fn stop_traced(&self, baton: Baton) -> Result<(), Failure> {
        self.sampled.update(|sampled| sampled + baton.client.executions());
        baton.stop()
    }

    /// Reads the counts of the sink.
    pub(crate) fn finish(&self) -> Result<Exports, Failure> {
        let received = self.sink.ask("counts")?;
        let &[batches, spans, client_spans, server_spans] = &received[..] else {
            return Err("the sink did not answer with four counts".into());
        };
        Ok(Exports {
            executions: self.sampled.get() as f64,
            batches,
            spans,
            client_spans,
            server_spans,
        })
    }

    /// Runs the warm-up executions of each participant.
    pub(crate) fn warm_up(&self, participants: &[Participant<'_>]) -> Result<(), Failure> {
        participants.iter().try_for_each(|participant| {
            participant
                .worker
                .ask(Request {
                    task: participant.task,
                    warm_up: self.plan.warm_up,
                    executions: 1,
                })
                .map(drop)
        })
    }
}

/// Visits the participants in rounds and returns the samples of each. `after_round` runs before the first round and
/// after each round; its argument is the number of completed rounds.
pub(crate) fn interleave(
    participants: &[Participant<'_>],
    plan: options::Rounds,
    after_round: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Vec<Rounds>, Failure> {
    let visit = |visited: usize| {
        let Participant { worker, task } = participants[visited];
        worker.ask(Request {
            task,
            warm_up: plan.warm_up,
            executions: plan.executions,
        })
    };
    baton_bench::interleave(participants.len(), plan.rounds, visit, after_round)
}
