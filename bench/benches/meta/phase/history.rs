//! The latency of history queries of a million records: of the command, from its start to its exit, and of a program
//! with a warm session. Real exec-servers, which are started anew many times, open the same
//! [database](crate::million) one after the other. Pages are in the operating system's cache, as for a repeated query.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit, Worker, in_sets};
use baton_core_client::Seed;
use baton_metadata::record::Owner;
use baton_support::process::{self, Stack, isolated};
use tempfile::TempDir;

use super::BenchContext;
use crate::bars;
use crate::million::{self, RECORDS, THREADS, id, is_own};

/// Expected number of the client's failed commands of a day. One in thirty records is of that day, nine in ten are the
/// client's, one in twenty failed: about 1,500.
const OF_A_DAY: std::ops::Range<f64> = 1_000.0..2_000.0;

const PARTICIPANTS: usize = 6;

/// The state that every process set opens after the one before has closed it, and the keys of the client that owns the
/// records.
struct Database(TempDir);

impl Database {
    /// Makes the database, and a client that owns its records.
    fn create(under: &Path) -> Result<Self, Failure> {
        let database = Self(tempfile::tempdir_in(under)?);
        let keys = database.keys();
        fs::create_dir(&keys)?;
        let mut kept = Ok(());
        // A process set that is not measured has the keys made, as for every other.
        let stack = Stack::start_with(None, |_, made| {
            kept = copy_keys(made, &keys);
        })?;
        kept?;
        stack.stop()?;
        let began = Instant::now();
        let owner = Seed::read(&keys.join(Stack::CLIENT_KEY))?.client_key()?;
        million::fill(&database.state(), Owner(*owner.public().as_bytes()))?;
        println!(
            "{RECORDS} records, {} MB, made in {:.0} s",
            fs::metadata(database.state().join("baton.db"))?.len() / 1_000_000,
            began.elapsed().as_secs_f64()
        );
        Ok(database)
    }

    fn keys(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// Starts a process set that opens it.
    fn open(&self) -> Result<Processes, Failure> {
        let mut copied = Ok(());
        let stack = Stack::start_with(None, |command, keys| {
            command.arg("--state").arg(self.state()).args(["--retain", "all"]);
            copied = copy_keys(&self.keys(), keys);
        })?;
        copied?;
        let key = stack.client_key();
        let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
        let client = Worker::start(&["client", stack.ticket(), key], None)?;
        Ok(Processes { stack, client })
    }
}

/// Copies the client's key, and the list that allows it.
fn copy_keys(from: &Path, to: &Path) -> Result<(), Failure> {
    for name in [Stack::CLIENT_KEY, Stack::ALLOW_LIST] {
        fs::copy(from.join(name), to.join(name))?;
    }
    Ok(())
}

/// A process set.
struct Processes {
    stack: Stack,
    client: Worker,
}

impl Processes {
    /// Milliseconds of participant number `visited`. `n` is the number of this query.
    fn query(&self, visited: usize, n: u64) -> Result<f64, Failure> {
        match visited {
            0 => self.command(&["--failed", "--since", "1d"], 50.0..51.0),
            1 => self.command(&["--failed", "--since", "1d", "-n", "0"], OF_A_DAY),
            2 => self.ask("history 1 1 50 -", 50.0..51.0),
            3 => self.ask("history 1 1 0 -", OF_A_DAY),
            4 => self.ask(&varied(n), 0.0..51.0),
            _ => {
                // A command of the client at a scattered time in the month.
                let from = n.wrapping_mul(7_919_777) % (RECORDS - 100);
                let own = (from..RECORDS).find(|n| is_own(*n)).unwrap_or(from);
                let name: String = id(own).0.iter().map(|byte| format!("{byte:02x}")).collect();
                self.ask(&format!("show {name}"), 1.0..2.0)
            }
        }
    }

    /// Milliseconds of a query over the warm session. Checks the number of records.
    fn ask(&self, request: &str, rows: std::ops::Range<f64>) -> Result<f64, Failure> {
        match self.client.ask(request)?[..] {
            [took, found] if rows.contains(&found) => Ok(took),
            ref other => Err(format!("{request} was answered by {other:?}").into()),
        }
    }

    /// Milliseconds of a new `baton history` process. Checks the number of printed records.
    fn command(&self, options: &[&str], rows: std::ops::Range<f64>) -> Result<f64, Failure> {
        let mut command = isolated(Command::new(process::baton()?), None);
        command
            .arg("history")
            .args(options)
            .arg("--key")
            .arg(self.stack.client_key())
            .env("BATON_TICKET", self.stack.ticket())
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

    /// Ends the processes, so that the next set may open the database.
    fn stop(self) -> Result<(), Failure> {
        drop(self.client);
        self.stack.stop()?;
        Ok(())
    }
}

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let database = Database::create(&bench.directory)?;
    let (queries, n) = (bench.plan.queries, Cell::new(0_u64));
    let visit = |processes: &Processes, visited: usize| {
        let query = || {
            n.update(|n| n + 1);
            processes.query(visited, n.get())
        };
        (0..queries).map(|_| query()).collect()
    };
    let start = |_| {
        let processes = database.open()?;
        // Pages of the file are in the system's cache already. The exec-server has a cache of its own.
        for participant in 0..PARTICIPANTS {
            visit(&processes, participant)?;
        }
        Ok(processes)
    };
    let measured = in_sets(bench.plan.history, PARTICIPANTS, start, visit, Processes::stop)?;
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
    Ok(rows)
}

/// The `n`-th query of a mix: over 1 to 30 days, of one thread or all, of failed commands or all.
fn varied(n: u64) -> String {
    let days = [1, 2, 7, 30][n as usize % 4];
    let failed = n / 4 % 2;
    let thread = match n / 8 % 2 {
        0 => "-".to_owned(),
        _ => format!("thread-{}", n.wrapping_mul(7_919) % THREADS),
    };
    format!("history {failed} {days} 50 {thread}")
}
