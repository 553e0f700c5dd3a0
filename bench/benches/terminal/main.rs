//! The benchmark of terminals: the time until a keystroke is echoed through Baton, beside a local pseudo-terminal.
//!
//! ```text
//! cargo bench -p baton-bench --bench terminal \
//!     [-- --quick --only PHASE --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Relay and exec-server are the `baton` binary. Both clients, and the program that echoes, are this executable in a
//! [`role`].

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
    baton_bench::run::main("terminal", role::main, || measure(&parse(phase::names())))
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let plan = match options.shared.quick {
        true => Plan::QUICK,
        false => Plan::FULL,
    };
    let mut run = Run::begin("terminal", &options.shared, &plan);
    let bench = BenchContext::new(plan, run.seed());
    run.phases(&bench, &phase::ALL)?;
    run.end()
}
