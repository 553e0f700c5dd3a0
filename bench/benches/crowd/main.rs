//! The benchmark of bursts, restarts and kills: five hundred commands started at once, the time until a command succeeds
//! after a restart of the relay, and the time until none of a command's descendants is left. Each command of the first
//! two is a new `baton exec` process.
//!
//! ```text
//! cargo bench -p baton-bench --bench crowd \
//!     [-- --quick --only PHASE --commands N --restarts N --kills N --markdown FILE --json FILE --check]
//! ```

mod burst;
mod kill;
mod restart;

use std::process::{Child, Command, ExitCode, Stdio};

use baton_bench::options::parse;
use baton_bench::{Failure, Phase, Run};
use baton_support::process::{baton, isolated};

/// Measures bursts of commands, restarts of a relay and kills, and judges them by their bars.
#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    shared: baton_bench::Options,
    /// Commands of a burst [default: 500, with --quick 100]
    #[arg(long, value_name = "N")]
    commands: Option<usize>,
    /// Restarts [default: 100, with --quick 10]
    #[arg(long, value_name = "N")]
    restarts: Option<usize>,
    /// Kills [default: 200, with --quick 20]
    #[arg(long, value_name = "N")]
    kills: Option<usize>,
}

/// The amount of work.
#[derive(Debug)]
struct Plan {
    commands: usize,
    restarts: usize,
    kills: usize,
}

const PHASES: [(&str, Phase<Plan>); 3] = [
    ("burst", burst::measure),
    ("restart", restart::measure),
    ("kill", kill::measure),
];

fn main() -> ExitCode {
    let role = |_: &[String]| Err("this benchmark has no roles".into());
    baton_bench::run::main("crowd", role, || {
        let options: Options = parse(PHASES.map(|(name, _)| name));
        let (commands, restarts, kills) = if options.shared.quick {
            (100, 10, 20)
        } else {
            (500, 100, 200)
        };
        let plan = Plan {
            commands: options.commands.unwrap_or(commands),
            restarts: options.restarts.unwrap_or(restarts),
            kills: options.kills.unwrap_or(kills),
        };
        let mut run = Run::begin("crowd", &options.shared, &plan);
        run.phases(&plan, &PHASES)?;
        run.end()
    })
}

/// Starts `baton exec TICKET -- true`.
fn exec(ticket: &str, key: &std::path::Path) -> Result<Child, Failure> {
    let mut command = isolated(Command::new(baton()?), None);
    command
        .args(["exec", "--key"])
        .arg(key)
        .args([ticket, "--", "true"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// Waits for a command. Returns its stderr if it failed, `None` if it succeeded.
fn failure(child: Child) -> Result<Option<String>, Failure> {
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then_some(stderr))
}
