//! The cost of tracing: three process sets at once, which are started anew many times. One records and exports every
//! execution; in two tracing is off. The noise is the ratio of those two.
//!
//! The CPU time of a process set is read before its first round and after its last. It therefore includes the
//! exporter's thread, which works at its own schedule, and the idle work while other sets are visited.

use std::cell::RefCell;
use std::time::Duration;

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Row, Unit, in_sets, start_in_turns};

use super::{BenchContext, visit};
use crate::Failure;
use crate::bars;
use crate::options::Visits;
use crate::protocol::Task;
use crate::worker::Baton;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let width = bench.plan.width;
    let mut rows = Vec::new();

    let Measured {
        cpu: [on, off, noise],
        wall,
    } = compare(bench, Task::Sequential, bench.plan.tracing)?;
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
    } = compare(bench, Task::InFlight(width), bench.plan.tracing_in_flight)?;
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

    Ok(rows)
}

/// Samples of the sides: with tracing, without, and the second without.
struct Measured {
    /// CPU seconds per execution, one sample per process set.
    cpu: [Rounds; SIDES],
    /// The samples of the task.
    wall: [Rounds; SIDES],
}

const SIDES: usize = 3;

/// The process sets of all sides, and their CPU time before the first visit.
struct Sides {
    number: usize,
    sides: Vec<(Baton, Duration)>,
}

fn compare(bench: &BenchContext, task: Task, plan: Visits) -> Result<Measured, Failure> {
    let cpu = RefCell::new([const { Rounds::new() }; SIDES]);
    let executions = 2 * plan.sets.rounds * (plan.warm_up + plan.executions);
    let start = |number| {
        let sides = start_in_turns(number, SIDES, |side| match side {
            0 => bench.traced(),
            _ => Baton::start(None),
        })?;
        for side in &sides {
            bench.warm_up(&side.client, task)?;
        }
        let with_cpu = |side: Baton| Ok((side.cpu_time()?, side)).map(|(cpu, side)| (side, cpu));
        let sides = sides.into_iter().map(with_cpu);
        Ok(Sides {
            number,
            sides: sides.collect::<std::io::Result<_>>()?,
        })
    };
    let stop = |Sides { number, sides }| {
        for (side, (baton, before)) in sides.into_iter().enumerate() {
            let used = baton.cpu_time()?.saturating_sub(before).as_secs_f64();
            cpu.borrow_mut()[side].add(number, [used / executions as f64]);
            match side {
                0 => bench.stop_traced(baton)?,
                _ => baton.stop()?,
            }
        }
        Ok(())
    };
    let ask = |sides: &Sides, side: usize| visit(&sides.sides[side].0.client, task, plan);
    let wall = in_sets(plan.sets, SIDES, start, ask, stop)?;
    Ok(Measured {
        cpu: cpu.into_inner(),
        wall: wall.try_into().map_err(|_| "not three sides")?,
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
