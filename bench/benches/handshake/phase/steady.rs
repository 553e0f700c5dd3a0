//! Handshakes of both ends in a process that has done many.

use baton_bench::{Failure, Row, Worker, start_in_turns};
use baton_noise::SUITE;

use super::{BenchContext, Compared};
use crate::classical;

/// The third is for A against A.
const ROLES: [&str; 3] = ["own", "classical", "classical"];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let handshakes = bench.plan.steady_handshakes;
    let start = |set| {
        start_in_turns(set, ROLES.len(), |role| {
            Worker::start(&["steady", ROLES[role]], None)
        })
    };
    let visit = |workers: &Vec<Worker>, visited: usize| Ok([workers[visited].ask(handshakes)?]);
    let [measured] = bench.plan.steady.measure_warm(ROLES.len(), start, visit)?;
    let [own, floor, floor_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let compared = Compared {
        own,
        floor,
        floor_again,
    };
    let floor_suite = classical::SUITE;
    Ok(vec![
        bench.ratio(
            "steady_ratio",
            format!("handshake of both ends, Baton's {SUITE} over {floor_suite}, p50"),
            compared,
        ),
        bench.milliseconds("steady_own", format!("handshake, Baton's {SUITE}, p50"), own),
        bench.milliseconds(
            "steady_classical",
            format!("handshake, {floor_suite}, p50"),
            floor,
        ),
    ])
}
