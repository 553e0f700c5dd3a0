//! The benchmark of metadata: what the queue merges, what the writer sustains beside SQLite alone, what a barrier takes beside an
//! fsync, and what the queue holds at its bound.
//!
//! ```text
//! cargo bench -p baton-tests --bench meta [-- --quick --only PHASE --directory DIR --seed N --json FILE --check]
//! ```
//!
//! The disk is a real one and every sync is real. The last phase asks whether a client feels any of it: executions through the real binary with the store
//! on, and with every sync stalled, beside `--state none`.

mod bars;
mod options;
mod phase;
mod records;
#[path = "../data/report.rs"]
mod report;
mod role;
mod state;

use std::process::ExitCode;
use std::time::Instant;

use baton_tests::bench::worker::ROLE;
use baton_tests::bench::{Failure, table};
use clap::Parser as _;

use crate::options::{Options, Plan};
use crate::phase::Bench;
use crate::report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, role)) if first == ROLE => role::main(role).map(|()| ExitCode::SUCCESS),
        // `cargo test --all-targets` runs benchmarks too, without this flag.
        _ if !arguments.iter().any(|argument| argument == "--bench") => {
            println!("run this with: cargo bench -p baton-tests --bench meta");
            Ok(ExitCode::SUCCESS)
        }
        _ => bench(&Options::parse()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn bench(options: &Options) -> Result<ExitCode, Failure> {
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut report = Report::new(seed, plan);
    report.print_head();
    println!("{:<19}{}\n", "directory", options.directory.display());

    let started = Instant::now();
    let bench = Bench::new(plan, seed, options.directory.clone());
    for (name, measure) in phase::ALL {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        let began = Instant::now();
        let rows = measure(&bench)?;
        // At once: a run is long, and what it has measured may be all that somebody wants.
        println!("{name}, {:.0} s", began.elapsed().as_secs_f64());
        table::print(&rows);
        println!();
        report.rows.extend(rows);
    }
    report.print_verdicts();
    println!("took {:.0} s, without building", started.elapsed().as_secs_f64());
    if let Some(file) = &options.json {
        report.write_json(file)?;
    }
    let failed = options.check && report.has_failed();
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
