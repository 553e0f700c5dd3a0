//! The benchmark of executions: Baton beside the floor, judged by its bars.
//!
//! ```text
//! cargo bench -p baton-tests --bench exec [-- --quick --seed N --json FILE --check]
//! ```
//!
//! This process only asks and counts. What is measured runs in processes of its own: this executable again, in a
//! [`role`] (floor, sink, client), and the `baton` binary (relay, exec-server). `docs/BENCHMARKS.md` has the method.

mod bars;
mod options;
mod phase;
mod protocol;
mod report;
mod role;
mod worker;

use std::process::ExitCode;
use std::time::Instant;

use baton_tests::bench::worker::ROLE;
use baton_tests::bench::{Failure, machine};
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
            println!("run this with: cargo bench -p baton-tests --bench exec");
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
    let mut report = Report::new(machine::facts(), seed, plan);
    report.print_head();

    let started = Instant::now();
    let bench = Bench::start(plan, seed)?;
    for (name, measure) in phase::ALL {
        let began = Instant::now();
        eprint!("{name} … ");
        report.rows.extend(measure(&bench)?);
        eprintln!("{:.0} s", began.elapsed().as_secs_f64());
    }
    report.exports = bench.finish()?;

    report.print();
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
