//! Commands that do something else than exit at once: a `cat` that answers, and a `sleep` that is silent for ten
//! milliseconds.

use baton_bench::floor::{Flavour, StartMethod};
use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Row, Unit};

use super::{BenchContext, CLIENT, FloorKind, Participant};
use crate::Failure;
use crate::protocol::Task;

/// The second is for A against A.
const FLOORS: [FloorKind; 2] = [(StartMethod::Std, Flavour::CurrentThread); 2];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let participants = [
        (CLIENT, Task::Cat),
        (1, Task::Cat),
        (2, Task::Cat),
        (CLIENT, Task::Sleep),
        (1, Task::Sleep),
        (2, Task::Sleep),
        (CLIENT, Task::Started),
    ]
    .map(|(process, task)| Participant { process, task });
    let measured = bench.beside_floors(&FLOORS, &participants, bench.plan.programs)?;
    let [
        cat,
        local_cat,
        cat_again,
        sleep,
        local_sleep,
        sleep_again,
        started,
    ] = &measured[..]
    else {
        return Err("not seven participants".into());
    };
    let mut rows = Vec::new();
    for (percentile, statistic) in [("p50", Statistic::P50), ("p99", Statistic::P99)] {
        let milliseconds = |id: &str, what: &str, of: &Rounds| {
            let value = bench.bootstrap.value(of, statistic).times(1e3);
            let (id, what) = (format!("{id}_{percentile}"), format!("{what}, {percentile}"));
            Row::new(id, what, Unit::Milliseconds, value, of)
        };
        for (id, what, [own, floor, again]) in [
            (
                "cat",
                "round trip of a byte through a running `cat`",
                [cat, local_cat, cat_again],
            ),
            (
                "sleep",
                "warm `Run` of `sleep 0.01`",
                [sleep, local_sleep, sleep_again],
            ),
        ] {
            let ratio = |over| bench.bootstrap.ratio(over, floor, statistic);
            rows.push(
                Row::new(
                    format!("{id}_over_floor_{percentile}"),
                    format!("{what} over the floor, {percentile}"),
                    Unit::Times,
                    ratio(own),
                    own,
                )
                .noise(ratio(again)),
            );
            rows.push(milliseconds(id, what, own));
            rows.push(milliseconds(&format!("{id}_floor"), "its floor", floor));
        }
        let what = "`Client::start` of a command silent for 10 ms, until `Started`";
        rows.push(milliseconds("started", what, started));
    }
    Ok(rows)
}
