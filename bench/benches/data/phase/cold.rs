//! A new `baton exec` beside a new `ssh`. `baton exec` connects, does the handshake, runs `/bin/true` and exits. `ssh`
//! uses a warm control master.

use std::process::Command;

use baton_bench::floor::PROGRAM;
use baton_bench::ssh::{Route, Ssh};
use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit, Worker};
use baton_support::process::Stack;

use super::{BenchContext, Compared, Visit};
use crate::bars;
use crate::peers::{cold, exec};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let argv = [PROGRAM.to_owned()];
    let sink = Worker::start(&["sink"], None)?;
    let (quiet, exporting) = (Stack::start(None)?, Stack::start(Some(sink.ready()))?);
    let ssh = Ssh::start();
    let masters = match &ssh {
        Ok(ssh) => Some([
            // The second master is for A against A.
            ssh.master("first", Route::Direct)?,
            ssh.master("second", Route::Direct)?,
            ssh.master("jump", Route::Jump)?,
        ]),
        Err(_) => None,
    };
    let executions = bench.plan.cold_executions;
    let visit = |command: &dyn Fn() -> Result<Command, Failure>| {
        (0..executions)
            .map(|_| cold(command()?))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut participants: Vec<Visit<'_>> = vec![
        Box::new(|| visit(&|| exec(&quiet, None, &argv))),
        Box::new(|| visit(&|| exec(&exporting, Some(sink.ready()), &argv))),
    ];
    for master in masters.iter().flatten() {
        participants.push(Box::new(move || visit(&|| Ok(master.command(PROGRAM)))));
    }
    let measured = bench.interleave(bench.plan.cold_rounds, &participants)?;

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
        (_, Err(why)) => rows.extend(names.map(|(id, what)| {
            let (id, what) = (format!("{id}_p50"), format!("{what}, p50"));
            Row::absent(id, what, Unit::Times, why.to_string())
        })),
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
