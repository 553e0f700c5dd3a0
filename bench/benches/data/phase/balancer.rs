//! One relay behind HAProxy over the same relay alone: streams, and a warm `Run`. Both legs pass through HAProxy.

use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit, fleet, start_in_turns};

use super::{BenchContext, Compared, one, per_megabyte};
use crate::bars;
use crate::peers::Baton;

const STREAMS: [&str; 2] = ["download", "upload"];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    if let Some(why) = fleet::missing() {
        let mut rows = Vec::from(STREAMS.map(|direction| {
            let (id, what) = stream_names(direction);
            Row::absent(id, what, Unit::Times, why.clone()).bar(Some(bars::BALANCER_STREAM))
        }));
        let (id, what) = run_names();
        rows.push(Row::absent(id, what, Unit::Milliseconds, why).bar(Some(bars::BALANCER_RUN)));
        return Ok(rows);
    }
    // The third participant is for A against A.
    let start = |set: usize| {
        start_in_turns(set, 3, |process| match process {
            0 => Baton::start_fleet(1, 1),
            _ => Baton::start(),
        })
    };
    let mut rows = Vec::new();
    let bytes = bench.plan.bulk_bytes;
    for direction in STREAMS {
        let visit = |processes: &Vec<Baton>, visited: usize| {
            let seconds = processes[visited].client.ask(format!("{direction} {bytes}"))?;
            Ok(per_megabyte(one(seconds)?, bytes))
        };
        let measured = bench.in_sets(bench.plan.bulk, 3, start, visit)?;
        let [own, peer, peer_again] = &measured[..] else {
            return Err("not three participants".into());
        };
        let (id, what) = stream_names(direction);
        let compared = Compared {
            own,
            peer,
            peer_again: Some(peer_again),
            bar: Some(bars::BALANCER_STREAM),
        };
        rows.push(bench.ratio(id, what, compared, Statistic::Rate));
        for (id, what, of) in [("balancer", "through HAProxy", own), ("direct", "direct", peer)] {
            let id = format!("{direction}_{id}");
            rows.push(bench.throughput(id, format!("{direction}, {what}"), of));
        }
    }
    let request = format!("sequential {} {}", bench.plan.warm_up, bench.plan.executions);
    let visit = |processes: &Vec<Baton>, visited: usize| processes[visited].client.ask(&request);
    let measured = bench.in_sets(bench.plan.warm, 3, start, visit)?;
    let [own, peer, peer_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let added = |of| {
        let difference = bench.bootstrap.difference(of, peer, Statistic::P50);
        difference.times(1e3)
    };
    let (id, what) = run_names();
    rows.push(
        Row::new(id, what, Unit::Milliseconds, added(own), own)
            .noise(added(peer_again))
            .bar(Some(bars::BALANCER_RUN)),
    );
    rows.push(bench.milliseconds(
        "run_direct".to_owned(),
        "warm `Run`, direct, p50".to_owned(),
        peer,
        Statistic::P50,
    ));
    Ok(rows)
}

fn stream_names(direction: &str) -> (String, String) {
    (
        format!("{direction}_balancer_over_direct"),
        format!("{direction} through HAProxy over direct"),
    )
}

fn run_names() -> (String, String) {
    (
        "run_balancer_added".to_owned(),
        "warm `Run` through HAProxy, more than direct, p50".to_owned(),
    )
}
