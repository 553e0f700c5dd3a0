//! A new `baton exec` beside a new `ssh` that opens a connection of its own, with OpenSSH's default key exchange. Both
//! connect, do a handshake, run `/bin/true` and exit.

use baton_bench::floor::PROGRAM;
use baton_bench::ssh::Ssh;
use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit};
use baton_support::process::Stack;

use super::{BenchContext, Compared};
use crate::peers::{cold, exec};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let id = "cold_over_ssh_connection_p50";
    let what = "cold `baton exec` over a cold ssh connection with the default key exchange, direct";
    let ssh = match Ssh::start() {
        Ok(ssh) => ssh,
        Err(why) => return Ok(vec![Row::absent(id, what, Unit::Times, why.to_string())]),
    };
    let key_exchange = ssh.key_exchange()?;
    let argv = [PROGRAM.to_owned()];
    let executions = bench.plan.connection_executions;
    let visit = |stack: &Stack, visited: usize| match visited {
        0 => (0..executions).map(|_| cold(exec(stack, None, &argv)?)).collect(),
        // The third is for A against A.
        _ => (0..executions).map(|_| cold(ssh.command(PROGRAM))).collect(),
    };
    let start = |_| Ok(Stack::start(None)?);
    let measured = bench.in_sets(bench.plan.connection, 3, start, visit)?;
    let [own, peer, peer_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let compared = Compared {
        own,
        peer,
        peer_again: Some(peer_again),
        bar: None,
    };
    let ssh = format!("a cold ssh connection, {key_exchange}, direct, p50");
    Ok(vec![
        bench.ratio(id.to_owned(), format!("{what}, p50"), compared, Statistic::P50),
        bench.milliseconds(
            "cold_beside_ssh_connection_p50".to_owned(),
            "cold `baton exec`, p50".to_owned(),
            own,
            Statistic::P50,
        ),
        bench.milliseconds("ssh_connection_p50".to_owned(), ssh, peer, Statistic::P50),
    ])
}
