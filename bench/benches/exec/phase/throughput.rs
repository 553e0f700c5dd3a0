//! Many executions in flight on one session, beside the same number of local commands in flight.

use baton_bench::floor::Flavour;
use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Row, Unit};

use super::latency::FLOORS;
use super::{BenchContext, CLIENT, Participant};
use crate::Failure;
use crate::bars;
use crate::protocol::Task;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let width = bench.plan.width;
    let task = Task::InFlight(width);
    let participants: Vec<_> = (CLIENT..=FLOORS.len())
        .map(|process| Participant { process, task })
        .collect();
    let measured = bench.beside_floors(&FLOORS, &participants, bench.plan.throughput)?;
    let own = &measured[CLIENT];
    let floors: Vec<_> = measured[CLIENT + 1..].iter().collect();
    let (judged, floors) = floors.split_at(Flavour::ALL.len());
    let (again, clones) = floors.split_at(Flavour::ALL.len());

    let statistic = Statistic::Rate;
    let ratio = |over: &Rounds, under: &Rounds| bench.bootstrap.ratio(over, under, statistic);
    let best = bench.best(judged, statistic);
    let name = Flavour::ALL[best].name();
    let what = format!("{width} in flight, executions/s over the better floor ({name})");
    let mut rows = vec![
        Row::new(
            "in_flight_over_floor",
            what,
            Unit::Times,
            ratio(own, judged[best]),
            own,
        )
        .noise(ratio(again[best], judged[best]))
        .bar(Some(bars::IN_FLIGHT)),
    ];
    let best = bench.best(clones, statistic);
    let name = Flavour::ALL[best].name();
    let what = format!("the same over the better floor that clones as Baton does ({name})");
    rows.push(Row::new(
        "in_flight_over_clone",
        what,
        Unit::Times,
        ratio(own, clones[best]),
        own,
    ));
    let what = format!("{width} in flight");
    let rate = bench.bootstrap.value(own, statistic);
    rows.push(Row::new("in_flight", what, Unit::PerSecond, rate, own));
    let absolute = judged.iter().zip(&FLOORS).chain(clones.iter().zip(&FLOORS[4..]));
    for (rounds, (method, flavour)) in absolute {
        let (method, flavour) = (method.name(), flavour.name());
        let what = format!("floor ({method}, {flavour}), {width} in flight");
        let id = format!("floor_in_flight_{method}_{flavour}");
        let rate = bench.bootstrap.value(rounds, statistic);
        rows.push(Row::new(id, what, Unit::PerSecond, rate, rounds));
    }
    Ok(rows)
}
