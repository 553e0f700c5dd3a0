//! The effect of the store on the latency of the exit event: with the store on, and with every sync stalled for half a
//! second, beside an exec-server that keeps its records in memory (`--state none`). Each execution makes a record, so
//! the store writes during the measurement.
//!
//! The faults are loaded under the unchanged binary by `LD_PRELOAD`, before it opens its state. The exec-server must
//! therefore also start on a stalling disk.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker, interleave};
use baton_support::process::Stack;

use super::BenchContext;
use crate::bars;

/// The delay of every sync of the last exec-server.
const STALL: Duration = Duration::from_millis(500);
/// Executions of each participant before the first round.
const FIRST: usize = 200;
/// Uncounted executions at the start of a visit.
const WARM_UP: usize = 20;
/// Number of participants: two without a store, one with it, one with it on a stalling disk.
const PARTICIPANTS: usize = 4;
/// Rounds before the processes are replaced. The layout of a process's memory makes it a few percent faster or slower
/// than another for its whole lifetime.
const ROUNDS_OF_A_PROCESS: usize = 3;
/// The pause after a visit. The writer waits up to half a second for more patches; the pause keeps its writes out of
/// the next visit.
const SETTLE: Duration = Duration::from_millis(600);

/// An exec-server, and a client of it.
struct Participant {
    stack: Stack,
    client: Worker,
    keeps: bool,
}

impl Participant {
    fn start(keeps: bool, prepare: impl FnOnce(&mut Command, &Path)) -> Result<Self, Failure> {
        let stack = Stack::start_with(None, prepare)?;
        let (ticket, key) = (stack.ticket().to_string(), stack.client_key());
        let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
        let client = Worker::start(&["client", &ticket, key], None)?;
        client.ask(format!("execute {FIRST} 0"))?;
        Ok(Self { stack, client, keeps })
    }

    /// Milliseconds of each exit event, and of each whole execution.
    fn visit(&self, executions: usize) -> Result<(Vec<f64>, Vec<f64>), Failure> {
        let mut exits = self.client.ask(format!("execute {WARM_UP} {executions}"))?;
        thread::sleep(SETTLE);
        let wholes = exits.split_off(executions);
        Ok((exits, wholes))
    }

    /// Checks that every execution has a record, which shows that the store was active during the measurement. Returns
    /// the seconds of the barrier.
    fn kept(&self, executions: usize) -> Result<f64, Failure> {
        let [seconds, records] = self.client.ask("kept")?[..] else {
            return Err("not two numbers".into());
        };
        // The request `kept` runs one more execution before the barrier.
        match records as usize == executions + 1 {
            true => Ok(seconds),
            false => Err(format!("{records} records were stored, expected {executions} + 1").into()),
        }
    }
}

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let faults = faults()?;
    let directory = tempfile::Builder::new()
        .prefix("delivery-")
        .tempdir_in(&bench.directory)?;
    let (executions, rounds) = (bench.plan.executions, bench.plan.delivery_rounds);
    let participants = RefCell::new(Vec::<Participant>::new());
    let wholes = RefCell::new(vec![Rounds::default(); PARTICIPANTS]);
    let done = RefCell::new(0);
    let exits = interleave(
        PARTICIPANTS,
        rounds,
        |visited| {
            let (exits, whole) = participants.borrow()[visited].visit(executions)?;
            wholes.borrow_mut()[visited].add(*done.borrow(), whole);
            Ok(exits)
        },
        |rounds_done| {
            *done.borrow_mut() = rounds_done;
            let begun = rounds_done.saturating_sub(1) / ROUNDS_OF_A_PROCESS * ROUNDS_OF_A_PROCESS;
            let mut participants = participants.borrow_mut();
            if rounds_done == rounds || rounds_done % ROUNDS_OF_A_PROCESS == 0 {
                let executed = FIRST + (rounds_done - begun) * 2 * (WARM_UP + executions);
                end(std::mem::take(&mut *participants), executed)?;
            }
            if participants.is_empty() && rounds_done < rounds {
                let directory = directory.path().join(rounds_done.to_string());
                participants.extend(start(&faults, &directory)?);
            }
            Ok(())
        },
    )?;
    let mut rows = rows(
        bench,
        &exits,
        "delivery",
        "exit into the caller's hands",
        Some(bars::DELIVERY),
    )?;
    rows.extend(self::rows(
        bench,
        &wholes.into_inner(),
        "execution",
        "whole execution",
        None,
    )?);
    Ok(rows)
}

/// Starts two exec-servers without a store, one with it, and one with it on a stalling disk. The layer of faults is
/// loaded under all four, because it has a cost of its own.
fn start(faults: &Path, directory: &Path) -> Result<[Participant; PARTICIPANTS], Failure> {
    std::fs::create_dir_all(directory)?;
    let participant = |name: &str, keeps: bool, stall: Duration| {
        let state = directory.join(name);
        let slow = format!("{}:{}", stall.as_millis(), state.display());
        Participant::start(keeps, |command, _| {
            command
                .env("LD_PRELOAD", faults)
                .env("BATON_FAULTS_SLOW_SYNC", slow)
                .arg("--state");
            match keeps {
                true => command.arg(state),
                false => command.arg("none"),
            };
        })
    };
    Ok([
        participant("none", false, Duration::ZERO)?,
        participant("none-again", false, Duration::ZERO)?,
        participant("on", true, Duration::ZERO)?,
        participant("stalled", true, STALL)?,
    ])
}

/// Checks that every execution has a record and that the barrier of the stalling disk was delayed, then stops the
/// processes.
fn end(participants: Vec<Participant>, executed: usize) -> Result<(), Failure> {
    let barriers: Vec<_> = participants
        .iter()
        .filter(|participant| participant.keeps)
        .map(|participant| participant.kept(executed))
        .collect::<Result<_, _>>()?;
    if barriers
        .last()
        .is_some_and(|seconds| *seconds < STALL.as_secs_f64())
    {
        return Err(format!("nothing stalled: a barrier took {barriers:?} s").into());
    }
    for participant in participants {
        drop(participant.client);
        participant.stack.stop()?;
    }
    Ok(())
}

fn rows(
    bench: &BenchContext,
    of: &[Rounds],
    id: &str,
    what: &str,
    bars: Option<[baton_bench::stats::Bar; 2]>,
) -> Result<Vec<Row>, Failure> {
    let [none, none_again, on, stalled] = of else {
        return Err("four were measured".into());
    };
    let mut rows = Vec::new();
    for (at, percentile, statistic) in [(0, "p50", Statistic::P50), (1, "p99", Statistic::P99)] {
        for (variant, name, own) in [
            ("on", "store on", on),
            ("stalled", "every sync stalled 500 ms", stalled),
        ] {
            rows.push(bench.ratio(
                &format!("{id}_{variant}_{percentile}"),
                &format!("{what}, {name}, over none, {percentile}"),
                [own, none, none_again],
                statistic,
                bars.map(|bars| bars[at]),
            ));
        }
        let value = bench.bootstrap.value(none, statistic);
        let (id, what) = (
            format!("{id}_none_{percentile}"),
            format!("{what}, --state none, {percentile}"),
        );
        rows.push(Row::new(id, what, Unit::Milliseconds, value, none));
    }
    Ok(rows)
}

/// Builds the faults as a shared library for `LD_PRELOAD`. Returns its path.
fn faults() -> Result<PathBuf, Failure> {
    let binary = baton_support::process::baton()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--quiet", "-p", "baton-faults"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("cargo could not build the faults".into());
    }
    let library = binary.with_file_name("libbaton_faults.so");
    match library.exists() {
        true => Ok(library),
        false => Err(format!("cargo built no {}", library.display()).into()),
    }
}
