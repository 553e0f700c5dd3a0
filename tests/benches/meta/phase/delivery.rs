//! What a client feels of the store: how long an exit takes into its hands, with the store on, and with every sync stalled for half a second,
//! beside an exec-server that keeps nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use baton_tests::bench::{Failure, Row, Unit, Worker};
use baton_tests::process::Stack;
use baton_tests::stats::Statistic;

use super::{Bench, Visit};
use crate::bars;

/// What every sync takes longer, for the last of them.
const STALL_MS: u64 = 500;

/// An exec-server, and a client of it.
struct Way {
    stack: Stack,
    client: Worker,
}

impl Way {
    fn start(prepare: impl FnOnce(&mut Command, &Path)) -> Result<Self, Failure> {
        let stack = Stack::start_with(None, prepare)?;
        let (ticket, key) = (stack.ticket().to_string(), stack.client_key());
        let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
        let client = Worker::start(&["client", &ticket, key], None)?;
        client.ask("exit 200")?;
        Ok(Self { stack, client })
    }

    fn none(command: &mut Command, _: &Path) {
        command.args(["--state", "none"]);
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let faults = faults()?;
    let stalled = |command: &mut Command, directory: &Path| {
        let state = directory.join("stalled.state");
        command.arg("--state").arg(&state).env("LD_PRELOAD", &faults).env(
            "BATON_FAULTS_SLOW_SYNC",
            format!("{STALL_MS}:{}", state.display()),
        );
    };
    let ways = [
        Way::start(Way::none)?,
        Way::start(Way::none)?,
        Way::start(|_, _| {})?,
        Way::start(stalled)?,
    ];
    let executions = bench.plan.executions;
    let visits: Vec<Visit<'_>> = ["exit", "all"]
        .iter()
        .flat_map(|what| ways.iter().map(move |way| (what, way)))
        .map(|(what, way)| Box::new(move || way.client.ask(format!("{what} {executions}"))) as Visit<'_>)
        .collect();
    let measured = bench.interleave(bench.plan.delivery_rounds, &visits)?;
    drop(visits);
    let mut rows = Vec::new();
    for (of, id, what, has_bar) in [
        (
            &measured[..ways.len()],
            "delivery",
            "exit into the caller's hands",
            true,
        ),
        (&measured[ways.len()..], "execution", "whole execution", false),
    ] {
        let [none, none_again, on, stalled] = of else {
            return Err("four were measured".into());
        };
        for (percentile, statistic, bar) in [
            ("p50", Statistic::P50, bars::DELIVERY[0]),
            ("p99", Statistic::P99, bars::DELIVERY[1]),
        ] {
            for (way, name, own) in [
                ("on", "store on", on),
                ("stalled", "every sync stalled 500 ms", stalled),
            ] {
                rows.push(bench.ratio(
                    &format!("{id}_{way}_{percentile}"),
                    &format!("{what}, {name}, over none, {percentile}"),
                    [own, none, none_again],
                    statistic,
                    has_bar.then_some(bar),
                ));
            }
            let value = bench.bootstrap.value(none, statistic);
            let name = format!("{what}, --state none, {percentile}");
            rows.push(Row::new(
                format!("{id}_none_{percentile}"),
                name,
                Unit::Milliseconds,
                value,
                none,
            ));
        }
    }
    for way in ways {
        drop(way.client);
        // The stalled one cannot write everything in its time, and says so; it ends all the same.
        way.stack.stop()?;
    }
    Ok(rows)
}

/// The faults as a library to be loaded under the exec-server.
fn faults() -> Result<PathBuf, Failure> {
    let binary = baton_tests::process::baton()?;
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
