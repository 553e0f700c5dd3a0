//! The benchmark of a change: what another commit built beside what this one builds.
//!
//! ```text
//! bench/benches/before/save DIR CHECKOUT          (builds the checkout of another commit, and copies what is measured)
//! cargo bench -p baton-bench --bench before -- --before DIR [--after DIR] [--quick --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Both sides are copies: the `baton` binary, and the executables of the benchmarks `exec` and `data`, which are the clients. A
//! *process set* is a relay, an exec-server and a client. For each set of one side a set of the other runs at the same time, and a second
//! one of the earlier commit for A against A; they are visited in turns. Sets differ by luck (where their memory lies), so many
//! are started, and sets are what is resampled. `docs/BENCHMARKS.md` has the method.

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
