//! The latency of a barrier, from accepting a record until it is durable, beside an append and its fsync on the same
//! disk. Each is done in a process of its own, which is started anew many times, with a new database.

use std::cell::Cell;

use baton_bench::stats::{Bar, Estimate, Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker, in_sets, start_in_turns};

use super::BenchContext;
use crate::bars;

/// The second peer is for A against A.
const ROLES: [&str; 3] = ["barrier", "fsync", "fsync"];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let directory = bench.directory.to_str().ok_or("the directory is not UTF-8")?;
    let mut rows = Vec::new();
    let (idle, loaded) = (bench.plan.idle, bench.plan.loaded);
    for (id, what, has_load, plan, bar) in [
        ("idle", "idle", false, idle, bars::BARRIER[0]),
        (
            "loaded",
            "beside the updates of 2,000 executions/s",
            true,
            loaded,
            bars::BARRIER[1],
        ),
    ] {
        let (rates, checkpoints) = (Cell::new(0.0), Cell::new(0));
        let start = |set| {
            let workers = start_in_turns(set, ROLES.len(), |role| {
                Worker::start(&[ROLES[role], directory], None)
            })?;
            // The load runs beside the peer's visits as well.
            if has_load {
                workers[0].ask("load")?;
            }
            Ok(workers)
        };
        let request = format!("visit {} {}", plan.visit, plan.pause.as_millis());
        let stop = |workers: Vec<Worker>| {
            let [rate, some] = workers[0].ask("end")?[..] else {
                return Err("not two numbers".into());
            };
            rates.update(|rates| rates + rate);
            checkpoints.update(|checkpoints| checkpoints + some as u32);
            workers.into_iter().try_for_each(Worker::end)
        };
        let visit = |workers: &Vec<Worker>, visited: usize| workers[visited].ask(&request);
        let measured = in_sets(plan.sets, ROLES.len(), start, visit, stop)?;
        let [own, peer, peer_again] = &measured[..] else {
            return Err("not three participants".into());
        };
        let measured = [own, peer, peer_again];
        rows.extend(judge(bench, [id, what], measured, checkpoints.get(), bar));
        if has_load {
            let what = "executions/s whose updates were accepted beside it";
            let rate = rates.get() / plan.sets.balanced(ROLES.len()).sets as f64;
            rows.push(Row::once("load", what, Unit::PerSecond, Estimate::exact(rate)));
        }
    }
    Ok(rows)
}

fn judge(
    bench: &BenchContext,
    [id, what]: [&str; 2],
    measured: [&Rounds; 3],
    checkpoints: u32,
    bar: Bar,
) -> Vec<Row> {
    let [own, peer, _] = measured;
    let p999 = |checkpoints: u32| {
        let id = format!("barrier_{id}_p999");
        let what = format!("barrier, {what}, {checkpoints} checkpoints among them, p99.9");
        match checkpoints {
            0 => Row::absent(id, what, Unit::Milliseconds, "there was no checkpoint"),
            _ => {
                let estimate = bench.bootstrap.value(own, Statistic::P999).times(1e3);
                Row::new(id, what, Unit::Milliseconds, estimate, own)
            }
        }
    };
    let milliseconds = |who: &str, name: &str, of: &Rounds, percentile: &str, statistic| {
        let estimate = bench.bootstrap.value(of, statistic).times(1e3);
        let (id, what) = (
            format!("{who}_{id}_{percentile}"),
            format!("{name}, {what}, {percentile}"),
        );
        Row::new(id, what, Unit::Milliseconds, estimate, of)
    };
    let ratio = |percentile: &str, statistic, bar| {
        let id = format!("barrier_over_fsync_{id}_{percentile}");
        let what = format!("barrier over fsync, {what}, {percentile}");
        bench.ratio(&id, &what, measured, statistic, bar)
    };
    vec![
        ratio("p99", Statistic::P99, Some(bar)),
        ratio("p50", Statistic::P50, None),
        milliseconds("barrier", "barrier", own, "p50", Statistic::P50),
        milliseconds("barrier", "barrier", own, "p99", Statistic::P99),
        p999(checkpoints),
        milliseconds("fsync", "fsync", peer, "p50", Statistic::P50),
        milliseconds("fsync", "fsync", peer, "p99", Statistic::P99),
    ]
}
