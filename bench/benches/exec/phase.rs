//! The phases of a run, each of which returns rows, and the state that they share.

mod accounts;
mod latency;
mod memory;
mod plateau;
mod programs;
mod threads;
mod throughput;
mod tracing;

use std::cell::Cell;

use baton_bench::floor::{Flavour, StartMethod};
use baton_bench::stats::{Bootstrap, Rounds, Statistic};
use baton_bench::{Phase, in_sets, start_in_turns};

use crate::Failure;
use crate::exports::Exports;
use crate::options::{Plan, Visits};
use crate::protocol::{Request, Task};
use crate::worker::{Baton, Worker};

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 8] = [
    ("latency", latency::measure),
    ("throughput", throughput::measure),
    ("threads", threads::measure),
    ("programs", programs::measure),
    ("tracing", tracing::measure),
    ("accounts", accounts::measure),
    ("memory", memory::measure),
    ("plateau", plateau::measure),
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

/// A process of a set, by number, and the task of each visit to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Participant {
    pub(crate) process: usize,
    pub(crate) task: Task,
}

/// The number of Baton's client among the processes of a [`BesideFloors`]; the floors follow.
pub(crate) const CLIENT: usize = 0;

/// A floor: how it starts commands, and its runtime.
pub(crate) type FloorKind = (StartMethod, Flavour);

/// A process set: Baton with every execution exported, and floors.
pub(crate) struct BesideFloors {
    baton: Baton,
    floors: Vec<Worker>,
}

impl BesideFloors {
    fn worker(&self, process: usize) -> &Worker {
        match process.checked_sub(1) {
            None => &self.baton.client,
            Some(floor) => &self.floors[floor],
        }
    }
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

    /// Reads the counts of the sink. Complete when every traced process set has stopped.
    pub(crate) fn exports(&self) -> Result<Exports, Failure> {
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

    /// Starts Baton and these floors anew for each process set, and visits the participants in rounds. Returns the
    /// samples of each participant by set.
    pub(crate) fn beside_floors(
        &self,
        floors: &[FloorKind],
        participants: &[Participant],
        plan: Visits,
    ) -> Result<Vec<Rounds>, Failure> {
        let start = |set: usize| {
            let mut baton = None;
            // Baton takes its turn in the order of starting.
            let workers = start_in_turns(set, 1 + floors.len(), |process| match process.checked_sub(1) {
                None => {
                    baton = Some(self.traced()?);
                    Ok(None)
                }
                Some(floor) => {
                    let (method, flavour) = floors[floor];
                    Worker::floor(method, flavour).map(Some)
                }
            })?;
            let processes = BesideFloors {
                baton: baton.ok_or("no process set of Baton")?,
                floors: workers.into_iter().flatten().collect(),
            };
            for participant in participants {
                self.warm_up(processes.worker(participant.process), participant.task)?;
            }
            Ok(processes)
        };
        in_sets(
            plan.sets,
            participants.len(),
            start,
            |processes, visited| {
                let Participant { process, task } = participants[visited];
                visit(processes.worker(process), task, plan)
            },
            |processes| self.stop_traced(processes.baton),
        )
    }

    /// Runs the uncounted executions of a new process.
    pub(crate) fn warm_up(&self, worker: &Worker, task: Task) -> Result<(), Failure> {
        let request = Request {
            task,
            warm_up: match task {
                // Each takes ten milliseconds.
                Task::Sleep | Task::Started => 2,
                _ => self.plan.warm_up,
            },
            executions: 1,
        };
        worker.ask(request).map(drop)
    }

    /// The better of participants by a statistic of seconds: the index of the least.
    pub(crate) fn best(&self, of: &[&Rounds], statistic: Statistic) -> usize {
        let value = |index: usize| {
            let value = self.bootstrap.value(of[index], statistic).value;
            // A rate is better the higher it is.
            if statistic == Statistic::Rate {
                -value
            } else {
                value
            }
        };
        let best = (0..of.len()).min_by(|a, b| value(*a).total_cmp(&value(*b)));
        best.unwrap_or_default()
    }
}

/// One visit of a worker.
pub(crate) fn visit(worker: &Worker, task: Task, plan: Visits) -> Result<Vec<f64>, Failure> {
    worker.ask(Request {
        task,
        warm_up: plan.warm_up,
        executions: plan.executions,
    })
}
