//! Streams and exits through a slow link between client and relay.

use baton_bench::network::congestion_control;
use baton_bench::stats::{Estimate, Statistic};
use baton_bench::{Failure, Row, Unit, Worker};
use baton_core_client::Ticket;
use baton_support::process::Stack;

use super::beside::{Load, exits};
use super::{BenchContext, Visit, one, stream};
use crate::bars;
use crate::limits::LINK;
use crate::peers::{FarEndStdio, client, download_tcp, upload_tcp};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let control = congestion_control()?;
    let bytes = bench.plan.link_bytes;
    let stack = Stack::start(None)?;
    let relay = stack.relay_url().trim_start_matches("http://").to_owned();
    let link = Worker::start(&["link", &relay], None)?;
    let mut ticket: Ticket = stack.ticket().parse()?;
    ticket.relay_url = format!("http://{}", link.ready());
    let client = client(&stack, &ticket.to_string())?;
    let far_end = Worker::start(&["far-end"], None)?;
    // Plain TCP through a link of the same shape, for comparison.
    let plain = Worker::start(&["link", far_end.ready()], None)?;

    let own = |direction: &str| one(client.ask(format!("{direction} {bytes}"))?);
    let participants: [Visit<'_>; 4] = [
        stream(bytes, || own("download")),
        stream(bytes, || own("upload")),
        stream(bytes, || download_tcp(plain.ready(), FarEndStdio::Direct, bytes)),
        stream(bytes, || upload_tcp(plain.ready(), FarEndStdio::Direct, bytes)),
    ];
    let measured = bench.interleave(bench.plan.link_rounds, &participants)?;
    let names = [
        ("link_download", "download, Baton", Some(bars::LINK)),
        ("link_upload", "upload, Baton", Some(bars::LINK)),
        ("link_download_tcp", "download, plain TCP", None),
        ("link_upload_tcp", "upload, plain TCP", None),
    ];
    let mut rows = Vec::new();
    for ((id, what, bar), of) in names.into_iter().zip(&measured) {
        let share = bench.bootstrap.value(of, Statistic::Rate);
        let share = Estimate::times(share, 1e6 / LINK.bytes_per_second);
        let what = format!("part of a link of 200 Mbit/s and 40 ms: {what}, {control}");
        rows.push(Row::new(id, what, Unit::Times, share, of).bar(bar));
    }
    let behind = [bars::EXIT_BEHIND_BULK; 2];
    let loads = [
        Load::new("link_idle", "0", "nothing, through the link", None),
        Load::new("link", "full", "bulk, through the link", Some(behind)),
    ];
    let (rounds, executions) = (bench.plan.link_rounds, bench.plan.link_executions);
    rows.extend(exits(bench, &client, &loads, rounds, executions)?);
    Ok(rows)
}
