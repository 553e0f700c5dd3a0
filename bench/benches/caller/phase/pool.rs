//! The first command on a session from a pool over a command on a session that has run commands before.
//!
//! The judged row is the pool as a caller uses it: the pool replaces the session while the command runs. In another row
//! the pool is dropped before the command, so that only the session differs.

use baton_bench::{Failure, Row};
use baton_support::process::Stack;

use super::{BenchContext, Compared, client, interleave};
use crate::bars;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let stack = Stack::start(None)?;
    let client = client(&stack, stack.ticket())?;
    let commands = bench.plan.pool_commands;
    let participants =
        ["warm", "warm", "pooled", "pooled-alone"].map(|task| (&client, format!("{task} {commands}")));
    let measured = interleave(bench.plan.pool_rounds, &participants)?;
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
