//! A real process that writes through the real writer is killed with SIGKILL at random points, again and again on the same state.
//!
//! The child plays an exec-server with `--durability start`: it takes starts, some of which an earlier life had taken already, asks the store
//! for each, makes it durable, and only then "runs" it, which is a line in a file. What a barrier covered it notes in another file, after
//! the barrier returned. Both files are written by one `write(2)` a line, which SIGKILL does not take back.
//!
//! `cargo test` does 20 rounds, `BATON_TEST_FULL=1` 500, `BATON_CRASHES=N` as many.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_meta::record::{Outcome, ProcessPatch};
use baton_meta::store::sqlite::{self, Options};
use baton_meta::{Meta, ThreadPatch};
use baton_proto::Epoch;
use baton_trace::recorder::Recorder;
use rand::RngExt;

use crate::support::{NOW, State, integrity, key, ok, seeded, start, thread_key};

const STATE: &str = "BATON_CRASH_STATE";
const FIRST: &str = "BATON_CRASH_FIRST";

/// Ids at the end of one life that the next is asked for again, as by clients that lost their answers.
const RETRIED: u64 = 200;

/// Starts at the same time.
const TASKS: usize = 16;

/// Lines of a letter and a number.
struct Notes(File);

impl Notes {
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
    state.join("../runs")
}

fn promises(state: &Path) -> PathBuf {
    state.join("../promises")
}

/// Not a test by itself: what [`nothing_behind_a_barrier_is_lost_and_nothing_runs_twice`] starts and kills.
#[test]
fn the_child_that_is_killed() {
    let (Some(state), Ok(first)) = (std::env::var_os(STATE), std::env::var(FIRST)) else {
        return;
    };
    let state = PathBuf::from(state);
    let options = Options {
        directory: state.clone(),
        name: "child".to_owned(),
        epoch: Epoch(rand::random()),
        retention: Default::default(),
        now_unix_ns: NOW,
    };
    let epoch = options.epoch;
    let opened = sqlite::open(&options, &mut |_| {}).expect("the child opens");
    let reader = opened.reader.clone();
    let (meta, _writer) = baton_meta::start(Box::new(opened.store), Recorder::off()).unwrap();
    let next = Arc::new(AtomicU64::new(first.parse().unwrap()));
    let (ran, promised) = (
        Arc::new(Notes::open(&runs(&state))),
        Arc::new(Notes::open(&promises(&state))),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (meta, reader, next) = (meta.clone(), reader.clone(), Arc::clone(&next));
                let (ran, promised) = (Arc::clone(&ran), Arc::clone(&promised));
                tokio::spawn(async move {
                    let mut n = 0;
                    while n < u64::MAX {
                        n = next.fetch_add(1, Ordering::Relaxed);
                        // An earlier life took it: whatever became of it, it is not run again.
                        if reader.process(&key(n)).unwrap().is_none() {
                            run(&meta, epoch, n, &ran, &promised).await;
                        }
                    }
                })
            })
            .collect();
        // No task ends by itself.
        for task in tasks {
            task.await.expect("until it is killed");
        }
    });
}

/// Its end without timings: these are rounded once they are old, by the machine's clock.
fn seen(patch: ProcessPatch) -> Option<(Outcome, u64, u64)> {
    patch
        .end
        .map(|end| (end.outcome, end.ended_unix_ns, end.stdout_bytes))
}

async fn run(meta: &Meta, epoch: Epoch, n: u64, ran: &Notes, promised: &Notes) {
    let mut begun = start(n);
    begun.epoch = epoch;
    let begun = ProcessPatch {
        start: Some(Arc::new(begun)),
        ..ProcessPatch::new(key(n))
    };
    meta.durable(begun, None, Duration::from_secs(20))
        .await
        .expect("durable");
    ran.add('r', n);
    promised.add('s', n);
    meta.accept(ProcessPatch { start: None, ..ok(n) }).unwrap();
    let mut counted = ThreadPatch::touch(thread_key("counter"), NOW);
    counted.values.insert(n.to_string().into(), Some("x".into()));
    counted.title = Some(Some(n.to_string().into()));
    if n.is_multiple_of(5) {
        meta.accept(counted).unwrap();
    }
    if n.is_multiple_of(3) {
        meta.flush().await.expect("flushed");
        promised.add('e', n);
        if n.is_multiple_of(5) {
            promised.add('t', n);
        }
    }
}

#[test]
fn nothing_behind_a_barrier_is_lost_and_nothing_runs_twice() {
    let mut random = seeded();
    let full = std::env::var("BATON_TEST_FULL").is_ok_and(|value| value == "1");
    let rounds = match std::env::var("BATON_CRASHES") {
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
    let state = State::new();
    let (mut checked, mut lost_with_server) = (0, 0);
    let mut known_end: BTreeMap<u64, Outcome> = BTreeMap::new();
    for round in 0..rounds {
        let first = Notes::read(&runs(&state.path()))
            .iter()
            .map(|(_, n)| *n)
            .max()
            .map_or(0, |last| last.saturating_sub(RETRIED));
        let before = std::fs::metadata(promises(&state.path())).map_or(0, |file| file.len());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::the_child_that_is_killed", "--nocapture"])
            .env(STATE, state.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Some are killed while they open, most under load.
        let until = Instant::now() + Duration::from_secs(20);
        if random.random_range(0..8) > 0 {
            while std::fs::metadata(promises(&state.path())).map_or(0, |file| file.len()) == before {
                assert!(
                    child.try_wait().unwrap().is_none(),
                    "round {round}: the child died by itself"
                );
                assert!(
                    Instant::now() < until,
                    "round {round}: the child promises nothing"
                );
                std::thread::yield_now();
            }
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..60_000)));
        child.kill().unwrap();
        child.wait().unwrap();

        let opened = sqlite::open(&state.options(), &mut |survivor| panic!("{survivor:?}"))
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(opened.set_aside, None, "round {round}: it opens without repair");
        lost_with_server += opened.recovered.lost;
        let all = Notes::read(&promises(&state.path()));
        for (letter, n) in &all[checked..] {
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
                    known_end.insert(*n, Outcome::Exited { code: 0 });
                }
                _ => {
                    let thread = opened
                        .reader
                        .thread(&thread_key("counter"))
                        .unwrap()
                        .expect("the thread");
                    assert!(thread.values.contains_key(&n.to_string()), "round {round}: {n}");
                }
            }
        }
        checked = all.len();
        let mut once = HashSet::new();
        for (_, n) in Notes::read(&runs(&state.path())) {
            assert!(once.insert(n), "round {round}: {n} ran twice");
        }
        if round % 10 == 0 || round + 1 == rounds {
            drop(opened);
            assert_eq!(integrity(&state.database()), "ok", "round {round}");
        }
    }
    // And nothing of an earlier round went away later.
    let opened = state.open();
    for n in known_end.keys() {
        assert_eq!(
            seen(opened.reader.process(&key(*n)).unwrap().unwrap().patch),
            seen(ok(*n))
        );
    }
    println!(
        "{checked} promises held, {} runs, {lost_with_server} lost with their server",
        Notes::read(&runs(&state.path())).len()
    );
    assert!(
        rounds < 20 || checked > 100,
        "too little was promised to mean anything: {checked}"
    );
}
