//! The phases of a run, each of which returns rows, and what they share.

mod echo;
mod frozen;
mod killed;
mod outages;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use baton_bench::stats::{Bootstrap, Estimate};
use baton_bench::{Failure, Phase, Row, Unit, Worker};
use baton_support::process::Stack;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::bars;
use crate::options::Plan;

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 4] = [
    ("echo", echo::measure),
    ("killed", killed::measure),
    ("frozen", frozen::measure),
    ("outages", outages::measure),
];

/// The names of all phases.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// The state that all phases share.
pub(crate) struct BenchContext {
    pub(crate) plan: Plan,
    pub(crate) bootstrap: Bootstrap,
    seed: u64,
}

impl BenchContext {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
            seed,
        }
    }

    /// A source of random numbers: the same in every run with this seed.
    fn random(&self, nth: usize) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ nth as u64)
    }
}

/// What the client of a phase found, and how often each command ran.
#[derive(Debug)]
struct Tally {
    /// Bytes of output that are missing, repeated or altered.
    wrong_bytes: f64,
    /// Commands whose exit was not delivered, or another than theirs.
    wrong_exits: f64,
    /// Commands that did not run exactly once.
    wrong_runs: f64,
}

impl Tally {
    /// The rows of a phase that says `what` it does.
    fn rows(&self, id: &str, what: &str) -> Vec<Row> {
        [
            ("bytes", "bytes lost, repeated or altered", self.wrong_bytes),
            ("exits", "exits not delivered, or wrong", self.wrong_exits),
            ("runs", "commands that did not run once", self.wrong_runs),
        ]
        .map(|(of, name, value)| {
            count(&format!("{id}_{of}"), &format!("{what}: {name}"), value).bar(Some(bars::NONE))
        })
        .into()
    }
}

fn count(id: &str, what: &str, value: f64) -> Row {
    Row::once(id, what, Unit::Count, Estimate::exact(value))
}

/// Commands that write known output, in a client of its own, which can be frozen.
struct Commands {
    client: Worker,
    /// Each command appends its number.
    file: PathBuf,
    commands: u32,
}

impl Commands {
    /// Starts `commands` of them, `width` at a time. Each writes up to `pieces` pieces of output, `pause_ms` apart.
    fn start(stack: &Stack, commands: u32, width: u32, pieces: u32, pause_ms: u64) -> Result<Self, Failure> {
        let file = stack.directory().join("ran");
        let path = file.to_str().ok_or("the temporary directory is not UTF-8")?;
        let client = client(stack)?;
        client.ask(format!("start {commands} {width} {pieces} {pause_ms} {path}"))?;
        Ok(Self {
            client,
            file,
            commands,
        })
    }

    /// The number of commands that have ended.
    fn ended(&self) -> Result<u32, Failure> {
        match self.client.ask("ended")?[..] {
            [ended] => Ok(ended as u32),
            _ => Err("not one number".into()),
        }
    }

    /// Waits for the other commands. Also returns how often a call was recovered.
    fn finish(&self) -> Result<(Tally, f64), Failure> {
        let [wrong_bytes, wrong_exits, recovered] = self.client.ask("finish")?[..] else {
            return Err("not three numbers".into());
        };
        let errors = fs::read_to_string(self.file.with_extension("errors")).unwrap_or_default();
        errors
            .lines()
            .take(3)
            .for_each(|line| eprintln!("failed: {line}"));
        let tally = Tally {
            wrong_bytes,
            wrong_exits,
            wrong_runs: wrong_runs(&self.file, self.commands)?,
        };
        Ok((tally, recovered))
    }
}

/// The commands of `0..commands` whose number is not exactly once in the file.
fn wrong_runs(file: &Path, commands: u32) -> Result<f64, Failure> {
    let mut times = HashMap::<u32, u32>::new();
    for line in fs::read_to_string(file)?.lines() {
        *times.entry(line.parse()?).or_default() += 1;
    }
    let wrong = (0..commands).filter(|number| times.get(number) != Some(&1));
    Ok(wrong.count() as f64)
}

fn client(stack: &Stack) -> Result<Worker, Failure> {
    let key = stack.client_key();
    let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
    Worker::start(&["client", stack.ticket(), key], None)
}
