//! The latency from an exit to its caller while another call of the session streams.

use std::cell::Cell;

use baton_bench::stats::{Bar, Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker, interleave};

use super::BenchContext;
use crate::bars;
use crate::peers::Baton;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let baton = Baton::start()?;
    let loads = [
        Load::new("idle", "0", "nothing", None),
        Load::new(
            "paced",
            "100000000",
            "a stream of 100 MB/s",
            Some(bars::EXIT_BESIDE_PACED),
        ),
        Load::new(
            "full",
            "full",
            "a stream at full speed",
            Some(bars::EXIT_BESIDE_FULL),
        ),
    ];
    exits(
        bench,
        &baton.client,
        &loads,
        bench.plan.rounds,
        bench.plan.executions,
    )
}

/// The stream beside the executions.
pub(super) struct Load {
    id: &'static str,
    rate: &'static str,
    what: &'static str,
    /// Bars of the median and the 99th percentile, in milliseconds.
    bars: Option<[Bar; 2]>,
}

impl Load {
    pub(super) const fn new(
        id: &'static str,
        rate: &'static str,
        what: &'static str,
        bars: Option<[Bar; 2]>,
    ) -> Self {
        Self { id, rate, what, bars }
    }
}

/// Measures exits beside each load, interleaved. Also reports the throughput of the streams, because a scheduler could
/// meet the bars by starving the stream.
pub(super) fn exits(
    bench: &BenchContext,
    client: &Worker,
    loads: &[Load],
    rounds: usize,
    executions: usize,
) -> Result<Vec<Row>, Failure> {
    let mut rates = vec![Rounds::default(); loads.len()];
    let round = Cell::new(0);
    let measured = interleave(
        loads.len(),
        rounds,
        |visited| {
            let mut exits = client.ask(format!("beside {} {executions}", loads[visited].rate))?;
            rates[visited].add(round.get(), [exits.remove(0)]);
            Ok(exits)
        },
        |done| {
            round.set(done);
            Ok(())
        },
    )?;
    let mut rows = Vec::new();
    for ((load, exits), rates) in loads.iter().zip(&measured).zip(rates) {
        for (index, (percentile, statistic)) in [("p50", Statistic::P50), ("p99", Statistic::P99)]
            .into_iter()
            .enumerate()
        {
            let estimate = bench.bootstrap.value(exits, statistic);
            let id = format!("exit_beside_{}_{percentile}", load.id);
            let what = format!("exit → caller beside {}, {percentile}", load.what);
            let row = Row::new(id, what, Unit::Milliseconds, estimate, exits);
            rows.push(row.bar(load.bars.map(|bars| bars[index])));
        }
        if load.rate != "0" {
            let estimate = bench.bootstrap.value(&rates, Statistic::Mean).times(1e-6);
            let id = format!("stream_beside_exits_{}", load.id);
            let what = format!("{}, meanwhile", load.what);
            rows.push(Row::new(id, what, Unit::MegabytesPerSecond, estimate, &rates));
        }
    }
    Ok(rows)
}
