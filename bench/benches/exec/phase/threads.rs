//! A relay with two threads beside relays with one: executions on many sessions, and sequential ones. Three process
//! sets at once, which are started anew many times. The noise is the ratio of the two relays with one thread.
//!
//! On few cores the load generator, the exec-server and the commands compete with the relay for them. So the CPU time
//! of each is a row, and the part of the machine's cores that all of them use together: what two threads can gain is at
//! most what one thread leaves idle.

use std::thread::available_parallelism;
use std::time::Instant;

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Row, Unit, start_in_turns};

use super::{BenchContext, visit};
use crate::Failure;
use crate::protocol::Task;
use crate::worker::{Baton, CPU_USERS};

/// The threads of each relay. The last is for A against A.
const RELAYS: [usize; 3] = [2, 1, 1];

/// A visit's samples: the task's, CPU seconds per execution of each user, and the part of all cores that was used.
const QUANTITIES: usize = 2 + CPU_USERS.len();

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let (width, plan) = (bench.plan.width, bench.plan.threads);
    let cores = available_parallelism()?.get();
    let tasks = [Task::OnSessions(width), Task::Sequential];
    let start = |set| {
        let relays = start_in_turns(set, RELAYS.len(), |relay| {
            Baton::with_relay_threads(RELAYS[relay])
        })?;
        for relay in &relays {
            for task in tasks {
                bench.warm_up(&relay.client, task)?;
            }
        }
        Ok(relays)
    };
    let ask = |relays: &Vec<Baton>, visited: usize| -> Result<[Vec<f64>; QUANTITIES], Failure> {
        let (relay, task) = (&relays[visited / tasks.len()], tasks[visited % tasks.len()]);
        let (before, began) = (relay.cpu_times()?, Instant::now());
        let samples = visit(&relay.client, task, plan)?;
        let (after, took) = (relay.cpu_times()?, began.elapsed().as_secs_f64());
        let used: Vec<_> = (0..CPU_USERS.len())
            .map(|user| after[user].saturating_sub(before[user]).as_secs_f64())
            .collect();
        let executions = (plan.warm_up + plan.executions) as f64;
        let busy = used.iter().sum::<f64>() / took / cores as f64;
        let mut quantities = used.iter().map(|used| vec![used / executions]);
        let mut next = || quantities.next().unwrap_or_default();
        Ok([samples, next(), next(), next(), next(), vec![busy]])
    };
    let stop = |relays: Vec<Baton>| relays.into_iter().try_for_each(Baton::stop);
    let measured = plan.sets.measure(RELAYS.len() * tasks.len(), start, ask, stop)?;
    let of = |quantity: usize, relay: usize, task: usize| &measured[quantity][relay * tasks.len() + task];

    let mut rows = Vec::new();
    let mut ratio = |id: &str, what: String, task: usize, statistic: Statistic| {
        let [two, one, again] = [0, 1, 2].map(|relay| of(0, relay, task));
        let ratio = |over: &Rounds| bench.bootstrap.ratio(over, one, statistic);
        rows.push(Row::new(id, what, Unit::Times, ratio(two), two).noise(ratio(again)));
    };
    let sessions = format!("{width} sessions");
    let over = "relay with two threads over one";
    ratio(
        "threads_rate",
        format!("{sessions}, executions/s, {over}"),
        0,
        Statistic::Rate,
    );
    ratio(
        "threads_run_p50",
        format!("warm `Run`, {over}, p50"),
        1,
        Statistic::P50,
    );
    ratio(
        "threads_run_p99",
        format!("warm `Run`, {over}, p99"),
        1,
        Statistic::P99,
    );

    for (relay, threads) in [(0, "two"), (1, "one")] {
        let rate = of(0, relay, 0);
        let estimate = bench.bootstrap.value(rate, Statistic::Rate);
        let what = format!("{sessions}, relay with {threads}");
        rows.push(Row::new(
            format!("threads_{threads}_rate"),
            what,
            Unit::PerSecond,
            estimate,
            rate,
        ));
        for (task, id, what) in [(0, "sessions", sessions.as_str()), (1, "run", "warm `Run`")] {
            for (user, name) in CPU_USERS.iter().enumerate() {
                let cpu = of(1 + user, relay, task);
                let estimate = bench.bootstrap.value(cpu, Statistic::Mean).times(1e6);
                let what = format!("{what}, relay with {threads}, CPU per execution: {name}");
                let id = format!("threads_{threads}_{id}_cpu_{name}");
                rows.push(Row::new(id, what, Unit::Microseconds, estimate, cpu));
            }
            let busy = of(1 + CPU_USERS.len(), relay, task);
            let estimate = bench.bootstrap.value(busy, Statistic::Mean).times(100.0);
            let what =
                format!("{what}, relay with {threads}, of the time of {cores} cores used by all of these");
            let id = format!("threads_{threads}_{id}_busy");
            rows.push(Row::new(id, what, Unit::Percent, estimate, busy));
        }
    }
    Ok(rows)
}
