//! The benchmark of metadata: what the queue merges, what the writer sustains beside SQLite alone, what a barrier takes beside an
//! fsync, what the queue holds at its bound, how long history takes at a million records, and whether a client feels any of it.
//!
//! ```text
//! cargo bench -p baton-bench --bench meta [-- --quick --only PHASE --directory DIR --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! The disk is a real one and every sync is real. History and delivery go through the real binary.

mod bars;
mod million;
mod options;
mod phase;
mod records;
mod role;
mod state;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::{Failure, Run};

use crate::options::{Options, Plan};
use crate::phase::Bench;

fn main() -> ExitCode {
    baton_bench::run::main("meta", role::main, || measure(&parse(phase::names())))
}

fn measure(Options { shared, directory }: &Options) -> Result<ExitCode, Failure> {
    let plan = if shared.quick { Plan::QUICK } else { Plan::FULL };
    let mut run = Run::begin("meta", shared, &plan);
    println!("{:<19}{}\n", "directory", directory.display());
    let bench = Bench::new(plan, run.seed(), directory.clone());
    run.phases(&bench, &phase::ALL)?;
    run.end()
}
