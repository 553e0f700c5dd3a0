//! A relay with many idle sessions: its memory per session, and the latency of an active session beside them.
//!
//! A relay allows 64 sessions per exec-server, so there are many exec-servers. Relay and exec-servers are the real
//! binary. The clients are a few processes with many sessions each.

use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Worker};
use baton_support::process::usage;

use super::{BenchContext, Compared, Visit, kibibytes};
use crate::bars;
use crate::limits::{CROWDS, SESSIONS};
use crate::peers::{Baton, key};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let sessions = bench.plan.idle;
    let baton = Baton::start()?;
    let alone = [Baton::start()?, Baton::start()?];
    let request = format!("sequential {} {}", bench.plan.warm_up, bench.plan.executions);
    // Each relay allocates its buffers before its memory is measured.
    for baton in alone.iter().chain([&baton]) {
        baton.client.ask(&request)?;
    }

    // The least number of exec-servers, all with the same number of sessions, which is rounded up.
    let count = sessions.div_ceil(SESSIONS);
    let each = sessions.div_ceil(count);
    let servers: Vec<_> = (0..count)
        .map(|number| {
            baton
                .stack
                .another_exec_server(&format!("exec_server_key_{number}"))
        })
        .collect::<Result<_, _>>()?;
    let resident = |pid: u32| Ok::<_, Failure>(usage::resident_bytes(pid)? as f64);
    let of_servers = || {
        let each = servers.iter().map(|(server, _)| resident(server.pid()));
        each.sum::<Result<f64, _>>()
    };
    let relay = baton.stack.relay.pid();
    let (relay_before, servers_before) = (resident(relay)?, of_servers()?);
    let key = key(&baton.stack)?;
    let mut crowds = Vec::new();
    let mut opened = 0.0;
    for servers in servers.chunks(servers.len().div_ceil(CROWDS)) {
        let tickets: Vec<String> = servers.iter().map(|(_, ticket)| ticket.to_string()).collect();
        let mut arguments = vec!["crowd", &key[..]];
        arguments.extend(tickets.iter().map(String::as_str));
        let crowd = Worker::start(&arguments, None)?;
        opened += super::one(crowd.ask(format!("open {each}"))?)?;
        crowds.push(crowd);
    }
    let (relay_after, servers_after) = (resident(relay)?, of_servers()?);
    let mut rows = vec![
        kibibytes(
            "idle_relay".to_owned(),
            format!("relay, for each of {opened} idle sessions"),
            (relay_after - relay_before) / opened,
        )
        .bar(Some(bars::IDLE_MEMORY)),
        kibibytes(
            "idle_exec_server".to_owned(),
            format!("exec-server, for each of {opened} idle sessions"),
            (servers_after - servers_before) / opened,
        ),
    ];

    let participants: [Visit<'_>; 3] = [
        Box::new(|| baton.client.ask(&request)),
        Box::new(|| alone[0].client.ask(&request)),
        Box::new(|| alone[1].client.ask(&request)),
    ];
    let measured = bench.interleave(bench.plan.rounds, &participants)?;
    let [own, peer, peer_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let compared = Compared {
        own,
        peer,
        peer_again: Some(peer_again),
        bar: Some(bars::IDLE_RUN),
    };
    let what = format!("warm `Run` beside {opened} idle sessions over alone, p50");
    rows.push(bench.ratio("idle_run_p50".to_owned(), what, compared, Statistic::P50));
    let what = format!("relay, for each of {opened} idle sessions, after that");
    let later = (resident(relay)? - relay_before) / opened;
    rows.push(kibibytes("idle_relay_later".to_owned(), what, later));
    Ok(rows)
}
