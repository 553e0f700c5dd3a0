//! The latency of history queries of a million records: of the command, from its start to its exit, and of a program
//! with a warm session. The real exec-server has the [database](crate::million) open. Pages are in the operating
//! system's cache, as for a repeated query.

use std::cell::Cell;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Instant;

use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit, Worker};
use baton_core_client::Seed;
use baton_metadata::record::Owner;
use baton_support::process::{self, Stack, isolated};

use super::{BenchContext, Visit};
use crate::bars;
use crate::million::{self, RECORDS, THREADS, id, is_own};

/// Expected number of the client's failed commands of a day. One in thirty records is of that day, nine in ten are the
/// client's, one in twenty failed: about 1,500.
const OF_A_DAY: std::ops::Range<f64> = 1_000.0..2_000.0;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let mut filled = Ok(());
    let state = tempfile::tempdir_in(&bench.directory)?;
    let directory = state.path().join("state");
    let began = Instant::now();
    let stack = Stack::start_with(None, |command, dir| {
        command.arg("--state").arg(&directory).args(["--retain", "all"]);
        filled = Seed::read(&dir.join(Stack::CLIENT_KEY))
            .and_then(|seed| seed.client_key())
            .map_err(Failure::from)
            .and_then(|key| million::fill(&directory, Owner(*key.public().as_bytes())));
    })?;
    filled?;
    let bytes = std::fs::metadata(directory.join("baton.db"))?.len();
    println!(
        "{RECORDS} records, {} MB, made in {:.0} s",
        bytes / 1_000_000,
        began.elapsed().as_secs_f64()
    );
    let (ticket, key) = (stack.ticket().to_string(), stack.client_key());
    let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
    let client = Worker::start(&["client", &ticket, key], None)?;
    let n = Cell::new(0_u64);
    let next = || {
        n.update(|n| n + 1);
        n.get()
    };
    let queries = bench.plan.queries;
    let visit = |once: &dyn Fn() -> Result<f64, Failure>| (0..queries).map(|_| once()).collect();
    let ask = |request: &str, rows: std::ops::Range<f64>| match client.ask(request)?[..] {
        [took, found] if rows.contains(&found) => Ok(took),
        ref other => Err(Failure::from(format!("{request} was answered by {other:?}"))),
    };
    let command = |options: &[&str], rows| command(&ticket, key, options, rows);
    let participants: [Visit<'_>; 6] = [
        Box::new(|| visit(&|| command(&["--failed", "--since", "1d"], 50.0..51.0))),
        Box::new(|| visit(&|| command(&["--failed", "--since", "1d", "-n", "0"], OF_A_DAY))),
        Box::new(|| visit(&|| ask("history 1 1 50 -", 50.0..51.0))),
        Box::new(|| visit(&|| ask("history 1 1 0 -", OF_A_DAY))),
        Box::new(|| visit(&|| varied(next(), &|request| ask(request, 0.0..51.0)))),
        Box::new(|| {
            visit(&|| {
                // A command of the client at a scattered time in the month.
                let from = next().wrapping_mul(7_919_777) % (RECORDS - 100);
                let own = (from..RECORDS).find(|n| is_own(*n)).unwrap_or(from);
                let name: String = id(own).0.iter().map(|byte| format!("{byte:02x}")).collect();
                ask(&format!("show {name}"), 1.0..2.0)
            })
        }),
    ];
    // Warm-up: written pages are in the cache already, but pages of the indexes must be read once.
    for participant in &participants {
        participant()?;
    }
    let measured = bench.interleave(bench.plan.query_rounds, &participants)?;
    drop(participants);
    let mut rows = Vec::new();
    for (of, (id, what, bar)) in measured.iter().zip([
        (
            "command",
            "`baton history --failed --since 1d`, start to end",
            true,
        ),
        ("command_all", "the same with `-n 0`, all of the day's", false),
        ("query", "its query over a warm session, 50 records", true),
        ("query_all", "the same, all of the day's", true),
        ("varied", "queries by time, thread and failure, 50 records", true),
        ("show", "`show` of any command", false),
    ]) {
        for (percentile, statistic) in [("p50", Statistic::P50), ("p99", Statistic::P99)] {
            let estimate = bench.bootstrap.value(of, statistic);
            let what = format!("{what}, {percentile}");
            let has_bar = bar && percentile == "p50";
            rows.push(
                Row::new(
                    format!("history_{id}_{percentile}"),
                    what,
                    Unit::Milliseconds,
                    estimate,
                    of,
                )
                .bar(has_bar.then_some(bars::HISTORY)),
            );
        }
    }
    drop(client);
    stack.stop()?;
    Ok(rows)
}

/// The `n`-th query of a mix: over 1 to 30 days, of one thread or all, of failed commands or all.
fn varied(n: u64, ask: &dyn Fn(&str) -> Result<f64, Failure>) -> Result<f64, Failure> {
    let days = [1, 2, 7, 30][n as usize % 4];
    let failed = n / 4 % 2;
    let thread = match n / 8 % 2 {
        0 => "-".to_owned(),
        _ => format!("thread-{}", n.wrapping_mul(7_919) % THREADS),
    };
    ask(&format!("history {failed} {days} 50 {thread}"))
}

/// Milliseconds of a new `baton history` process. Checks the number of printed records.
fn command(ticket: &str, key: &str, options: &[&str], rows: std::ops::Range<f64>) -> Result<f64, Failure> {
    let mut command = isolated(Command::new(process::baton()?), None);
    command
        .arg("history")
        .args(options)
        .args(["--key", key])
        .env("BATON_TICKET", ticket)
        .stdin(Stdio::null())
        .stderr(File::open("/dev/null")?);
    let began = Instant::now();
    let output = command.output()?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    // The first line has the column titles.
    let found = output.stdout.iter().filter(|byte| **byte == b'\n').count() as f64 - 1.0;
    match output.status.success() && rows.contains(&found) {
        true => Ok(took),
        false => Err(format!(
            "baton history {options:?} printed {found} records, {}",
            output.status
        )
        .into()),
    }
}
