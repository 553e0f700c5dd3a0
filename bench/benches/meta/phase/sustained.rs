//! The sustained rate of durable records, beside SQLite alone with the same rows in batches of the same size.

use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit, Worker, in_sets, start_in_turns};

use super::BenchContext;
use crate::bars;

/// The second SQLite is for A against A.
const ROLES: [&str; 3] = ["sustain", "sqlite", "sqlite"];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let directory = bench.directory.to_str().ok_or("the directory is not UTF-8")?;
    let measured = in_sets(
        bench.plan.sustain,
        ROLES.len(),
        |set| {
            start_in_turns(set, ROLES.len(), |role| {
                Worker::start(&[ROLES[role], directory], None)
            })
        },
        |workers, visited| workers[visited].ask(bench.plan.sustain_seconds),
        |workers: Vec<Worker>| workers.into_iter().try_for_each(Worker::end),
    )?;
    let [own, peer, peer_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let what = "records made durable a second, over SQLite's own batched inserts";
    let rate = |id: &str, what: &str, of| {
        let estimate = bench.bootstrap.value(of, Statistic::Rate);
        Row::new(id, what, Unit::PerSecond, estimate, of)
    };
    Ok(vec![
        bench.ratio(
            "sustained_over_sqlite",
            what,
            [own, peer, peer_again],
            Statistic::Rate,
            Some(bars::SUSTAINED),
        ),
        rate("sustained", "records made durable", own),
        rate("sqlite", "SQLite alone", peer),
    ])
}
