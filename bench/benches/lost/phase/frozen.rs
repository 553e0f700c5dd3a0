//! Two hundred commands at once while the client, the relay, or both are frozen (SIGSTOP).

use std::thread::sleep;
use std::time::Duration;

use baton_bench::{Failure, Row};
use baton_support::process::Stack;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::{BenchContext, Commands, count};

/// The shortest time, in seconds.
const SHORTEST: f64 = 1.0;

/// The time between two freezes, in which calls recover.
const BETWEEN: Duration = Duration::from_secs(2);

/// The pause between two pieces of a command's output.
const PAUSE_MS: u64 = 250;

/// What is frozen.
#[derive(Clone, Copy)]
struct Frozen {
    client: bool,
    relay: bool,
}

/// In turns.
const FROZEN: [Frozen; 3] = [
    Frozen {
        client: true,
        relay: false,
    },
    Frozen {
        client: false,
        relay: true,
    },
    Frozen {
        client: true,
        relay: true,
    },
];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let (all, freezes) = (bench.plan.frozen, bench.plan.freezes);
    let times = times(bench);
    let total: Duration = times.iter().map(|time| *time + BETWEEN).sum();
    println!("frozen for {times:.1?}: client, relay, both, in turns");
    // The longest commands run a little longer than all of it.
    let pieces = total.as_millis() as u64 / PAUSE_MS + 8;
    let stack = Stack::start(None)?;
    let commands = Commands::start(&stack, all, all, u32::try_from(pieces)?, PAUSE_MS)?;
    for (time, frozen) in times.iter().zip(FROZEN.iter().cycle()) {
        sleep(BETWEEN);
        if frozen.client {
            commands.client.freeze()?;
        }
        if frozen.relay {
            stack.relay.freeze()?;
        }
        sleep(*time);
        if frozen.relay {
            stack.relay.thaw()?;
        }
        if frozen.client {
            commands.client.thaw()?;
        }
    }
    let (tally, recovered) = commands.finish()?;
    let longest = bench.plan.freeze_seconds;
    let what = format!("{all} at once, client and relay frozen {freezes} times for 1 to {longest} s");
    let mut rows = tally.rows("frozen", &what);
    rows.push(count(
        "frozen_recovered",
        &format!("{what}: calls that were attached again"),
        recovered,
    ));
    Ok(rows)
}

/// One random time of each of as many equal parts of the range, in random order.
fn times(bench: &BenchContext) -> Vec<Duration> {
    let mut random = bench.random(0);
    let part = (bench.plan.freeze_seconds - SHORTEST) / f64::from(bench.plan.freezes);
    let mut times: Vec<_> = (0..bench.plan.freezes)
        .map(|nth| SHORTEST + part * (f64::from(nth) + random.random::<f64>()))
        .map(Duration::from_secs_f64)
        .collect();
    times.shuffle(&mut random);
    times
}
