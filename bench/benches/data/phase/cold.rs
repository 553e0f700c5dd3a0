//! A new `baton exec` beside a new `ssh`. `baton exec` connects, does the handshake, runs `/bin/true` and exits. `ssh`
//! uses a warm control master.

use baton_bench::floor::PROGRAM;
use baton_bench::ssh::{Master, Route, Ssh};
use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit, Worker, start_in_turns};
use baton_support::process::Stack;

use super::{BenchContext, Compared};
use crate::bars;
use crate::peers::{cold, exec};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let argv = [PROGRAM.to_owned()];
    let sink = Worker::start(&["sink"], None)?;
    let ssh = Ssh::start();
    // The second master is for A against A.
    let routes = match &ssh {
        Ok(_) => &[Route::Direct, Route::Direct, Route::Jump][..],
        Err(_) => &[],
    };
    let executions = bench.plan.cold_executions;
    let start = |set| {
        let (mut stacks, mut masters) = ([None, None], Vec::new());
        for started in start_in_turns(set, 2 + routes.len(), |process| match (process, &ssh) {
            (0 | 1, _) => {
                let collector = (process == 1).then(|| sink.ready());
                stacks[process] = Some(Stack::start(collector)?);
                Ok(None)
            }
            (master, Ok(ssh)) => {
                let route = routes[master - 2];
                Ok(Some(ssh.master(&format!("{set}-{master}"), route)?))
            }
            (_, Err(why)) => Err(why.to_string().into()),
        })? {
            masters.extend(started);
        }
        let [Some(quiet), Some(exporting)] = stacks else {
            return Err("not two process sets of Baton".into());
        };
        Ok(([quiet, exporting], masters))
    };
    let visit = |(stacks, masters): &([Stack; 2], Vec<Master>), visited: usize| {
        let command = || match visited {
            0 => exec(&stacks[0], None, &argv),
            1 => exec(&stacks[1], Some(sink.ready()), &argv),
            master => Ok(masters[master - 2].command(PROGRAM)),
        };
        (0..executions).map(|_| cold(command()?)).collect()
    };
    let measured = bench.in_sets(bench.plan.cold, 2 + routes.len(), start, visit)?;

    let mut rows = Vec::new();
    let names = [
        (
            "cold_over_ssh",
            "cold `baton exec` over a warm master's command line, direct",
        ),
        ("cold_export_over_ssh", "the same with export"),
    ];
    let own = &measured[..2];
    match (&measured[2..], &ssh) {
        ([peer, peer_again, _], _) => {
            let bars = [bars::SSH_COLD, bars::SSH_COLD_EXPORT];
            for (((id, what), bar), own) in names.into_iter().zip(bars).zip(own) {
                let compared = Compared {
                    own,
                    peer,
                    peer_again: Some(peer_again),
                    bar: Some(bar),
                };
                let (id, what) = (format!("{id}_p50"), format!("{what}, p50"));
                rows.push(bench.ratio(id, what, compared, Statistic::P50));
            }
        }
        (_, Err(why)) => {
            let bars = [bars::SSH_COLD, bars::SSH_COLD_EXPORT];
            rows.extend(names.into_iter().zip(bars).map(|((id, what), bar)| {
                let (id, what) = (format!("{id}_p50"), format!("{what}, p50"));
                Row::absent(id, what, Unit::Times, why.to_string()).bar(Some(bar))
            }));
        }
        _ => return Err("not three masters".into()),
    }
    let names = [
        ("cold", "cold `baton exec`"),
        ("cold_export", "cold `baton exec` with export"),
        ("ssh_cli", "ssh, warm master's command line, direct"),
        ("ssh_cli_again", "ssh, a second one"),
        (
            "ssh_cli_jump",
            "ssh, warm master's command line, through a jump host",
        ),
    ];
    for ((id, what), of) in names.into_iter().zip(&measured) {
        let (id, what) = (format!("{id}_p50"), format!("{what}, p50"));
        rows.push(bench.milliseconds(id, what, of, Statistic::P50));
    }
    Ok(rows)
}
