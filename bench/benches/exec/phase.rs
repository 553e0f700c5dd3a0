//! The phases of a run, each yielding rows. What they share: the sink, the plan, and rounds of visits.

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

/// All phases, in order, by name.
pub(crate) const ALL: [(&str, Phase<Bench>); 5] = [
    ("latency", latency::measure),
    ("throughput", throughput::measure),
    ("tracing", tracing::measure),
    ("accounts", accounts::measure),
    ("memory", memory::measure),
];

/// Their names.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// What all phases share.
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    pub(crate) bootstrap: Bootstrap,
    sink: baton_bench::Worker,
    sampled: Cell<usize>,
}

/// Who is visited, and for what.
pub(crate) struct Participant<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) task: Task,
}

impl Bench {
    /// Starts the sink.
    pub(crate) fn start(plan: Plan, seed: u64) -> Result<Self, Failure> {
        Ok(Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
            sink: baton_bench::Worker::start(&["sink"], None)?,
            sampled: Cell::default(),
        })
    }

    /// Starts Baton, every execution sampled and exported to the sink.
    pub(crate) fn traced(&self) -> Result<Baton, Failure> {
        Baton::start(Some(self.sink.ready()))
    }

    /// Stops it and takes note of how many executions the sink must have heard of.
    pub(crate) fn stop_traced(&self, baton: Baton) -> Result<(), Failure> {
        self.sampled.update(|sampled| sampled + baton.client.executions());
        baton.stop()
    }

    /// Asks the sink what arrived.
    pub(crate) fn finish(&self) -> Result<Exports, Failure> {
        let received = self.sink.ask("counts")?;
        let &[batches, spans, client_spans, server_spans] = &received[..] else {
            return Err("the sink did not say what it received".into());
        };
        Ok(Exports {
            executions: self.sampled.get() as f64,
            batches,
            spans,
            client_spans,
            server_spans,
        })
    }

    /// Warms everybody up.
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

/// Visits everybody, round after round, and returns what each measured. `after_round` runs between rounds, and once before
/// the first, with the number of rounds done.
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
