//! The benchmark of the tools that people use over ssh: rsync, git and copies of files, over Baton and over `ssh -J`.
//!
//! ```text
//! cargo bench -p baton-bench --bench tools \
//!     [-- --quick --only PHASE --seed N --directory DIR --markdown FILE --json FILE --check --install-ssh]
//! ```
//!
//! Each sample is one run of a command line from its start to its exit. It opens a connection of its own.

mod bars;
mod options;
mod peers;
mod phase;
mod sources;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::{Failure, Run, packages, ssh};

use crate::options::{Options, Plan};
use crate::phase::BenchContext;

fn main() -> ExitCode {
    let no_role = |_: &[String]| Err("this benchmark has no workers".into());
    baton_bench::run::main("tools", no_role, || measure(&parse(phase::names())))
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    if options.install_ssh {
        ssh::install()?;
        for program in ["rsync", "git"] {
            packages::install_program(program, program)?;
        }
    }
    let plan = match options.shared.quick {
        true => Plan::QUICK,
        false => Plan::FULL,
    };
    let mut run = Run::begin("tools", &options.shared, &plan);
    let bench = BenchContext::new(plan, run.seed(), options.directory.as_deref())?;
    run.phases(&bench, &phase::ALL)?;
    run.end()
}
