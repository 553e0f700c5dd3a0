//! Which seeds are simulated, and what is said of each.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::{Claim, check};
use crate::history::{End, Entry, Event};
use crate::plan::Plan;
use crate::world::{Outcome, simulate};

/// Seeds of `cargo test`.
const SEEDS: u64 = 40;

/// Seeds that are simulated twice: crashes of each part, and partitions.
const REPLAYED: [u64; 4] = [4, 27, 54, 95];

/// Before each line of a printed history.
const MARK: &str = "| ";

/// Real time that one seed may take; it takes less than a second. Beyond it something spins.
const REAL_PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn whatever_the_network_does_every_claim_holds() {
    if let Some(seed) = number("BATON_SIM_SEED") {
        let plan = Plan::of(seed);
        println!("{plan:#?}");
        let outcome = simulate(plan);
        print(&outcome.entries);
        assert!(judge(seed, &outcome), "see above");
        return;
    }
    let first = number("BATON_SIM_FIRST").unwrap_or(1);
    let seeds = number("BATON_SIM_SEEDS").unwrap_or(SEEDS);
    println!("seeds {first} to {}", first + seeds - 1);
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, |cores| cores.get());
    let working = AtomicUsize::new(workers);
    let current: Vec<_> = (0..workers).map(|_| Mutex::new(None::<(u64, Instant)>)).collect();
    thread::scope(|scope| {
        for slot in &current {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    *slot.lock().unwrap() = Some((seed, Instant::now()));
                    let holds = std::panic::catch_unwind(|| judge(seed, &simulate(Plan::of(seed))));
                    if !holds.unwrap_or(false) {
                        failed.lock().unwrap().push(seed);
                    }
                }
                *slot.lock().unwrap() = None;
                working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        // A part that spins in virtual time cannot be stopped from inside.
        while working.load(Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(50));
            for slot in &current {
                if let Some((seed, since)) = *slot.lock().unwrap()
                    && since.elapsed() > REAL_PATIENCE
                {
                    eprintln!("seed {seed} does not end; BATON_SIM_SEED={seed} replays it");
                    std::process::abort();
                }
            }
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "BATON_SIM_SEED=… replays a seed; these failed: {failed:?}"
    );
}

/// What a seed promises: the same events at the same virtual times. Each replay is a process of its own, as a person's is: the order
/// in which a runtime drops its tasks in a crash follows from their numbers, which a process counts.
#[test]
fn a_seed_replays_the_same_history() {
    if number("BATON_SIM_SEED").is_some() {
        return;
    }
    for seed in REPLAYED {
        let [once, again] = [(); 2].map(|()| replay(seed));
        assert!(once.len() > 20, "seed {seed}: {once:?}");
        let different = (0..once.len().max(again.len())).find(|&i| once.get(i) != again.get(i));
        if let Some(i) = different {
            panic!("seed {seed}: {:?}, then {:?}", once.get(i), again.get(i));
        }
    }
}

/// The history that a replay prints.
fn replay(seed: u64) -> Vec<String> {
    let replay = Command::new(std::env::current_exe().unwrap())
        .args(["whatever", "--nocapture"])
        .env("BATON_SIM_SEED", seed.to_string())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&replay.stdout);
    let history = printed.lines().filter(|line| line.starts_with(MARK));
    history.map(str::to_owned).collect()
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {value}")),
    )
}

/// Prints a line on the seed, and each violation. `true`: all is well.
fn judge(seed: u64, outcome: &Outcome) -> bool {
    let violations = check(&outcome.entries);
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = 0;
    for entry in &outcome.entries {
        match &entry.event {
            Event::Fault(_) => faults += 1,
            Event::Ended { end, .. } => {
                let end = match end {
                    End::Complete => "complete",
                    End::Failed(_) => "failed",
                    End::GivenUp => "given up",
                    End::Crashed => "crashed",
                };
                *calls.entry(end).or_default() += 1;
            }
            _ => {}
        }
    }
    println!(
        "seed {seed}: {:.1} s, {faults} faults, calls {calls:?}",
        outcome.elapsed.as_secs_f64()
    );
    let mut told: BTreeMap<Claim, usize> = BTreeMap::new();
    for violation in &violations {
        let told = told.entry(violation.claim).or_default();
        *told += 1;
        if *told <= 5 {
            println!("seed {seed}: {violation}");
        }
    }
    violations.is_empty()
}

/// Prints a history without what is random, so that two replays can be compared.
fn print(entries: &[Entry]) {
    for entry in entries {
        println!("{MARK}{:9.3} {}", entry.at.as_secs_f64(), line(&entry.event));
    }
}

fn line(event: &Event) -> String {
    match event {
        Event::Read { run, data } => format!("Read {run:?} {}", data.len()),
        Event::Spawned { run, life, .. } => format!("Spawned {run:?} {life:?}"),
        Event::Recorded(recorded) => format!("Recorded {:?} {}", recorded.side, recorded.trace),
        event => format!("{event:?}"),
    }
}
