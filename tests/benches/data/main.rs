//! The benchmark of the data path: Baton beside a blind relay and ssh, under load, on a slow link, in a crowd, judged by its bars.
//!
//! ```text
//! cargo bench -p baton-tests --bench data [-- --quick --only PHASE --seed N --json FILE --check --install-ssh]
//! ```
//!
//! This process only asks and counts. What is measured runs in processes of its own: this executable again, in a
//! [`role`], the `baton` binary (relay, exec-server, `exec`), and OpenSSH. `docs/BENCHMARKS.md` has the method.

mod bars;
mod limits;
mod options;
mod peers;
mod phase;
mod report;
mod role;

use std::process::ExitCode;
use std::time::Instant;

use baton_tests::bench::worker::ROLE;
use baton_tests::bench::{Failure, table};
use baton_tests::ssh;
use clap::Parser as _;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::options::{Options, Plan};
use crate::phase::Bench;
use crate::report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, role)) if first == ROLE => role::main(role).map(|()| ExitCode::SUCCESS),
        // `cargo test --all-targets` runs benchmarks too, without this flag.
        _ if !arguments.iter().any(|argument| argument == "--bench") => {
            println!("run this with: cargo bench -p baton-tests --bench data");
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
    raise_open_files();
    if options.install_ssh {
        ssh::install()?;
    }
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut report = Report::new(seed, plan);
    report.print_head();

    let started = Instant::now();
    let bench = Bench::new(plan, seed);
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

/// For the relay that holds a crowd; all parts inherit it. Where it is not allowed, opening sessions fails and says so.
fn raise_open_files() {
    let mut files = getrlimit(Resource::Nofile);
    if files.current.is_some_and(|current| current < limits::OPEN_FILES) {
        files.current = Some(
            files
                .maximum
                .unwrap_or(limits::OPEN_FILES)
                .min(limits::OPEN_FILES),
        );
        let _ = setrlimit(Resource::Nofile, files);
    }
}
