//! The benchmark of metadata. It measures: how many patches the queue merges; the writer's sustained rate beside SQLite
//! alone; the latency of a barrier beside an fsync; the memory of a full queue; queries of a million records; the
//! effect of the store on the latency of a client.
//!
//! ```text
//! cargo bench -p baton-bench --bench meta \
//!     [-- --quick --only PHASE --directory DIR --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Every phase but `memory` uses a real disk with real syncs. History and delivery use the real binary.

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
use crate::phase::BenchContext;

fn main() -> ExitCode {
    baton_bench::run::main("meta", role::main, || measure(&parse(phase::names())))
}

fn measure(Options { shared, directory }: &Options) -> Result<ExitCode, Failure> {
    let plan = if shared.quick { Plan::QUICK } else { Plan::FULL };
    let mut run = Run::begin("meta", shared, &plan);
    println!("{:<19}{}\n", "directory", directory.display());
    let bench = BenchContext::new(plan, run.seed(), directory.clone());
    run.phases(&bench, &phase::ALL)?;
    run.end()
}
