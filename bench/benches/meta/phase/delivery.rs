//! The effect of the store on the latency of the exit event: an exec-server with the store on beside one that keeps its
//! records in memory (`--state none`), and one whose every sync is stalled for half a second. Each execution makes a
//! record, so the store writes during the measurement.
//!
//! Only the stall needs a layer under the unchanged binary, which `LD_PRELOAD` loads before it opens its state, so that
//! the exec-server must also start on a stalling disk. The layer has a cost of its own. The stalled exec-server is
//! therefore compared with others under the same layer, and the pair without a stall has none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use baton_bench::stats::{Bar, Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker, start_in_turns};
use baton_support::process::Stack;

use super::BenchContext;
use crate::bars;

/// The delay of every sync of the last exec-server.
const STALL: Duration = Duration::from_millis(500);
/// Executions of each participant before the first round.
const FIRST: usize = 200;
/// Uncounted executions at the start of a visit.
const WARM_UP: usize = 20;
/// The exec-servers: their names, whether they have a store, and the delay of syncs if the layer is loaded. The ones
/// named `again` are for A against A.
const PARTICIPANTS: [(&str, bool, Option<Duration>); 6] = [
    ("none", false, None),
    ("none-again", false, None),
    ("on", true, None),
    ("none-under-layer", false, Some(Duration::ZERO)),
    ("none-under-layer-again", false, Some(Duration::ZERO)),
    ("stalled", true, Some(STALL)),
];
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
    let (executions, sets) = (bench.plan.executions, bench.plan.delivery);
    let executed = FIRST + 2 * sets.rounds * (WARM_UP + executions);
    let [exits, wholes] = sets.measure(
        PARTICIPANTS.len(),
        |set| start(set, &faults, &directory.path().join(set.to_string())),
        |participants: &Vec<Participant>, visited| {
            let (exits, wholes) = participants[visited].visit(executions)?;
            Ok([exits, wholes])
        },
        |participants| end(participants, executed),
    )?;
    let mut rows = rows(
        bench,
        &exits,
        "delivery",
        "exit into the caller's hands",
        Some(bars::DELIVERY),
    )?;
    rows.extend(self::rows(bench, &wholes, "execution", "whole execution", None)?);
    Ok(rows)
}

/// Starts all [`PARTICIPANTS`].
fn start(set: usize, faults: &Path, directory: &Path) -> Result<Vec<Participant>, Failure> {
    std::fs::create_dir_all(directory)?;
    start_in_turns(set, PARTICIPANTS.len(), |number| {
        let (name, keeps, layer) = PARTICIPANTS[number];
        let state = directory.join(name);
        Participant::start(keeps, |command, _| {
            if let Some(stall) = layer {
                let slow = format!("{}:{}", stall.as_millis(), state.display());
                command
                    .env("LD_PRELOAD", faults)
                    .env("BATON_FAULTS_SLOW_SYNC", slow);
            }
            command.arg("--state");
            match keeps {
                true => command.arg(state),
                false => command.arg("none"),
            };
        })
    })
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
    bars: Option<[Bar; 2]>,
) -> Result<Vec<Row>, Failure> {
    let [none, none_again, on, under_layer, under_layer_again, stalled] = of else {
        return Err("six were measured".into());
    };
    let mut rows = Vec::new();
    for (at, percentile, statistic) in [(0, "p50", Statistic::P50), (1, "p99", Statistic::P99)] {
        for (variant, name, measured) in [
            ("on", "store on, over none", [on, none, none_again]),
            (
                "stalled",
                "every sync stalled 500 ms, over none under the same layer",
                [stalled, under_layer, under_layer_again],
            ),
        ] {
            rows.push(bench.ratio(
                &format!("{id}_{variant}_{percentile}"),
                &format!("{what}, {name}, {percentile}"),
                measured,
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
