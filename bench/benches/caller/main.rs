//! The benchmark of the caller's side: what `baton-turn` adds to a caller's own loop.
//!
//! ```text
//! cargo bench -p baton-bench --bench caller [-- --quick --only PHASE --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Each phase is a file of [`phase`], and each bar a constant of [`bars`].

mod bars;
mod options;
mod phase;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::{Failure, Run};

use crate::options::{Options, Plan};
use crate::phase::BenchContext;

fn main() -> ExitCode {
    baton_bench::run::main("caller", role, || measure(&parse(phase::names())))
}

/// No phase needs a process of its own.
fn role(arguments: &[String]) -> Result<(), Failure> {
    Err(format!("no such role: {arguments:?}").into())
}

fn measure(Options { shared }: &Options) -> Result<ExitCode, Failure> {
    let plan = if shared.quick { Plan::QUICK } else { Plan::FULL };
    let mut run = Run::begin("caller", shared, &plan);
    let bench = BenchContext::new(plan, run.seed());
    run.phases(&bench, &phase::ALL)?;
    run.end()
}
