//! Streams and exits through a slow link between client and relay.

use baton_bench::network::congestion_control;
use baton_bench::stats::{Bar, Estimate, Statistic};
use baton_bench::{Failure, Row, Unit, Worker};
use baton_core_client::Ticket;
use baton_support::process::Stack;

use super::beside::{self, Load};
use super::{BenchContext, one, per_megabyte};
use crate::bars;
use crate::limits::{LINK, LINK_WARM_UP};
use crate::peers::{FarEndStdio, client, download_tcp, upload_tcp};

/// A process set. Its links are started with it.
struct Processes {
    _stack: Stack,
    _link: Worker,
    client: Worker,
    _far_end: Worker,
    /// A link of the same shape to the far end of plain TCP, for comparison.
    plain: Worker,
}

impl Processes {
    fn start() -> Result<Self, Failure> {
        let stack = Stack::start(None)?;
        let relay = stack.relay_url().trim_start_matches("http://").to_owned();
        let link = Worker::start(&["link", &relay], None)?;
        let mut ticket: Ticket = stack.ticket().parse()?;
        ticket.relay_url = format!("http://{}", link.ready());
        let client = client(&stack, &ticket.to_string())?;
        let far_end = Worker::start(&["far-end"], None)?;
        let plain = Worker::start(&["link", far_end.ready()], None)?;
        Ok(Self {
            _stack: stack,
            _link: link,
            client,
            _far_end: far_end,
            plain,
        })
    }

    /// Seconds of participant number `stream` of [`STREAMS`].
    fn stream(&self, stream: usize, bytes: u64) -> Result<f64, Failure> {
        match stream {
            0 => one(self.client.ask(format!("download {bytes}"))?),
            1 => one(self.client.ask(format!("upload {bytes}"))?),
            2 => download_tcp(self.plain.ready(), FarEndStdio::Direct, bytes),
            _ => upload_tcp(self.plain.ready(), FarEndStdio::Direct, bytes),
        }
    }
}

/// The streams: their ids, names and bars. The loads of exits are the participants after them.
const STREAMS: [(&str, &str, Option<Bar>); 4] = [
    ("link_download", "download, Baton", Some(bars::LINK)),
    ("link_upload", "upload, Baton", Some(bars::LINK)),
    ("link_download_tcp", "download, plain TCP", None),
    ("link_upload_tcp", "upload, plain TCP", None),
];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let control = congestion_control()?;
    let (bytes, executions) = (bench.plan.link_bytes, bench.plan.link_executions);
    let behind = [bars::EXIT_BEHIND_BULK; 2];
    let loads = [
        Load::new("link_idle", "0", "nothing, through the link", None),
        Load::new("link", "full", "bulk, through the link", Some(behind)),
    ];
    let visit = |processes: &Processes, visited: usize| -> Result<[Vec<f64>; 2], Failure> {
        match visited.checked_sub(STREAMS.len()) {
            None => Ok([per_megabyte(processes.stream(visited, bytes)?, bytes), Vec::new()]),
            Some(load) => loads[load].visit(&processes.client, executions),
        }
    };
    let start = |_| {
        let processes = Processes::start()?;
        // Warm-ups are short: a whole visit takes as long as one that is counted.
        for stream in 0..STREAMS.len() {
            processes.stream(stream, LINK_WARM_UP)?;
        }
        Ok(processes)
    };
    let stop = |processes| {
        drop(processes);
        Ok(())
    };
    let participants = STREAMS.len() + loads.len();
    let [measured, rates] = bench.plan.link.measure(participants, start, visit, stop)?;
    let (streams, exits) = measured.split_at(STREAMS.len());
    let mut rows = Vec::new();
    for ((id, what, bar), of) in STREAMS.into_iter().zip(streams) {
        let share = bench.bootstrap.value(of, Statistic::Rate);
        let share = Estimate::times(share, 1e6 / LINK.bytes_per_second);
        let what = format!("part of a link of 200 Mbit/s and 40 ms: {what}, {control}");
        rows.push(Row::new(id, what, Unit::Times, share, of).bar(bar));
    }
    rows.extend(beside::rows(bench, &loads, exits, &rates[STREAMS.len()..]));
    Ok(rows)
}
