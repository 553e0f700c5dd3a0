//! The benchmark of the handshakes: what the post-quantum halves of the key exchanges cost.
//!
//! ```text
//! cargo bench -p baton-bench --bench handshake [-- --quick --only PHASE --seed N --markdown FILE --json FILE --check]
//! ```
//!
//! Each phase is a file of [`phase`], and each bar a constant of [`bars`]. The phase `steady` runs in this process. The
//! others measure the first use in a new process: this executable in a [`role`], which does one thing and prints how
//! long it took. [`own`] is a handshake of Baton's Noise suite, [`classical`] the suite without ML-KEM, and [`hello`]
//! the first message of TLS.

mod bars;
mod classical;
mod hello;
mod options;
mod own;
mod phase;
mod role;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::{Failure, Run};

use crate::options::{Options, Plan};
use crate::phase::BenchContext;

fn main() -> ExitCode {
    baton_bench::run::main("handshake", role::main, || measure(&parse(phase::names())))
}

fn measure(Options { shared }: &Options) -> Result<ExitCode, Failure> {
    let plan = if shared.quick { Plan::QUICK } else { Plan::FULL };
    let mut run = Run::begin("handshake", shared, &plan);
    let bench = BenchContext::new(plan, run.seed());
    run.phases(&bench, &phase::ALL)?;
    run.end()
}
