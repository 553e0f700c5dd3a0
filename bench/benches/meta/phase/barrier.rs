//! The latency of a barrier, from accepting a record until it is durable, beside an append and its fsync on the same
//! disk.

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use baton_bench::stats::{Bar, Estimate, Rounds, Statistic};
use baton_bench::{Failure, Row, Unit};
use baton_metadata::WriterHandle;
use tokio::runtime::Runtime;

use super::{BenchContext, Visit};
use crate::bars;
use crate::options::Barriers;
use crate::records::{end, exited, spawned, start, whole};
use crate::state::State;

/// Executions per second. Each makes the four patches that an exec-server makes of an execution.
const LOAD: f64 = 2_000.0;
/// The first id of the load, so that its records are not those of the barriers.
const LOAD_IDS: u64 = 1 << 40;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let (idle, loaded) = (bench.plan.idle, bench.plan.loaded);
    for (id, what, load, plan, bar) in [
        ("idle", "idle", false, idle, bars::BARRIER[0]),
        (
            "loaded",
            "beside the updates of 2,000 executions/s",
            true,
            loaded,
            bars::BARRIER[1],
        ),
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let state = State::start(&bench.directory)?;
        let over = AtomicBool::new(false);
        let (measured, beside) = thread::scope(|scope| {
            let beside = load.then(|| scope.spawn(|| executions(&state.handle, &over)));
            let measured = visits(bench, plan, &runtime, &state.handle);
            over.store(true, Ordering::Relaxed);
            (measured, beside.map(|beside| beside.join()))
        });
        let measured = measured?;
        runtime.block_on(state.end())?;
        let [own, peer, peer_again] = &measured[..] else {
            return Err("not three participants".into());
        };
        rows.extend(judge(bench, [id, what], [own, peer, peer_again], bar));
        if let Some(beside) = beside {
            let rate = beside.map_err(|_| "the load panicked")??;
            let what = "executions/s whose updates were accepted beside it";
            rows.push(Row::once("load", what, Unit::PerSecond, Estimate::exact(rate)));
        }
    }
    Ok(rows)
}

fn visits(
    bench: &BenchContext,
    plan: Barriers,
    runtime: &Runtime,
    handle: &WriterHandle,
) -> Result<Vec<Rounds>, Failure> {
    let n = Cell::new(0);
    let barrier = || {
        n.set(n.get() + 1);
        let since = Instant::now();
        handle.accept(whole(n.get()))?;
        runtime.block_on(handle.flush())?;
        Ok(since.elapsed().as_secs_f64())
    };
    let [first, second] = [
        tempfile::tempfile_in(&bench.directory)?,
        tempfile::tempfile_in(&bench.directory)?,
    ];
    let visit = |once: &dyn Fn() -> Result<f64, Failure>| {
        (0..plan.visit)
            .map(|_| {
                thread::sleep(plan.pause);
                once()
            })
            .collect()
    };
    let participants: [Visit<'_>; 3] = [
        Box::new(|| visit(&barrier)),
        Box::new(|| visit(&|| fsync(&first))),
        Box::new(|| visit(&|| fsync(&second))),
    ];
    bench.interleave(plan.rounds, &participants)
}

/// Appends one page and syncs the file. Returns the seconds.
fn fsync(mut file: &File) -> Result<f64, Failure> {
    let since = Instant::now();
    file.write_all(&[0x5a; 4096])?;
    file.sync_data()?;
    Ok(since.elapsed().as_secs_f64())
}

/// Accepts the patches of [`LOAD`] executions per second until `over`. Returns the achieved rate.
fn executions(handle: &WriterHandle, over: &AtomicBool) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut n = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * LOAD) as u64;
        while n < due {
            let id = LOAD_IDS + n;
            for update in [start(id), spawned(id), exited(id), end(id)] {
                handle.accept(update)?;
            }
            n += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(n as f64 / started.elapsed().as_secs_f64())
}

fn judge(bench: &BenchContext, [id, what]: [&str; 2], measured: [&Rounds; 3], bar: Bar) -> Vec<Row> {
    let [own, peer, _] = measured;
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
        milliseconds("fsync", "fsync", peer, "p50", Statistic::P50),
        milliseconds("fsync", "fsync", peer, "p99", Statistic::P99),
    ]
}
