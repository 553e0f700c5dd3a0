//! Ten thousand `echo ok`: by the library, with a grace, and by a new `baton exec` each. How often each ran is counted
//! in the exec-server's records.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use baton_bench::{Failure, Row, records};
use baton_support::process::{Stack, baton, isolated};

use super::{BenchContext, Tally, client};

/// Commands of the library at once.
const IN_FLIGHT: usize = 16;

/// `baton exec` processes at once.
const PROCESSES: usize = 2;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let (calls, processes) = (bench.plan.echoes, bench.plan.echo_processes);
    let mut state = PathBuf::new();
    let stack = Stack::start_with(None, |command, dir| {
        state = dir.join("state");
        command.arg("--state").arg(&state);
    })?;
    let client = client(&stack)?;
    let [mut wrong_bytes, mut wrong_exits] = client.ask(format!("echo {calls} {IN_FLIGHT}"))?[..] else {
        return Err("not two numbers".into());
    };
    for (bytes, exits) in by_processes(&stack, processes)? {
        wrong_bytes += bytes;
        wrong_exits += exits;
    }
    client.ask("flush")?;
    let recorded = records::count(&state)?;
    let all = calls + processes;
    let tally = Tally {
        wrong_bytes,
        wrong_exits,
        wrong_runs: recorded.abs_diff(all) as f64,
    };
    Ok(tally.rows(
        "echo",
        &format!("{all} × `echo ok`, {processes} of them `baton exec`"),
    ))
}

/// What was wrong in each lane: bytes and exits.
fn by_processes(stack: &Stack, commands: usize) -> Result<Vec<(f64, f64)>, Failure> {
    let left = AtomicUsize::new(commands);
    let (ticket, key) = (stack.ticket(), stack.client_key());
    let lane = || {
        let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let mut wrong = (0.0, 0.0);
        while take().is_ok() {
            let (bytes, exits) = echo(ticket, &key)?;
            wrong = (wrong.0 + bytes, wrong.1 + exits);
        }
        Ok(wrong)
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(lane)).collect();
        let ended = lanes
            .into_iter()
            .map(|lane| lane.join().map_err(|_| "a thread panicked")?);
        ended.collect()
    })
}

/// What is wrong with one command: bytes and exits.
fn echo(ticket: &str, key: &Path) -> Result<(f64, f64), Failure> {
    let mut command = isolated(Command::new(baton()?), None);
    command.args(["exec", "--grace", "60s", "--key"]).arg(key);
    command.args([ticket, "--", "echo", "ok"]).stdin(Stdio::null());
    let output = command.output()?;
    let is_right = output.status.success() && output.stderr.is_empty();
    if !is_right {
        eprintln!("failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let wrong_bytes = match &output.stdout[..] {
        b"ok\n" => 0,
        other => other.len().max(1),
    };
    Ok((wrong_bytes as f64, f64::from(u8::from(!is_right))))
}
