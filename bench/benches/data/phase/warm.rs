//! A warm `Run` of `/bin/true` beside the same command over a warm ssh connection of a library.

use baton_bench::ssh::Ssh;
use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit, Worker, start_in_turns};

use super::{BenchContext, Compared};
use crate::bars;
use crate::peers::Baton;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let what = "warm `Run` over a warm ssh connection in a library, direct";
    let ssh = match Ssh::start() {
        Ok(ssh) => ssh,
        Err(why) => {
            let row = Row::absent("run_over_ssh_p50", what, Unit::Times, why.to_string());
            return Ok(vec![row.bar(Some(bars::SSH_WARM))]);
        }
    };
    let (port, key) = (ssh.port().to_string(), ssh.user_key());
    let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
    let request = format!("sequential {} {}", bench.plan.warm_up, bench.plan.executions);
    let start = |set| {
        let mut baton = None;
        // The second client of ssh is for A against A.
        let clients = start_in_turns(set, 3, |process| match process {
            0 => {
                baton = Some(Baton::start()?);
                Ok(None)
            }
            _ => Worker::start(&["ssh", &port, key], None).map(Some),
        })?;
        let clients: Vec<_> = clients.into_iter().flatten().collect();
        Ok((baton.ok_or("no process set of Baton")?, clients))
    };
    let visit = |(baton, clients): &(Baton, Vec<Worker>), visited: usize| match visited {
        0 => baton.client.ask(&request),
        client => clients[client - 1].ask(&request),
    };
    let measured = bench.in_sets(bench.plan.warm, 3, start, visit)?;
    let [own, peer, peer_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let mut rows = Vec::new();
    for (percentile, statistic, bar) in [
        ("p50", Statistic::P50, Some(bars::SSH_WARM)),
        ("p99", Statistic::P99, None),
    ] {
        let compared = Compared {
            own,
            peer,
            peer_again: Some(peer_again),
            bar,
        };
        let id = format!("run_over_ssh_{percentile}");
        rows.push(bench.ratio(id, format!("{what}, {percentile}"), compared, statistic));
        for (id, what, of) in [("run", "warm `Run`", own), ("ssh_library", "ssh, library", peer)] {
            let (id, what) = (format!("{id}_{percentile}"), format!("{what}, {percentile}"));
            rows.push(bench.milliseconds(id, what, of, statistic));
        }
    }
    Ok(rows)
}
