//! The benchmark of the caller's side: what wrapped streams, runtime families, pooled sessions and searches for a
//! project root cost a caller's own loop.
//!
//! ```text
//! cargo bench -p baton-bench --bench caller [-- --quick --only PHASE --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Each phase is a file of [`phase`], and each bar a constant of [`bars`]. The phases start
//! processes: this executable in a [`role`], and the `baton` binary (relay, exec-server).

mod bars;
mod limits;
mod options;
mod phase;
mod role;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::{Failure, Run};

use crate::options::{Options, Plan};
use crate::phase::BenchContext;

fn main() -> ExitCode {
    baton_bench::run::main("caller", role::main, || measure(&parse(phase::names())))
}

fn measure(Options { shared }: &Options) -> Result<ExitCode, Failure> {
    let plan = if shared.quick { Plan::QUICK } else { Plan::FULL };
    let mut run = Run::begin("caller", shared, &plan);
    let bench = BenchContext::new(plan, run.seed());
    run.phases(&bench, &phase::ALL)?;
    run.end()
}
