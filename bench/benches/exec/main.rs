//! The benchmark of executions: Baton beside the floor, judged by its bars.
//!
//! ```text
//! cargo bench -p baton-bench --bench exec [-- --quick --only PHASE --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! This process only sends requests and records the answers. The measured programs run in separate processes: this
//! executable in a [`role`] (floor, sink, client), and the `baton` binary (relay, exec-server). `docs/BENCHMARKS.md`
//! describes the method.

mod bars;
mod exports;
mod options;
mod phase;
mod protocol;
mod role;
mod worker;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::{Failure, Run};

use crate::options::{Options, Plan};
use crate::phase::BenchContext;

fn main() -> ExitCode {
    baton_bench::run::main("exec", role::main, || measure(&parse(phase::names())))
}

fn measure(Options { shared }: &Options) -> Result<ExitCode, Failure> {
    let plan = if shared.quick { Plan::QUICK } else { Plan::FULL };
    let mut run = Run::begin("exec", shared, &plan);
    let bench = BenchContext::start(plan, run.seed())?;
    run.phases(&bench, &phase::ALL)?;
    let exports = bench.exports()?;
    exports.print();
    run.note("exports", exports.json(), !exports.are_complete());
    run.end()
}
