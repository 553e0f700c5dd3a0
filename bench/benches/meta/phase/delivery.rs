//! What a client feels of the store: how long an exit takes into its hands, with the store on, and with every sync stalled for half a second,
//! beside an exec-server that keeps its records in memory (`--state none`). Each execution makes a record, so the store has its work meanwhile.
//!
//! The faults are loaded under the real binary, which knows nothing of them, before it opens its state: it has to start on such a disk too.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker, interleave};
use baton_support::process::Stack;

use super::Bench;
use crate::bars;

/// What every sync of the last exec-server takes longer.
const STALL: Duration = Duration::from_millis(500);
/// Executions of each before the first round.
const FIRST: usize = 200;
/// Executions of a visit that do not count.
const WARM_UP: usize = 20;
/// Exec-servers that are compared, the second without a store included.
const WAYS: usize = 4;
/// Rounds of the same processes. Where one's memory came to lie makes it a few percent faster or slower than the next, for as long as it lives.
const ROUNDS_OF_A_PROCESS: usize = 3;
/// After a visit, so that what an exec-server still writes then is not felt by the next: the writer waits half a second for more.
const SETTLE: Duration = Duration::from_millis(600);

/// An exec-server, and a client of it.
struct Way {
    stack: Stack,
    client: Worker,
    keeps: bool,
}

impl Way {
    fn start(keeps: bool, prepare: impl FnOnce(&mut Command, &Path)) -> Result<Self, Failure> {
        let stack = Stack::start_with(None, prepare)?;
        let (ticket, key) = (stack.ticket().to_string(), stack.client_key());
        let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
        let client = Worker::start(&["client", &ticket, key], None)?;
        client.ask(format!("execute {FIRST} 0"))?;
        Ok(Self { stack, client, keeps })
    }

    /// Milliseconds of each exit, and of each execution.
    fn visit(&self, executions: usize) -> Result<(Vec<f64>, Vec<f64>), Failure> {
        let mut exits = self.client.ask(format!("execute {WARM_UP} {executions}"))?;
        thread::sleep(SETTLE);
        let wholes = exits.split_off(executions);
        Ok((exits, wholes))
    }

    /// What was measured beside the store was measured beside its work: all of it is there. The barrier's seconds.
    fn kept(&self, executions: usize) -> Result<f64, Failure> {
        let [seconds, records] = self.client.ask("kept")?[..] else {
            return Err("not two numbers".into());
        };
        // Another one goes before the barrier.
        match records as usize == executions + 1 {
            true => Ok(seconds),
            false => Err(format!("{records} records were kept of {executions} executions and one").into()),
        }
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let faults = faults()?;
    let directory = tempfile::Builder::new()
        .prefix("delivery-")
        .tempdir_in(&bench.directory)?;
    let (executions, rounds) = (bench.plan.executions, bench.plan.delivery_rounds);
    let ways = RefCell::new(Vec::<Way>::new());
    let wholes = RefCell::new(vec![Rounds::default(); WAYS]);
    let done = RefCell::new(0);
    let exits = interleave(
        WAYS,
        rounds,
        |visited| {
            let (exits, whole) = ways.borrow()[visited].visit(executions)?;
            wholes.borrow_mut()[visited].add(*done.borrow(), whole);
            Ok(exits)
        },
        |rounds_done| {
            *done.borrow_mut() = rounds_done;
            let begun = rounds_done.saturating_sub(1) / ROUNDS_OF_A_PROCESS * ROUNDS_OF_A_PROCESS;
            let mut ways = ways.borrow_mut();
            if rounds_done == rounds || rounds_done % ROUNDS_OF_A_PROCESS == 0 {
                let executed = FIRST + (rounds_done - begun) * 2 * (WARM_UP + executions);
                end(std::mem::take(&mut *ways), executed)?;
            }
            if ways.is_empty() && rounds_done < rounds {
                let directory = directory.path().join(rounds_done.to_string());
                ways.extend(start(&faults, &directory)?);
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

/// Two that keep nothing on the disk, one that does, and one whose disk stalls. All have the layer of faults under them, which costs
/// something by itself.
fn start(faults: &Path, directory: &Path) -> Result<[Way; WAYS], Failure> {
    std::fs::create_dir_all(directory)?;
    let way = |name: &str, keeps: bool, stall: Duration| {
        let state = directory.join(name);
        let slow = format!("{}:{}", stall.as_millis(), state.display());
        Way::start(keeps, |command, _| {
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
        way("none", false, Duration::ZERO)?,
        way("none-again", false, Duration::ZERO)?,
        way("on", true, Duration::ZERO)?,
        way("stalled", true, STALL)?,
    ])
}

/// Looks whether all that was executed is on record, behind a barrier that stalled where it had to, and ends the processes.
fn end(ways: Vec<Way>, executed: usize) -> Result<(), Failure> {
    let barriers: Vec<_> = ways
        .iter()
        .filter(|way| way.keeps)
        .map(|way| way.kept(executed))
        .collect::<Result<_, _>>()?;
    if barriers
        .last()
        .is_some_and(|seconds| *seconds < STALL.as_secs_f64())
    {
        return Err(format!("nothing stalled: a barrier took {barriers:?} s").into());
    }
    for way in ways {
        drop(way.client);
        way.stack.stop()?;
    }
    Ok(())
}

fn rows(
    bench: &Bench,
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
        for (way, name, own) in [
            ("on", "store on", on),
            ("stalled", "every sync stalled 500 ms", stalled),
        ] {
            rows.push(bench.ratio(
                &format!("{id}_{way}_{percentile}"),
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

/// The faults as a library to be loaded under the exec-server.
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
