//! Commands that are all started at once, on loopback and over a round trip of 40 ms, beside the same number of
//! commands two at a time on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use baton_bench::link::{Link, Shape};
use baton_bench::stats::{Bar, Estimate};
use baton_bench::{Failure, Row, Unit};
use baton_core_client::Ticket;
use baton_support::process::Stack;

use crate::{Plan, exec, failure};

/// Time until the last command of a burst has ended, over the same with two at a time.
const LAST: Bar = Bar::AtMost(2.0);

/// Percent of commands that fail.
const FAILED: Bar = Bar::AtMost(0.0);

/// A round trip of 40 ms, with a rate above that of the machine.
const AWAY: Shape = Shape {
    bytes_per_second: 1e9,
    one_way: Duration::from_millis(20),
};

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let stack = Stack::start(None)?;
    let key = stack.client_key();
    let near = stack.ticket().to_string();
    let relay: SocketAddr = stack.relay_url().trim_start_matches("http://").parse()?;
    let link = Link::bind(AWAY)?;
    let far = Ticket {
        relay_url: format!("http://{}", link.address()?),
        ..stack.ticket().parse()?
    }
    .to_string();
    thread::spawn(move || link.serve(relay));

    // One command over each link first, so that the measured ones find every file in the page cache.
    at_once(1, &near, &key)?;
    at_once(1, &far, &key)?;
    let by_two = two_at_a_time(plan.commands, &near, &key)?;
    let mut rows = vec![row(
        "by_two",
        "two at a time: the last",
        Unit::Milliseconds,
        by_two.as_secs_f64() * 1e3,
    )];
    for (id, name, ticket) in [("near", "loopback", &near), ("far", "40 ms away", &far)] {
        let (last, failed) = at_once(plan.commands, ticket, &key)?;
        let at_once = format!("{} at once, {name}", plan.commands);
        let ratio = last.as_secs_f64() / by_two.as_secs_f64();
        rows.push(row(
            id,
            &format!("{at_once}: the last"),
            Unit::Milliseconds,
            last.as_secs_f64() * 1e3,
        ));
        let over = format!("{at_once}: the last, over two at a time");
        rows.push(row(&format!("{id}_ratio"), &over, Unit::Times, ratio).bar(Some(LAST)));
        let what = format!("{at_once}: failed, of a hundred");
        let percent = failed as f64 * 100.0 / plan.commands as f64;
        rows.push(row(&format!("{id}_failed"), &what, Unit::Percent, percent).bar(Some(FAILED)));
    }
    Ok(rows)
}

fn row(id: &str, what: &str, unit: Unit, value: f64) -> Row {
    Row::once(format!("burst_{id}"), what, unit, Estimate::exact(value))
}

/// The time until the last command has ended, and the number of failed commands.
fn at_once(commands: usize, ticket: &str, key: &Path) -> Result<(Duration, usize), Failure> {
    let began = Instant::now();
    let mut children = Vec::with_capacity(commands);
    for _ in 0..commands {
        children.push(exec(ticket, key)?);
    }
    let mut failed = 0;
    for child in children {
        if let Some(stderr) = failure(child)? {
            if failed < 3 {
                eprintln!("failed: {stderr}");
            }
            failed += 1;
        }
    }
    Ok((began.elapsed(), failed))
}

fn two_at_a_time(commands: usize, ticket: &str, key: &Path) -> Result<Duration, Failure> {
    let left = AtomicUsize::new(commands);
    let began = Instant::now();
    let work = || -> Result<(), Failure> {
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
        {
            if let Some(stderr) = failure(exec(ticket, key)?)? {
                return Err(stderr.into());
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        work()?;
        other.join().map_err(|_| "a thread panicked")?
    })?;
    Ok(began.elapsed())
}
