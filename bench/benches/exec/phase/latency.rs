//! Sequential executions of `/bin/true`: a warm `Run` beside a local spawn.

use baton_bench::floor::Flavour;
use baton_bench::stats::{Bar, Rounds, Statistic};
use baton_bench::{Row, Unit};

use super::{BenchContext, Participant, interleave};
use crate::Failure;
use crate::bars;
use crate::protocol::Task;
use crate::worker::Worker;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let baton = bench.traced()?;
    // Each flavour of the floor twice: the second is for A against A.
    let floors = [Flavour::ALL, Flavour::ALL].concat();
    let floors: Vec<Worker> = floors.into_iter().map(Worker::floor).collect::<Result<_, _>>()?;
    let client = &baton.client;
    let own = [Task::Sequential, Task::Piped].map(|task| (client, task));
    let floor = floors.iter().map(|floor| (floor, Task::Sequential));
    let participants: Vec<_> = own
        .into_iter()
        .chain(floor)
        .map(|(worker, task)| Participant { worker, task })
        .collect();
    bench.warm_up(&participants)?;
    let measured = interleave(&participants, bench.plan.latency, |_| Ok(()))?;
    let [run, piped, floors @ ..] = &measured[..] else {
        return Err("no participants".into());
    };
    let (first, second) = floors.split_at(Flavour::ALL.len());

    let mut rows = Vec::new();
    for (percentile, statistic, bar) in [
        ("p50", Statistic::P50, bars::RUN_P50),
        ("p99", Statistic::P99, bars::RUN_P99),
    ] {
        let of = |rounds: &Rounds| bench.bootstrap.value(rounds, statistic);
        let best = better(&first.iter().map(of).map(|value| value.value).collect::<Vec<_>>());
        let name = Flavour::ALL[best].name();
        let noise = bench.bootstrap.ratio(&second[best], &first[best], statistic);
        let ratio = |over, bar: Option<Bar>, id, what: String| {
            let id = format!("{id}_{percentile}");
            let estimate = bench.bootstrap.ratio(over, &first[best], statistic);
            Row::new(id, what, Unit::Times, estimate, over)
                .noise(noise)
                .bar(bar)
        };
        rows.push(ratio(
            run,
            Some(bar),
            "run_over_floor",
            format!("warm `Run` over the floor ({name}), {percentile}"),
        ));
        let what = format!("the same with stdin as a pipe, {percentile}");
        rows.push(ratio(piped, None, "run_piped_over_floor", what));
        for (id, what, rounds) in [
            ("run", "warm `Run`".to_owned(), run),
            ("floor", format!("floor ({name})"), &first[best]),
        ] {
            let milliseconds = of(rounds).times(1e3);
            let (id, what) = (format!("{id}_{percentile}"), format!("{what}, {percentile}"));
            rows.push(Row::new(id, what, Unit::Milliseconds, milliseconds, rounds));
        }
    }
    bench.stop_traced(baton)?;
    Ok(rows)
}

/// The index of the smallest value.
fn better(values: &[f64]) -> usize {
    let smallest = (0..values.len()).min_by(|a, b| values[*a].total_cmp(&values[*b]));
    smallest.unwrap_or_default()
}
