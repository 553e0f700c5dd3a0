//! Sequential executions of `/bin/true`: a warm `Run` and a warm `Start` beside a local program with the same stdin.

use baton_bench::floor::{Flavour, StartMethod};
use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Row, Unit};

use super::{BenchContext, CLIENT, FloorKind, Participant};
use crate::Failure;
use crate::bars;
use crate::protocol::Task;

/// The floors. The first two are judged, the next two are for A against A; the others have no bar.
pub(super) const FLOORS: [FloorKind; 6] = [
    (StartMethod::Std, Flavour::ALL[0]),
    (StartMethod::Std, Flavour::ALL[1]),
    (StartMethod::Std, Flavour::ALL[0]),
    (StartMethod::Std, Flavour::ALL[1]),
    (StartMethod::Clone, Flavour::ALL[0]),
    (StartMethod::Clone, Flavour::ALL[1]),
];

/// What Baton does, its floor's task, and the names.
const TASKS: [(Task, &str, &str); 2] = [
    (Task::Sequential, "run", "warm `Run`"),
    (Task::Piped, "run_piped", "warm `Start`, three pipes"),
];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let tasks = TASKS.map(|(task, ..)| task);
    let of_process = |process| tasks.map(|task| Participant { process, task });
    let participants: Vec<_> = (CLIENT..=FLOORS.len()).flat_map(of_process).collect();
    let measured = bench.beside_floors(&FLOORS, &participants, bench.plan.latency)?;

    let mut rows = Vec::new();
    for (task, (_, id, what)) in TASKS.into_iter().enumerate() {
        let of = |process: usize| &measured[process * TASKS.len() + task];
        let own = of(CLIENT);
        let floors: Vec<_> = (1..=FLOORS.len()).map(of).collect();
        let (judged, floors) = floors.split_at(Flavour::ALL.len());
        let (again, clones) = floors.split_at(Flavour::ALL.len());
        for (percentile, statistic, bar) in [
            ("p50", Statistic::P50, bars::RUN_P50),
            ("p99", Statistic::P99, bars::RUN_P99),
        ] {
            let ratio = |over: &Rounds, under: &Rounds| bench.bootstrap.ratio(over, under, statistic);
            let best = bench.best(judged, statistic);
            let (floor, name) = (judged[best], Flavour::ALL[best].name());
            rows.push(
                Row::new(
                    format!("{id}_over_floor_{percentile}"),
                    format!("{what} over the floor ({name}), {percentile}"),
                    Unit::Times,
                    ratio(own, floor),
                    own,
                )
                .noise(ratio(again[best], floor))
                .bar(Some(bar)),
            );
            let best = bench.best(clones, statistic);
            let (clone, clone_name) = (clones[best], Flavour::ALL[best].name());
            rows.push(Row::new(
                format!("{id}_over_clone_{percentile}"),
                format!("{what} over a floor that clones as Baton does ({clone_name}), {percentile}"),
                Unit::Times,
                ratio(own, clone),
                own,
            ));
            for (id, what, of) in [
                (id.to_owned(), what.to_owned(), own),
                (format!("{id}_floor"), format!("its floor ({name})"), floor),
                (
                    format!("{id}_clone"),
                    format!("its floor that clones ({clone_name})"),
                    clone,
                ),
            ] {
                let milliseconds = bench.bootstrap.value(of, statistic).times(1e3);
                let (id, what) = (format!("{id}_{percentile}"), format!("{what}, {percentile}"));
                rows.push(Row::new(id, what, Unit::Milliseconds, milliseconds, of));
            }
        }
    }
    Ok(rows)
}
