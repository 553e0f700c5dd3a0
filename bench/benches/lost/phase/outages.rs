//! Outages of relays: the time from a relay's return until the next byte of a command reaches its client.
//!
//! Each process set has a relay, an exec-server and a client of its own, and one command that writes all the time. The
//! sets run side by side, because nearly all of the time is outages, in which they do nothing.

use std::thread::{self, sleep};
use std::time::Duration;

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Failure, Row, Unit};
use baton_support::process::Stack;
use baton_trace::record::unix_now_ns;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{BenchContext, Tally, client, wrong_runs};
use crate::bars;

/// Shortest and longest time between two outages, in seconds. The exec-server treats a registration that is shorter
/// than a second as a failed attempt.
const UP: [f64; 2] = [1.2, 2.2];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    // The binary is built before the threads use it.
    baton_support::process::baton()?;
    let sets: Vec<Set> = thread::scope(|scope| {
        let running: Vec<_> = (0..bench.plan.outage_sets)
            .map(|set| scope.spawn(move || run(bench, bench.random(set + 1))))
            .collect();
        let ended = running
            .into_iter()
            .map(|set| set.join().map_err(|_| "a thread panicked")?);
        ended.collect::<Result<_, Failure>>()
    })?;
    let mut took = Rounds::new();
    let mut tally = Tally {
        wrong_bytes: 0.0,
        wrong_exits: 0.0,
        wrong_runs: 0.0,
    };
    for (number, set) in sets.into_iter().enumerate() {
        took.add(number, set.took);
        tally.wrong_bytes += set.tally.wrong_bytes;
        tally.wrong_exits += set.tally.wrong_exits;
        tally.wrong_runs += set.tally.wrong_runs;
    }
    let what = format!(
        "{} outages of up to {} s",
        took.samples(),
        bench.plan.outage_seconds
    );
    let mut rows: Vec<Row> = [
        ("p50", Statistic::P50, Some(bars::RECOVERY[0])),
        ("p99", Statistic::P99, Some(bars::RECOVERY[1])),
        ("p90", Statistic::P90, None),
    ]
    .map(|(name, statistic, bar)| {
        let estimate = bench.bootstrap.value(&took, statistic).times(1e3);
        let what = format!("{what}, from the relay's return to the next byte, {name}");
        Row::new(
            format!("outages_{name}"),
            what,
            Unit::Milliseconds,
            estimate,
            &took,
        )
        .bar(bar)
    })
    .into();
    rows.extend(tally.rows("outages", &what));
    Ok(rows)
}

struct Set {
    /// Seconds of each recovery.
    took: Vec<f64>,
    tally: Tally,
}

fn run(bench: &BenchContext, mut random: StdRng) -> Result<Set, Failure> {
    let mut stack = Stack::start(None)?;
    let client = client(&stack)?;
    let file = stack.directory().join("ran");
    let path = file.to_str().ok_or("the temporary directory is not UTF-8")?;
    client.ask(format!("endless {path}"))?;
    let mut took = Vec::new();
    for _ in 0..bench.plan.outages {
        sleep(Duration::from_secs_f64(random.random_range(UP[0]..UP[1])));
        let down = Duration::from_secs_f64(random.random_range(0.0..bench.plan.outage_seconds));
        let killed = unix_now_ns();
        stack.restart_relay(down)?;
        let back = unix_now_ns();
        took.extend(client.ask(format!("recovered {killed} {back}"))?);
    }
    let [wrong_bytes, wrong_exits] = client.ask("end")?[..] else {
        return Err("not two numbers".into());
    };
    let tally = Tally {
        wrong_bytes,
        wrong_exits,
        wrong_runs: wrong_runs(&file, 1)?,
    };
    Ok(Set { took, tally })
}
