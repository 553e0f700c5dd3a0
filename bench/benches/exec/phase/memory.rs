//! Resident memory of relay and exec-server after a number of executions.
//!
//! The processes are new. Half of the executions are sequential, half have many in flight.

use baton_bench::stats::Estimate;
use baton_bench::{Row, Unit};

use super::BenchContext;
use crate::Failure;
use crate::bars;
use crate::protocol::{Request, Task};

/// Growth is measured over this many times the initial number of executions.
const FURTHER: usize = 4;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let baton = bench.traced()?;
    let executions = bench.plan.memory;
    let execute = |task, executions| {
        baton.client.ask(Request {
            task,
            warm_up: 0,
            executions,
        })
    };
    let in_flight = Task::InFlight(bench.plan.width);
    execute(Task::Sequential, executions / 2)?;
    execute(in_flight, executions - executions / 2)?;
    let (relay, exec_server) = baton.resident_bytes()?;
    // Memory must not grow with every call of a session.
    let further = FURTHER * executions;
    execute(in_flight, further)?;
    let (relay_later, exec_server_later) = baton.resident_bytes()?;

    let row = |id, part, bytes: u64, bar| {
        let what = format!("resident after {executions} executions, {part}");
        let megabytes = Estimate::exact(bytes as f64 / 1e6);
        Row::once(id, what, Unit::Megabytes, megabytes).bar(Some(bar))
    };
    let growth = |id, part, before: u64, after: u64| {
        let what = format!("growth per execution over {further} more, {part}");
        let bytes = (after as f64 - before as f64) / further as f64;
        Row::once(id, what, Unit::Bytes, Estimate::exact(bytes))
    };
    let rows = vec![
        row("relay_memory", "relay", relay, bars::RELAY_MEMORY),
        growth("relay_growth", "relay", relay, relay_later),
        row(
            "exec_server_memory",
            "exec-server",
            exec_server,
            bars::EXEC_SERVER_MEMORY,
        ),
        growth(
            "exec_server_growth",
            "exec-server",
            exec_server,
            exec_server_later,
        ),
    ];
    bench.stop_traced(baton)?;
    Ok(rows)
}
