//! The first command on a session from a pool over a command on a session that has run commands before.
//!
//! The judged row is the pool as a caller uses it: the pool replaces the session while the command runs. In another row
//! the pool is dropped before the command, so that only the session differs.

use baton_bench::{Failure, Row, Worker};
use baton_support::process::Stack;

use super::{BenchContext, Compared, client};
use crate::bars;

/// The second is for A against A.
const TASKS: [&str; 4] = ["warm", "warm", "pooled", "pooled-alone"];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let commands = bench.plan.pool_commands;
    let start = |_| {
        let stack = Stack::start(None)?;
        let client = client(&stack, stack.ticket())?;
        Ok((stack, client))
    };
    let visit = |(_, client): &(Stack, Worker), visited: usize| {
        Ok([client.ask(format!("{} {commands}", TASKS[visited]))?])
    };
    let [measured] = bench.plan.pool.measure_warm(TASKS.len(), start, visit)?;
    let [warm, warm_again, pooled, alone] = &measured[..] else {
        return Err("not four participants".into());
    };
    let over_warm = |own, bar| Compared {
        own,
        peer: warm,
        peer_again: warm_again,
        bar,
    };
    Ok(vec![
        bench.ratio(
            "pooled_over_warm",
            "first command on a pooled session over a warm one, p50",
            over_warm(pooled, Some(bars::POOLED)),
        ),
        bench.ratio(
            "pooled_alone_over_warm",
            "the same, while no pool fills, p50",
            over_warm(alone, None),
        ),
        bench.milliseconds("pooled", "first command on a pooled session, p50", pooled),
        bench.milliseconds("pool_warm", "command on a warm session, p50", warm),
    ])
}
