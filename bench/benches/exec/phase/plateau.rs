//! Resident memory of relay and exec-server once the exec-server forgets as many finished processes as it remembers.
//!
//! It remembers the id of each finished process for some minutes. A full run executes for longer than that.

use std::time::{Duration, Instant};

use baton_bench::stats::Estimate;
use baton_bench::{Row, Unit};

use super::BenchContext;
use crate::Failure;
use crate::protocol::{Request, Task};

/// Executions of one request.
const BATCH: usize = 2_000;

/// Growth is measured over the last of this many parts of the time.
const PARTS: u32 = 10;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let baton = bench.traced()?;
    let request = Request {
        task: Task::InFlight(bench.plan.width),
        warm_up: 0,
        executions: BATCH,
    };
    let (began, total) = (Instant::now(), Duration::from_secs(bench.plan.plateau_seconds));
    let execute_until = |until: Duration| {
        while began.elapsed() < until {
            baton.client.ask(request)?;
        }
        Ok::<_, Failure>((baton.client.executions(), baton.resident_bytes()?))
    };
    let (executed, (relay_before, exec_server_before)) = execute_until(total - total / PARTS)?;
    let (executions, (relay, exec_server)) = execute_until(total)?;
    let seconds = total.as_secs();
    let mut rows = Vec::new();
    for (id, part, before, bytes) in [
        ("relay", "relay", relay_before, relay),
        ("exec_server", "exec-server", exec_server_before, exec_server),
    ] {
        let what = format!("resident after {executions} executions in {seconds} s, {part}");
        let megabytes = Estimate::exact(bytes as f64 / 1e6);
        rows.push(Row::once(
            format!("{id}_plateau"),
            what,
            Unit::Megabytes,
            megabytes,
        ));
        let growth = (bytes as f64 - before as f64) / (executions - executed).max(1) as f64;
        let what = format!("growth per execution in the last tenth of that time, {part}");
        rows.push(Row::once(
            format!("{id}_plateau_growth"),
            what,
            Unit::Bytes,
            Estimate::exact(growth),
        ));
    }
    bench.stop_traced(baton)?;
    Ok(rows)
}
