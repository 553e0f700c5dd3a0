//! A relay that is killed or stopped, and then started again on its port: the time from its start until a command has
//! run.

use std::thread::sleep;
use std::time::{Duration, Instant};

use baton_bench::stats::{Bar, Estimate};
use baton_bench::{Failure, Row, Unit};
use baton_support::limits::STOP_PATIENCE;
use baton_support::process::Stack;

use crate::{Plan, exec, failure};

/// Bars of the milliseconds until a command has run: median, 99th percentile.
const AGAIN: [Bar; 2] = [Bar::AtMost(1_000.0), Bar::AtMost(2_000.0)];

/// Downtimes of the relay: shorter and longer than the exec-server takes to notice.
const DOWN: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(500),
    Duration::from_millis(1_300),
];

/// Uptime before each restart. The exec-server treats a shorter registration as a failed attempt.
const UP: Duration = Duration::from_millis(1_100);

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let mut stack = Stack::start(None)?;
    let (key, ticket) = (stack.client_key(), stack.ticket().to_string());
    let mut took = Vec::with_capacity(plan.restarts);
    for n in 0..plan.restarts {
        sleep(UP);
        if n % 2 == 0 {
            stack.relay.terminate();
            stack.relay.wait(STOP_PATIENCE)?;
        }
        // Kills the relay of every second round; the others have ended.
        stack.restart_relay(DOWN[n % DOWN.len()])?;
        let began = Instant::now();
        if let Some(stderr) = failure(exec(&ticket, &key)?)? {
            return Err(format!("after restart {n}: {stderr}").into());
        }
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part).round() as usize];
    let row = |id: &str, what: &str, value| {
        let what = format!("{} restarts, until a command has run: {what}", took.len());
        Row::once(
            format!("restart_{id}"),
            what,
            Unit::Milliseconds,
            Estimate::exact(value),
        )
    };
    Ok(vec![
        row("p50", "p50", at(0.5)).bar(Some(AGAIN[0])),
        row("p99", "p99", at(0.99)).bar(Some(AGAIN[1])),
        row("max", "the longest", at(1.0)),
    ])
}
