//! Many executions in flight on one session, beside the same number of local spawns in flight.

use baton_bench::floor::Flavour;
use baton_bench::stats::Statistic;
use baton_bench::{Row, Unit};

use super::{BenchContext, Participant, interleave};
use crate::Failure;
use crate::bars;
use crate::protocol::Task;
use crate::worker::Worker;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let width = bench.plan.width;
    let task = Task::InFlight(width);
    let baton = bench.traced()?;
    // Each flavour of the floor twice: the second is for A against A.
    let floors = [Flavour::ALL, Flavour::ALL].concat();
    let floors: Vec<Worker> = floors.into_iter().map(Worker::floor).collect::<Result<_, _>>()?;
    let participants: Vec<_> = [&baton.client]
        .into_iter()
        .chain(&floors)
        .map(|worker| Participant { worker, task })
        .collect();
    bench.warm_up(&participants)?;
    let measured = interleave(&participants, bench.plan.throughput, |_| Ok(()))?;
    let [run, floors @ ..] = &measured[..] else {
        return Err("no participants".into());
    };
    let (first, second) = floors.split_at(Flavour::ALL.len());

    let statistic = Statistic::Rate;
    let rates: Vec<_> = first
        .iter()
        .map(|rounds| bench.bootstrap.value(rounds, statistic))
        .collect();
    let best = (0..rates.len())
        .max_by(|a, b| rates[*a].value.total_cmp(&rates[*b].value))
        .unwrap_or_default();
    let name = Flavour::ALL[best].name();
    let noise = bench.bootstrap.ratio(&second[best], &first[best], statistic);
    let ratio = bench.bootstrap.ratio(run, &first[best], statistic);
    let what = format!("{width} in flight, executions/s over the better floor ({name})");
    let per_second = bench.bootstrap.value(run, statistic);
    let mut rows = vec![
        Row::new("in_flight_over_floor", what, Unit::Times, ratio, run)
            .noise(noise)
            .bar(Some(bars::IN_FLIGHT)),
        Row::new(
            "in_flight",
            format!("{width} in flight"),
            Unit::PerSecond,
            per_second,
            run,
        ),
    ];
    for ((flavour, rate), rounds) in Flavour::ALL.iter().zip(rates).zip(first) {
        let what = format!("floor ({}), {width} in flight", flavour.name());
        let id = format!("floor_in_flight_{}", flavour.name());
        rows.push(Row::new(id, what, Unit::PerSecond, rate, rounds));
    }
    bench.stop_traced(baton)?;
    Ok(rows)
}
