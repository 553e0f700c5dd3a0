//! The remainder of an execution's envelope, and the latency of its exit event.

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Row, Unit};

use super::{BenchContext, Participant, interleave};
use crate::Failure;
use crate::bars;
use crate::protocol::Task;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let baton = bench.traced()?;
    let participants = [Task::Remainder, Task::Exit].map(|task| Participant {
        worker: &baton.client,
        task,
    });
    bench.warm_up(&participants)?;
    let measured = interleave(&participants, bench.plan.accounts, |_| Ok(()))?;
    let [remainder, exit] = &measured[..] else {
        return Err("not two participants".into());
    };
    let row = |id, what: &str, unit, rounds: &Rounds, statistic, bar| {
        let estimate = bench.bootstrap.value(rounds, statistic);
        Row::new(id, what, unit, estimate, rounds).bar(Some(bar))
    };
    let (percent, milliseconds) = (Unit::Percent, Unit::Milliseconds);
    let (p50, p90, p99) = (Statistic::P50, Statistic::P90, Statistic::P99);
    let rows = vec![
        row(
            "remainder_p50",
            "remainder of the envelope, p50",
            percent,
            remainder,
            p50,
            bars::REMAINDER_P50,
        ),
        row(
            "remainder_p90",
            "remainder of the envelope, p90",
            percent,
            remainder,
            p90,
            bars::REMAINDER_P90,
        ),
        row(
            "exit_p50",
            "exit observed → in the caller's hands, p50",
            milliseconds,
            exit,
            p50,
            bars::EXIT_P50,
        ),
        row(
            "exit_p99",
            "exit observed → in the caller's hands, p99",
            milliseconds,
            exit,
            p99,
            bars::EXIT_P99,
        ),
    ];
    bench.stop_traced(baton)?;
    Ok(rows)
}
