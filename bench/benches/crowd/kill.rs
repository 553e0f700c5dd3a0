//! SIGKILL for a command whose output is stalled, and whose descendants have left its process group: the time from the
//! call until none of them is left.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use baton_bench::stats::{Bar, Estimate};
use baton_bench::{Failure, Row, Unit};
use baton_core_client::{Client, Command, Seed, Signal};
use baton_support::process::Stack;

use crate::Plan;

/// Bar of the milliseconds until none is left, 99th percentile.
const GONE: Bar = Bar::AtMost(50.0);

/// Descendants, each in a session of its own.
const DESCENDANTS: usize = 50;

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let stack = Stack::start(None)?;
    let key = Seed::read(&stack.client_key())?.client_key()?;
    let client = Client::new(stack.ticket().parse()?, key);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut took = Vec::with_capacity(plan.kills);
    for n in 0..plan.kills {
        took.push(runtime.block_on(kill(&client, n))?.as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part).round() as usize];
    let row = |id: &str, what: &str, value| {
        let what = format!(
            "{} kills, until none of {DESCENDANTS} descendants is left: {what}",
            took.len()
        );
        Row::once(
            format!("kill_{id}"),
            what,
            Unit::Milliseconds,
            Estimate::exact(value),
        )
    };
    Ok(vec![
        row("p50", "p50", at(0.5)),
        row("p99", "p99", at(0.99)).bar(Some(GONE)),
        row("max", "the longest", at(1.0)),
    ])
}

async fn kill(client: &Client, n: usize) -> Result<Duration, Failure> {
    let token = format!("1000.{}{n:04}", std::process::id());
    let script = format!(
        "for n in $(seq {DESCENDANTS}); do (setsid sleep {token} >/dev/null 2>&1 &); done; head -c 1073741824 /dev/zero"
    );
    let (mut run, _) = client.start(Command::new("sh").args(["-c", &script])).await?;
    let begun = Instant::now();
    while left(&token) < DESCENDANTS {
        if begun.elapsed() > PATIENCE {
            return Err("the descendants do not start".into());
        }
        sleep(Duration::from_millis(5));
    }
    // The output is not read, and fills every buffer on its way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    run.signal(Signal::Kill).await?;
    while left(&token) > 0 {
        if begun.elapsed() > PATIENCE {
            return Err("descendants are left".into());
        }
        sleep(Duration::from_micros(200));
    }
    let took = begun.elapsed();
    while run.next().await?.is_some() {}
    Ok(took)
}

/// The processes with this token in their arguments.
fn left(token: &str) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else {
        return 0;
    };
    let arguments = entries
        .flatten()
        .map(|entry| fs::read(entry.path().join("cmdline")));
    let has_token = |arguments: &Vec<u8>| String::from_utf8_lossy(arguments).contains(token);
    arguments.flatten().filter(has_token).count()
}
