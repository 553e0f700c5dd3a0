//! The cost of tracing: three process sets at once. One records and exports every execution, two record nothing.
//!
//! The CPU time of a set is read between rounds. It therefore includes the exporter's thread, which works at its own
//! schedule, and the idle work while other sets are visited. The noise is the ratio of the two sets without tracing,
//! which includes differences between processes.

use std::cell::RefCell;
use std::time::Duration;

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Row, Unit};

use super::{BenchContext, Participant, interleave};
use crate::Failure;
use crate::bars;
use crate::options;
use crate::protocol::Task;
use crate::worker::Baton;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let sets = [bench.traced()?, Baton::start(None)?, Baton::start(None)?];
    let width = bench.plan.width;
    let mut rows = Vec::new();

    let Measured {
        cpu: [on, off, noise],
        wall,
    } = compare(bench, &sets, Task::Sequential, bench.plan.tracing)?;
    let cost = Cost {
        bench,
        off: &off,
        noise: &noise,
    };
    rows.push(
        cost.cpu("tracing_cpu", "tracing on over off, CPU per execution", &on)
            .bar(Some(bars::TRACING_CPU)),
    );
    rows.extend(cost.absolute(&on));
    let ratio = |over, under| bench.bootstrap.ratio(over, under, Statistic::P50);
    let [on, off, noise] = &wall;
    rows.push(
        Row::new(
            "tracing_wall_p50",
            "tracing on over off, wall p50",
            Unit::Times,
            ratio(on, off),
            on,
        )
        .noise(ratio(noise, off)),
    );

    let Measured {
        cpu: [on, off, noise],
        wall,
    } = compare(bench, &sets, Task::InFlight(width), bench.plan.tracing_in_flight)?;
    let cost = Cost {
        bench,
        off: &off,
        noise: &noise,
    };
    let what = format!("tracing on over off, CPU per execution, {width} in flight");
    rows.push(cost.cpu("tracing_cpu_in_flight", what, &on));
    let ratio = |over, under| bench.bootstrap.ratio(over, under, Statistic::Rate);
    let [on, off, noise] = &wall;
    let what = format!("tracing on over off, executions/s, {width} in flight");
    rows.push(
        Row::new("tracing_rate_in_flight", what, Unit::Times, ratio(on, off), on).noise(ratio(noise, off)),
    );

    let [on, ..] = sets;
    bench.stop_traced(on)?;
    Ok(rows)
}

/// Samples of the set with tracing, the set without, and the second set without.
struct Measured {
    /// CPU seconds per execution, one sample per round.
    cpu: [Rounds; 3],
    /// The samples of the task.
    wall: [Rounds; 3],
}

fn compare(
    bench: &BenchContext,
    sets: &[Baton; 3],
    task: Task,
    plan: options::Rounds,
) -> Result<Measured, Failure> {
    let participants = sets.each_ref().map(|set| Participant {
        worker: &set.client,
        task,
    });
    bench.warm_up(&participants)?;
    let cpu = RefCell::new([const { Rounds::new() }; 3]);
    let mut before = [Duration::ZERO; 3];
    let executions = 2 * (plan.warm_up + plan.executions);
    let wall = interleave(&participants, plan, |done| {
        for ((set, before), cpu) in sets.iter().zip(&mut before).zip(cpu.borrow_mut().iter_mut()) {
            let now = set.cpu_time()?;
            let used = now.saturating_sub(std::mem::replace(before, now));
            if let Some(round) = done.checked_sub(1) {
                cpu.add(round, [used.as_secs_f64() / executions as f64]);
            }
        }
        Ok(())
    })?;
    let wall = wall.try_into().map_err(|_| "not three participants")?;
    Ok(Measured {
        cpu: cpu.into_inner(),
        wall,
    })
}

/// Computes rows of CPU time.
struct Cost<'a> {
    bench: &'a BenchContext,
    off: &'a Rounds,
    noise: &'a Rounds,
}

impl Cost<'_> {
    fn cpu(&self, id: &'static str, what: impl Into<String>, on: &Rounds) -> Row {
        let ratio = |over| self.bench.bootstrap.ratio(over, self.off, Statistic::Mean);
        Row::new(id, what, Unit::Times, ratio(on), on).noise(ratio(self.noise))
    }

    fn absolute(&self, on: &Rounds) -> [Row; 2] {
        [("cpu_on", "on", on), ("cpu_off", "off", self.off)].map(|(id, what, rounds)| {
            let estimate = self.bench.bootstrap.value(rounds, Statistic::Mean).times(1e6);
            let what = format!("CPU per execution of the three parts, tracing {what}");
            Row::new(id, what, Unit::Microseconds, estimate, rounds)
        })
    }
}
