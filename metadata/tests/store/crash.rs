//! A child process writes through the real writer and is killed with SIGKILL at random points, repeatedly on the same
//! state.
//!
//! The child acts as an exec-server with `--durability start`. It receives starts, some of which an earlier epoch
//! received too. It looks up each in the store, makes it durable, and then "runs" it by appending a line to a file.
//! After a barrier returns, the child appends what the barrier covers to a second file, the promises. Each line of both
//! files is one `write(2)`, which survives SIGKILL.
//!
//! The child appends its phase to a third file, so that kills can be aimed: at the creation of a database, at the
//! migration of an old one, at opening, at retention and its checkpoints, and at load, which most kills hit. Some
//! rounds are not verified, so that a crash also hits the state that an earlier crash left.
//!
//! `cargo test` does 20 rounds, `BATON_TEST_FULL=1` 500, `BATON_CRASHES=N` N. `BATON_TEST_SEED=N` repeats the choices
//! of another run.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_metadata::record::{ProcessPatch, ThreadKey};
use baton_metadata::store::retention::Retention;
use baton_metadata::store::sqlite::{self, StoreOptions};
use baton_metadata::store::{Store, UpkeepProgress};
use baton_metadata::{ThreadPatch, WriterHandle};
use baton_proto::{Epoch, ProcessId};
use baton_trace::outcome::Outcome;
use baton_trace::recorder::Recorder;
use rand::RngExt;

use crate::migrations::restore;
use crate::support::{
    DAY, NOW, OTHER, TestStateDirectory, batch, integrity, key, ok, seeded, start, thread_key,
};

const STATE: &str = "BATON_CRASH_STATE";
const FIRST: &str = "BATON_CRASH_FIRST";
const BULK: &str = "BATON_CRASH_BULK";

/// Number of the last ids of one epoch that the next epoch receives again, as from clients that lost their answers.
const RETRIED: u64 = 200;

/// Number of concurrent starts.
const TASKS: usize = 16;

/// Size of the write-ahead log at which the store checkpoints it, concurrently with the writer.
const LOG_DUE: u64 = baton_metadata::limits::CHECKPOINT_PAGES as u64 * 4096;

/// Number of old records that are written at once for retention to remove.
const OLD: u64 = 1_200;

/// Length of their directories, so that together they exceed [`LOG_DUE`].
const OLD_CWD: usize = LOG_DUE.div_ceil(OLD) as usize;

/// Removes records of the 1970s. By the tests' clock and by the machine's, which the writer uses, other records are
/// younger.
const RETENTION: Retention = Retention {
    age: Some(Duration::from_secs(20_000 * DAY / 1_000_000_000)),
    bytes: None,
};

/// A phase of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Opening,
    Upkeep,
    Load,
}

impl Phase {
    const ALL: [(Self, char); 3] = [(Self::Opening, 'o'), (Self::Upkeep, 'u'), (Self::Load, 'l')];

    fn letter(self) -> char {
        Self::ALL[self as usize].1
    }
}

/// A file of lines with a letter and a number.
struct LineLog(File);

impl LineLog {
    fn open(path: &Path) -> Self {
        Self(OpenOptions::new().append(true).create(true).open(path).unwrap())
    }

    fn add(&self, letter: char, n: u64) {
        (&self.0).write_all(format!("{letter}{n}\n").as_bytes()).unwrap();
    }

    fn read(path: &Path) -> Vec<(char, u64)> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| (line.chars().next().unwrap(), line[1..].parse().unwrap()))
            .collect()
    }
}

fn runs(state: &Path) -> PathBuf {
    state.with_file_name("runs")
}

fn promises(state: &Path) -> PathBuf {
    state.with_file_name("promises")
}

fn phases(state: &Path) -> PathBuf {
    state.with_file_name("phases")
}

/// Not a test: the child that [`nothing_behind_a_barrier_is_lost_and_nothing_runs_twice`] starts and kills.
#[test]
fn the_child_that_is_killed() {
    let (Some(state), Ok(first)) = (std::env::var_os(STATE), std::env::var(FIRST)) else {
        return;
    };
    let state = PathBuf::from(state);
    let options = StoreOptions {
        directory: state.clone(),
        name: "child".to_owned(),
        epoch: Epoch(rand::random()),
        retention: RETENTION,
        now_unix_ns: NOW,
    };
    let epoch = options.epoch;
    let at = LineLog::open(&phases(&state));
    at.add(Phase::Opening.letter(), 0);
    let mut opened = sqlite::open(&options, &mut |_| {}).expect("the child opens");
    if std::env::var_os(BULK).is_some() {
        at.add(Phase::Upkeep.letter(), 0);
        opened.store.write(&batch((0..OLD).map(old))).expect("written");
        while opened.store.upkeep(NOW).expect("kept up") == UpkeepProgress::More {}
    }
    at.add(Phase::Load.letter(), 0);
    let reader = opened.reader.clone();
    let (handle, _writer) = baton_metadata::start(Box::new(opened.store), Recorder::off()).unwrap();
    let next = Arc::new(AtomicU64::new(first.parse().unwrap()));
    let (ran, promised) = (
        Arc::new(LineLog::open(&runs(&state))),
        Arc::new(LineLog::open(&promises(&state))),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (handle, reader, next) = (handle.clone(), reader.clone(), Arc::clone(&next));
                let (ran, promised) = (Arc::clone(&ran), Arc::clone(&promised));
                tokio::spawn(async move {
                    let mut n = 0;
                    while n < u64::MAX {
                        n = next.fetch_add(1, Ordering::Relaxed);
                        // A start that an earlier epoch accepted is not run again, whatever its outcome.
                        if reader.process(&key(n)).unwrap().is_none() {
                            run(&handle, epoch, n, &ran, &promised).await;
                        }
                    }
                })
            })
            .collect();
        // The tasks run until the process is killed.
        for task in tasks {
            task.await.expect("until it is killed");
        }
    });
}

/// A record that retention removes, or whose timings are due to be rounded.
fn old(n: u64) -> ProcessPatch {
    let age = if n.is_multiple_of(4) { 10 * DAY } else { NOW };
    let mut patch = ok(n);
    patch.key.owner = OTHER;
    patch.key.process_id = ProcessId(rand::random());
    if let Some(start) = patch.start.as_mut().and_then(Arc::get_mut) {
        start.cwd = vec![b'x'; OLD_CWD].into();
        start.accepted_unix_ns = NOW - age;
    }
    if let Some(end) = &mut patch.end {
        end.ended_unix_ns = NOW - age;
    }
    patch
}

/// The end without timings, which are rounded once they are old by the machine's clock.
fn seen(patch: ProcessPatch) -> Option<(Outcome, u64, u64)> {
    patch
        .end
        .map(|end| (end.outcome, end.ended_unix_ns, end.stdout_bytes))
}

/// The key of the thread that has `n` among its values. Each thread covers 500 numbers, because a thread has a limited
/// number of values.
fn counter(n: u64) -> ThreadKey {
    thread_key(&format!("counter {}", n / 500))
}

async fn run(handle: &WriterHandle, epoch: Epoch, n: u64, ran: &LineLog, promised: &LineLog) {
    let mut begun = start(n);
    begun.epoch = epoch;
    let begun = ProcessPatch {
        start: Some(Arc::new(begun)),
        ..ProcessPatch::new(key(n))
    };
    handle
        .durable(begun, None, Duration::from_secs(20))
        .await
        .expect("durable");
    ran.add('r', n);
    promised.add('s', n);
    handle.accept(ProcessPatch { start: None, ..ok(n) }).unwrap();
    let mut counted = ThreadPatch::touch(counter(n), NOW);
    counted.values.insert(n.to_string().into(), Some("x".into()));
    counted.title = Some(Some(n.to_string().into()));
    if n.is_multiple_of(5) {
        handle.accept(counted).unwrap();
    }
    if n.is_multiple_of(3) {
        handle.flush().await.expect("flushed");
        promised.add('e', n);
        if n.is_multiple_of(5) {
            promised.add('t', n);
        }
    }
}

/// A state directory whose server is killed repeatedly.
struct KilledServer {
    state: TestStateDirectory,
    /// Number of promises that were verified.
    checked: usize,
    lost: u64,
    known_end: BTreeMap<u64, Outcome>,
}

impl KilledServer {
    fn new() -> Self {
        Self {
            state: TestStateDirectory {
                retention: RETENTION,
                ..TestStateDirectory::new()
            },
            checked: 0,
            lost: 0,
            known_end: BTreeMap::new(),
        }
    }

    fn start(&self, bulk: bool) -> Child {
        let state = self.state.path();
        let first = LineLog::read(&runs(&state))
            .iter()
            .map(|(_, n)| *n)
            .max()
            .map_or(0, |last| last.saturating_sub(RETRIED));
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "crash::the_child_that_is_killed", "--nocapture"])
            .env(STATE, &state)
            .env(FIRST, first.to_string())
            .stdout(Stdio::null());
        if bulk {
            child.env(BULK, "1");
        }
        child.spawn().unwrap()
    }

    /// Starts the child and kills it at a random time after it has begun `phase`; for load, after its first promise.
    /// Returns the phase that the kill hit.
    fn kill(&self, round: u64, phase: Phase, random: &mut impl RngExt) -> Phase {
        let state = self.state.path();
        let watched = match phase {
            Phase::Load => promises(&state),
            _ => phases(&state),
        };
        let text = || std::fs::read_to_string(&watched).unwrap_or_default();
        let before = text().len();
        let mut child = self.start(phase == Phase::Upkeep);
        let until = Instant::now() + Duration::from_secs(20);
        let has_begun = || match phase {
            Phase::Load => std::fs::metadata(&watched).is_ok_and(|file| file.len() > before as u64),
            phase => text()[before..].contains(phase.letter()),
        };
        while !has_begun() {
            let status = child.try_wait().unwrap();
            assert_eq!(status, None, "round {round}: the child died by itself");
            assert!(
                Instant::now() < until,
                "round {round}: the child does not get to {phase:?}"
            );
            std::thread::yield_now();
        }
        let longest = match phase {
            Phase::Opening => 25_000,
            Phase::Upkeep => 250_000,
            Phase::Load => 60_000,
        };
        std::thread::sleep(Duration::from_micros(random.random_range(0..longest)));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = LineLog::read(&phases(&state)).pop().unwrap().0;
        let (at, _) = Phase::ALL
            .into_iter()
            .find(|(_, letter)| *letter == last)
            .unwrap();
        at
    }

    /// Checks that no promise is broken and that nothing ran twice.
    fn verify(&mut self, round: u64) {
        let state = self.state.path();
        let opened = sqlite::open(&self.state.options(), &mut |survivor| panic!("{survivor:?}"))
            .unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        assert_eq!(opened.set_aside, None, "round {round}: it opens without repair");
        self.lost += opened.recovered.lost;
        let all = LineLog::read(&promises(&state));
        for (letter, n) in &all[self.checked..] {
            let record = || {
                opened
                    .reader
                    .process(&key(*n))
                    .unwrap()
                    .unwrap_or_else(|| panic!("round {round}: {n} is gone"))
            };
            match letter {
                's' => assert!(record().patch.start.is_some(), "round {round}: {n}"),
                'e' => {
                    assert_eq!(seen(record().patch), seen(ok(*n)), "round {round}: {n}");
                    self.known_end.insert(*n, Outcome::Exited { code: 0 });
                }
                _ => {
                    let thread = opened.reader.thread(&counter(*n)).unwrap().expect("the thread");
                    assert!(thread.values.contains_key(&n.to_string()), "round {round}: {n}");
                }
            }
        }
        self.checked = all.len();
        let mut once = HashSet::new();
        for (_, n) in LineLog::read(&runs(&state)) {
            assert!(once.insert(n), "round {round}: {n} ran twice");
        }
        drop(opened);
        if round.is_multiple_of(10) || self.checked == 0 {
            assert_eq!(integrity(&self.state.database()), "ok", "round {round}");
        }
    }

    /// Checks that the ends that earlier rounds verified are still stored.
    fn verify_earlier_ends(&self) {
        let opened = self.state.open();
        for n in self.known_end.keys() {
            let record = opened.reader.process(&key(*n)).unwrap();
            assert_eq!(seen(record.unwrap().patch), seen(ok(*n)), "{n}");
        }
        drop(opened);
        assert_eq!(integrity(&self.state.database()), "ok");
    }
}

#[test]
fn nothing_behind_a_barrier_is_lost_and_nothing_runs_twice() {
    let mut random = seeded();
    let full = baton_support::scale::is_full();
    let rounds: u64 = match std::env::var("BATON_CRASHES") {
        Ok(rounds) => rounds.parse().expect("BATON_CRASHES is a number"),
        Err(_) => {
            if full {
                500
            } else {
                20
            }
        }
    };
    println!("kill -9: {rounds} times");
    let mut server = KilledServer::new();
    let mut kills: BTreeMap<Phase, u64> = BTreeMap::new();
    let (mut new, mut migrated, mut logs_due, mut unseen) = (0, 0, 0, 0);
    for round in 0..rounds {
        let at = match random.random_range(0..12) {
            0 => {
                let mut once = KilledServer::new();
                let at = once.kill(round, Phase::Opening, &mut random);
                once.verify(round);
                new += 1;
                at
            }
            1 => {
                let mut once = KilledServer::new();
                restore(1, &once.state);
                let at = once.kill(round, Phase::Opening, &mut random);
                once.verify(round);
                migrated += 1;
                at
            }
            aim => {
                let phase = match aim {
                    2 | 3 => Phase::Opening,
                    4 | 5 => Phase::Upkeep,
                    _ => Phase::Load,
                };
                let at = server.kill(round, phase, &mut random);
                let log = server.state.database().with_file_name("baton.db-wal");
                logs_due += u64::from(std::fs::metadata(log).is_ok_and(|log| log.len() >= LOG_DUE));
                // The next child opens what this one left.
                match random.random_range(0..4) {
                    0 => unseen += 1,
                    _ => server.verify(round),
                }
                at
            }
        };
        *kills.entry(at).or_default() += 1;
    }
    server.verify(rounds);
    server.verify_earlier_ends();
    println!(
        "killed {kills:?}; {new} with a new database, {migrated} with one of schema 1, {logs_due} with a log that is due to be moved, {unseen} \
         opened by the next to be killed"
    );
    println!(
        "{} promises held, {} runs, {} found lost with their server",
        server.checked,
        LineLog::read(&runs(&server.state.path())).len(),
        server.lost
    );
    assert!(
        rounds < 20 || server.checked > 100,
        "too little was promised to mean anything: {}",
        server.checked
    );
    assert!(
        rounds < 100 || kills.len() == Phase::ALL.len() && logs_due > 0,
        "not everything was hit"
    );
}
