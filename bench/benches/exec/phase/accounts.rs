//! The spans of an execution: how much of the envelope they explain, how much of the caller's time the envelope covers,
//! and the latency of the exit event.

use baton_bench::stats::{Bar, Estimate, Rounds, Statistic};
use baton_bench::{Row, Unit};

use super::{BenchContext, CLIENT, Participant};
use crate::Failure;
use crate::bars;
use crate::protocol::Task;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let before = bench.exports()?;
    let participants = [Task::Remainder, Task::Envelope, Task::Exit].map(|task| Participant {
        process: CLIENT,
        task,
    });
    let measured = bench.beside_floors(&[], &participants, bench.plan.accounts)?;
    // Every process set has stopped, so its spans have arrived.
    let after = bench.exports()?;
    let [remainder, envelope, exit] = &measured[..] else {
        return Err("not three participants".into());
    };
    let row = |id, what: &str, unit, rounds: &Rounds, (percentile, statistic), bar: Bar| {
        let estimate = bench.bootstrap.value(rounds, statistic);
        let (id, what) = (format!("{id}_{percentile}"), format!("{what}, {percentile}"));
        Row::new(id, what, unit, estimate, rounds).bar(Some(bar))
    };
    let p50 = ("p50", Statistic::P50);
    let p90 = ("p90", Statistic::P90);
    let p99 = ("p99", Statistic::P99);
    let what = "remainder of the envelope";
    let exited = "exit observed → in the caller's hands";
    let spans = (after.spans - before.spans) / (after.executions - before.executions);
    Ok(vec![
        row(
            "remainder",
            what,
            Unit::Percent,
            remainder,
            p50,
            bars::REMAINDER_P50,
        ),
        row(
            "remainder",
            what,
            Unit::Percent,
            remainder,
            p90,
            bars::REMAINDER_P90,
        ),
        row(
            "envelope_over_wall",
            "envelope over the wall clock around the await",
            Unit::Times,
            envelope,
            p50,
            bars::ENVELOPE,
        ),
        row("exit", exited, Unit::Milliseconds, exit, p50, bars::EXIT_P50),
        row("exit", exited, Unit::Milliseconds, exit, p99, bars::EXIT_P99),
        Row::once(
            "spans",
            "spans per execution, those of sessions included",
            Unit::Count,
            Estimate::exact(spans),
        ),
    ])
}
