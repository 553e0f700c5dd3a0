//! The latency from an exit to its caller while another call of the session streams.

use baton_bench::stats::{Bar, Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker};

use super::BenchContext;
use crate::bars;
use crate::peers::Baton;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
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
    let executions = bench.plan.executions;
    let [exits, rates] = bench.plan.beside.measure_warm(
        loads.len(),
        |_| Baton::start(),
        |baton, visited| loads[visited].visit(&baton.client, executions),
    )?;
    Ok(rows(bench, &loads, &exits, &rates))
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

    /// Milliseconds of each exit beside this load, and the throughput of the stream.
    pub(super) fn visit(&self, client: &Worker, executions: usize) -> Result<[Vec<f64>; 2], Failure> {
        let mut rate = client.ask(format!("beside {} {executions}", self.rate))?;
        let exits = rate.split_off(1);
        Ok([exits, rate])
    }
}

/// Rows of the samples of [`Load::visit`], by load. The throughput is reported because a scheduler could meet the bars
/// by starving the stream.
pub(super) fn rows(bench: &BenchContext, loads: &[Load], exits: &[Rounds], rates: &[Rounds]) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((load, exits), rates) in loads.iter().zip(exits).zip(rates) {
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
            let estimate = bench.bootstrap.value(rates, Statistic::Mean).times(1e-6);
            let id = format!("stream_beside_exits_{}", load.id);
            let what = format!("{}, meanwhile", load.what);
            rows.push(Row::new(id, what, Unit::MegabytesPerSecond, estimate, rates));
        }
    }
    rows
}
