//! Commands that run while the relay is killed every three seconds.

use std::thread::sleep;
use std::time::{Duration, Instant};

use baton_bench::{Failure, Row};
use baton_support::process::Stack;

use super::{BenchContext, Commands, count};

/// From one kill to the next.
const EVERY: Duration = Duration::from_secs(3);

/// Downtimes of the relay: shorter and longer than the exec-server takes to notice.
const DOWN: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(500),
    Duration::from_millis(1_300),
];

/// Commands at once.
const IN_FLIGHT: u32 = 32;

/// Pieces of output of the longest command, and the pause between them: 4 s.
const PIECES: u32 = 13;
const PAUSE_MS: u64 = 300;

/// Longest duration of the phase: several times what the largest plan needs.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let mut stack = Stack::start(None)?;
    let all = bench.plan.killed;
    let commands = Commands::start(&stack, all, IN_FLIGHT, PIECES, PAUSE_MS)?;
    let began = Instant::now();
    let mut kills = 0u32;
    while commands.ended()? < all {
        if began.elapsed() > PATIENCE {
            return Err("the commands do not end".into());
        }
        let next = EVERY * (kills + 1);
        match next.checked_sub(began.elapsed()) {
            // Looks often whether all have ended, so that no kill comes after that.
            Some(left) if !left.is_zero() => sleep(left.min(Duration::from_millis(100))),
            _ => {
                stack.restart_relay(DOWN[kills as usize % DOWN.len()])?;
                kills += 1;
            }
        }
    }
    let (tally, recovered) = commands.finish()?;
    let what = format!("{all} commands, the relay killed every {} s", EVERY.as_secs());
    let mut rows = tally.rows("killed", &what);
    rows.push(count("killed_kills", &format!("{what}: kills"), kills.into()));
    rows.push(count(
        "killed_recovered",
        &format!("{what}: calls that were attached again"),
        recovered,
    ));
    Ok(rows)
}
