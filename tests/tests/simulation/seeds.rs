//! The tests: they simulate seeds, print a summary of each, and replay some.
//!
//! Each seed is simulated in a process of its own, exactly as a replay does it, so that a replay has the same history.
//! The process matters: the order in which a runtime drops its tasks in a crash follows from task ids, which tokio
//! counts per process.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::{Claim, check, check_fleet};
use crate::fleet::plan::FleetPlan;
use crate::fleet::simulate_fleet;
use crate::history::{CallResult, Event};
use crate::plan::Plan;
use crate::simulation::{Outcome, simulate};

/// Number of seeds that `cargo test` simulates.
const SEEDS: u64 = 40;

/// Seeds that are simulated twice: they have crashes of each component, and partitions; one is of a fleet.
const REPLAYED: [u64; 5] = [3, 4, 5, 42, 54];

/// One seed of this many is of a fleet.
const FLEET_EVERY: u64 = 5;

fn is_of_fleet(seed: u64) -> bool {
    seed.is_multiple_of(FLEET_EVERY)
}

/// Limit on the real time of one seed, which takes less than a second. Beyond it some task spins.
const REAL_PATIENCE: Duration = Duration::from_secs(120);

/// Violations of one claim that are printed.
const PRINTED: usize = 5;

/// Prefix of each line of a printed history.
const MARK: &str = "| ";

#[test]
fn whatever_the_network_does_every_claim_holds() {
    if let Some(seed) = number("BATON_SIM_SEED") {
        return replay_here(seed);
    }
    let first = number("BATON_SIM_FIRST").unwrap_or(1);
    let last = first + number("BATON_SIM_SEEDS").unwrap_or(SEEDS).max(1) - 1;
    println!("seeds {first} to {last}");
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last {
                break;
            }
            let printed = replay(seed);
            for line in printed.lines().filter(|line| line.starts_with("seed ")) {
                println!("{line}");
            }
            if !printed.lines().any(|line| line == HOLDS) {
                failed.lock().unwrap().push(seed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "BATON_SIM_SEED=… replays a seed; these failed: {failed:?}"
    );
}

/// The same events at the same virtual times.
#[test]
fn a_seed_replays_the_same_history() {
    if number("BATON_SIM_SEED").is_some() {
        return;
    }
    for seed in REPLAYED {
        let [once, again] = [(); 2].map(|()| replay(seed));
        let [once, again] = [&once, &again].map(|printed| {
            let history = printed.lines().filter(|line| line.starts_with(MARK));
            history.collect::<Vec<_>>()
        });
        assert!(once.len() > 20, "seed {seed}: {once:?}");
        let different = (0..once.len().max(again.len())).find(|&i| once.get(i) != again.get(i));
        if let Some(i) = different {
            panic!("seed {seed}: {:?}, then {:?}", once.get(i), again.get(i));
        }
    }
}

/// The last line that is printed for a seed without violations.
const HOLDS: &str = "every claim holds";

/// Simulates a seed in this process and prints its plan, its history and the violations.
fn replay_here(seed: u64) {
    let is_fleet = is_of_fleet(seed);
    let outcome = match is_fleet {
        true => {
            let plan = FleetPlan::of(seed);
            println!("{plan:#?}");
            simulate_fleet(plan)
        }
        false => {
            let plan = Plan::of(seed);
            println!("{plan:#?}");
            simulate(plan)
        }
    };
    for entry in &outcome.entries {
        println!("{MARK}{:9.3} {}", entry.at.as_secs_f64(), line(&entry.event));
    }
    println!("{}", summary(seed, &outcome));
    let violations = match is_fleet {
        true => check_fleet(&outcome.entries),
        false => check(&outcome.entries),
    };
    let mut counts: BTreeMap<Claim, usize> = BTreeMap::new();
    for violation in &violations {
        let count = counts.entry(violation.claim).or_default();
        *count += 1;
        if *count <= PRINTED {
            println!("seed {seed}: {violation}");
        }
    }
    assert!(
        violations.is_empty(),
        "seed {seed}: {} violations",
        violations.len()
    );
    println!("{HOLDS}");
}

/// Simulates a seed in a process of its own and returns what it prints.
fn replay(seed: u64) -> String {
    // A file, not a pipe: nothing reads before the process ends, and a full pipe would block it.
    let mut printed = tempfile::tempfile().unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["whatever_the_network_does", "--nocapture"])
        .env("BATON_SIM_SEED", seed.to_string())
        .stdin(Stdio::null())
        .stdout(printed.try_clone().unwrap())
        .stderr(printed.try_clone().unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while process.try_wait().unwrap().is_none() {
        if begun.elapsed() > REAL_PATIENCE {
            process.kill().unwrap();
            process.wait().unwrap();
            return format!("seed {seed} did not end within {REAL_PATIENCE:?}: a task spins");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut text = Vec::new();
    printed.rewind().unwrap();
    printed.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    match text.lines().any(|line| line.starts_with("seed ")) {
        true => text,
        // Without a summary the process panicked; its whole output is the report.
        false => text
            .lines()
            .map(|line| format!("seed {seed}: {line}\n"))
            .collect(),
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {value}")),
    )
}

/// A one-line summary of a seed.
fn summary(seed: u64, outcome: &Outcome) -> String {
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = 0;
    for entry in &outcome.entries {
        match &entry.event {
            Event::Fault(_) => faults += 1,
            Event::Ended { end, .. } => {
                let end = match end {
                    CallResult::Complete => "complete",
                    CallResult::Failed(_) => "failed",
                    CallResult::Unreached(_) => "unreached",
                    CallResult::Superseded => "superseded",
                    CallResult::Unknown => "unknown",
                    CallResult::Violated(_) => "violated",
                    CallResult::GivenUp => "given up",
                    CallResult::Crashed => "crashed",
                };
                *calls.entry(end).or_default() += 1;
            }
            _ => {}
        }
    }
    let elapsed = outcome.elapsed.as_secs_f64();
    format!("seed {seed}: {elapsed:.1} s, {faults} faults, calls {calls:?}")
}

/// An event without its random fields, so that two replays can be compared.
fn line(event: &Event) -> String {
    match event {
        Event::Read { run, data } => format!("Read {run:?} {}", data.len()),
        Event::Spawned { run, epoch, .. } => format!("Spawned {run:?} {epoch:?}"),
        // The trace of a call without a caller's context is random.
        Event::Recorded(recorded) => {
            format!(
                "Recorded {:?} has_process={}",
                recorded.side,
                recorded.process.is_some()
            )
        }
        event => format!("{event:?}"),
    }
}
