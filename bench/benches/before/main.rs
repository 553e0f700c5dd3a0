//! The benchmark of a change: the build of another commit beside the build of this one.
//!
//! ```text
//! bench/benches/before/save DIR CHECKOUT          (builds the checkout of another commit and copies the executables)
//! cargo bench -p baton-bench --bench before -- --before DIR [--after DIR] \
//!     [--quick --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Each side is the `baton` binary and the executables of the benchmarks `exec` and `data`, which act as clients. A
//! *process set* is a relay, an exec-server and a client. Three sets run at the same time and are visited in turns: one
//! of the later commit, one of the earlier commit, and a second one of the earlier commit for A against A. Sets differ
//! at random, by the layout of their memory. Therefore many sets are started, and the bootstrap resamples sets.
//! `docs/BENCHMARKS.md` describes the method.

mod options;
mod sets;
mod side;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::run::main as run_main;
use baton_bench::{Failure, Run, worker};

use crate::options::{Options, Plan};
use crate::side::Side;

fn main() -> ExitCode {
    run_main("before", role, || measure(&parse(sets::names())))
}

fn role(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [role] if role == "sink" => worker::count_spans(),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let Options {
        shared,
        before,
        after,
    } = options;
    let plan = if shared.quick { Plan::QUICK } else { Plan::FULL };
    let before = Side::at(before)?;
    let after = match after {
        Some(dir) => Side::at(dir)?,
        None => Side::this()?,
    };
    let mut run = Run::begin("before", shared, &plan);
    println!("before: {before}\nafter:  {after}\n");
    run.compare([&before, &after].map(|side| side.commit().to_owned()));
    let sets = sets::Sets::new(plan, run.seed(), before, after)?;
    run.phases(&sets, &sets::ALL)?;
    run.end()
}
