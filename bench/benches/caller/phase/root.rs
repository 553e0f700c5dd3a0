//! A project root 12 levels up, through a link with a round trip of 20 ms, over one `Stat` through the same link.
//!
//! One client has an exec-server with `FindUp`. The other has one without it, which announces none in its handshake.
//! There, a first search of a session is measured too.

use std::fs;

use baton_bench::{Failure, Row, Worker};
use baton_core_client::Ticket;
use baton_support::process::Stack;
use tempfile::TempDir;

use super::{BenchContext, Compared, client, key};
use crate::bars;
use crate::limits::{LEVELS, MARKER};

/// A process set.
struct Processes {
    _stack: Stack,
    _without_find_up: Worker,
    _link: Worker,
    /// A client of the exec-server with `FindUp`.
    current: Worker,
    /// A client of the one without.
    earlier: Worker,
}

impl Processes {
    fn start() -> Result<Self, Failure> {
        let stack = Stack::start(None)?;
        let without_find_up = Worker::start(&["without-find-up", stack.relay_url(), &key(&stack)?], None)?;
        let link = Worker::start(&["link", stack.relay_url().trim_start_matches("http://")], None)?;
        let through_link = |ticket: &str| {
            let mut ticket: Ticket = ticket.parse()?;
            ticket.relay_url = format!("http://{}", link.ready());
            client(&stack, &ticket.to_string())
        };
        let current = through_link(stack.ticket())?;
        let earlier = through_link(without_find_up.ready())?;
        Ok(Self {
            _stack: stack,
            _without_find_up: without_find_up,
            _link: link,
            current,
            earlier,
        })
    }
}

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let project = TempDir::with_prefix("baton-")?;
    // A start with symbolic links costs the fallback a further round trip.
    let root = project.path().canonicalize()?;
    fs::write(root.join(MARKER), b"")?;
    let start = (0..LEVELS).fold(root, |at, level| at.join(format!("d{level}")));
    fs::create_dir_all(&start)?;
    let start = start.to_str().ok_or("the temporary directory is not UTF-8")?;

    let searches = bench.plan.root_searches;
    let visit = |processes: &Processes, visited: usize| {
        let (client, task) = match visited {
            // The second is for A against A.
            0 | 1 => (&processes.current, "stat"),
            2 => (&processes.current, "root"),
            3 | 4 => (&processes.earlier, "stat"),
            5 => (&processes.earlier, "root"),
            _ => (&processes.earlier, "first-root"),
        };
        Ok([client.ask(format!("{task} {searches} {start}"))?])
    };
    let [measured] = bench.plan.root.measure_warm(7, |_| Processes::start(), visit)?;
    let [
        stat,
        stat_again,
        find_up,
        earlier_stat,
        earlier_stat_again,
        fallback,
        first,
    ] = &measured[..]
    else {
        return Err("not seven participants".into());
    };
    let over_earlier = |own, bar| Compared {
        own,
        peer: earlier_stat,
        peer_again: earlier_stat_again,
        bar,
    };
    Ok(vec![
        bench.ratio(
            "find_up_over_stat",
            "project root 12 levels up, 20 ms of round trip: `FindUp` over one `Stat`",
            Compared {
                own: find_up,
                peer: stat,
                peer_again: stat_again,
                bar: Some(bars::FIND_UP),
            },
        ),
        bench.ratio(
            "fallback_over_stat",
            "the same, pipelined fallback over one `Stat`",
            over_earlier(fallback, Some(bars::FALLBACK)),
        ),
        bench.ratio(
            "fallback_first_over_stat",
            "the same, first search of a session",
            over_earlier(first, Some(bars::FALLBACK)),
        ),
        bench.milliseconds("stat", "one `Stat` through the link", stat),
        bench.milliseconds("find_up", "`FindUp` through the link", find_up),
        bench.milliseconds("fallback", "pipelined fallback through the link", fallback),
    ])
}
