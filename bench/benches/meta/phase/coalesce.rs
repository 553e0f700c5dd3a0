//! 50,000 patches per second of 1,000 threads: the number of rows written, and the time to accept a patch.

use std::thread;
use std::time::{Duration, Instant};

use baton_bench::stats::{Estimate, Rounds, Statistic};
use baton_bench::{Failure, Row, Unit};

use super::BenchContext;
use crate::records::value;
use crate::state::State;
use crate::{bars, records};

const THREADS: u32 = 1_000;
const PER_SECOND: f64 = 50_000.0;
/// The interval between two bursts of patches.
const BURST: Duration = Duration::from_millis(1);

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let state = State::start(&bench.directory)?;
    // Not measured: the creation of the threads, and the first commit of a new database.
    for thread in 0..THREADS {
        state.handle.accept(value(thread, 0))?;
    }
    state.handle.accept(records::whole(0))?;
    runtime.block_on(state.handle.flush())?;

    let before = state.handle.stats();
    let mut took = Vec::new();
    let mut sent = 0_u64;
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < bench.plan.coalesce_seconds {
        let due = (started.elapsed().as_secs_f64() * PER_SECOND) as u64;
        while sent < due {
            // Scatters the patches evenly over all threads.
            let thread = (sent.wrapping_mul(7_919) % u64::from(THREADS)) as u32;
            let patch = value(thread, sent / u64::from(THREADS));
            let since = Instant::now();
            state.handle.accept(patch)?;
            took.push(since.elapsed().as_secs_f64());
            sent += 1;
        }
        thread::sleep(BURST);
    }
    runtime.block_on(state.handle.flush())?;
    let seconds = started.elapsed().as_secs_f64();
    let after = state.handle.stats();
    runtime.block_on(state.end())?;

    let per_patch = (after.rows - before.rows) as f64 / (after.accepted - before.accepted) as f64;
    let took = Rounds::from([&took[..]]);
    let accept = |id: &str, statistic| {
        let estimate = bench.bootstrap.value(&took, statistic).times(1e6);
        Row::new(
            id,
            format!("handing a patch over, {id}"),
            Unit::Microseconds,
            estimate,
            &took,
        )
    };
    Ok(vec![
        Row::once(
            "rows_per_patch",
            "rows written for each patch, 1,000 threads with two values, 50,000 patches/s",
            Unit::Times,
            Estimate::exact(per_patch),
        )
        .bar(Some(bars::COALESCE)),
        Row::once(
            "patches_per_second",
            "patches accepted a second, until all are durable",
            Unit::PerSecond,
            Estimate::exact(sent as f64 / seconds),
        ),
        Row::once(
            "batches",
            "transactions",
            Unit::PerSecond,
            Estimate::exact((after.batches - before.batches) as f64 / seconds),
        ),
        accept("accept_p50", Statistic::P50),
        accept("accept_p99", Statistic::P99),
    ])
}
