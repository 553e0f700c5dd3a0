//! The benchmark of the data path: Baton beside a blind relay and ssh, under load, on a slow link and with many
//! sessions.
//!
//! ```text
//! cargo bench -p baton-bench --bench data \
//!     [-- --quick --only PHASE --seed N --markdown FILE --json FILE --check --install-ssh]
//! ```
//!
//! This process only sends requests and records the answers. The measured programs run in separate processes: this
//! executable in a [`role`], the `baton` binary (relay, exec-server, `exec`), and OpenSSH. `docs/BENCHMARKS.md`
//! describes the method.

mod bars;
mod limits;
mod options;
mod peers;
mod phase;
mod role;

use std::process::ExitCode;

use baton_bench::options::parse;
use baton_bench::ssh;
use baton_bench::{Failure, Run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::options::{Options, Plan};
use crate::phase::BenchContext;

fn main() -> ExitCode {
    baton_bench::run::main("data", role::main, || measure(&parse(phase::names())))
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    raise_open_files();
    if options.install_ssh {
        ssh::install()?;
    }
    let plan = if options.shared.quick {
        Plan::QUICK
    } else {
        Plan::FULL
    };
    let mut run = Run::begin("data", &options.shared, &plan);
    let bench = BenchContext::new(plan, run.seed());
    run.phases(&bench, &phase::ALL)?;
    run.end()
}

/// Raises the limit on open files, as far as this user may. The relays and the balancer of the phases `idle` and
/// `fleet` need it, and every child process inherits it. If it stays too low, opening sessions fails with an error that
/// names the cause.
fn raise_open_files() {
    let mut files = getrlimit(Resource::Nofile);
    let wanted = Some(limits::OPEN_FILES);
    if files.current.is_some_and(|current| current < limits::OPEN_FILES) {
        let raised = Rlimit {
            current: wanted,
            maximum: files.maximum.max(wanted),
        };
        if setrlimit(Resource::Nofile, raised).is_err() {
            files.current = files.maximum;
            let _ = setrlimit(Resource::Nofile, files);
        }
    }
}
