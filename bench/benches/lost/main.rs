//! The benchmark of lost connections: nothing of a command's output is lost or repeated, every exit is delivered, every
//! command runs once, and commands soon go on after an outage.
//!
//! ```text
//! cargo bench -p baton-bench --bench lost \
//!     [-- --quick --only PHASE --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Relay and exec-server are the `baton` binary. The client and the commands are this executable in a [`role`], so that
//! the client can be stopped. `--seed` fixes the outages too.

mod bars;
mod options;
mod phase;
mod role;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::{Failure, Run};

use crate::options::{Options, Plan};
use crate::phase::BenchContext;

fn main() -> ExitCode {
    baton_bench::run::main("lost", role::main, || measure(&parse(phase::names())))
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let plan = match options.shared.quick {
        true => Plan::QUICK,
        false => Plan::FULL,
    };
    let mut run = Run::begin("lost", &options.shared, &plan);
    let bench = BenchContext::new(plan, run.seed());
    run.phases(&bench, &phase::ALL)?;
    run.end()
}
