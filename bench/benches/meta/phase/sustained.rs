//! The sustained rate of durable records, beside SQLite alone with the same rows in batches of the same size.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, interleave};
use baton_metadata::limits::BATCH_PATCHES;
use rusqlite::{Connection, TransactionBehavior, params};
use tempfile::TempDir;

use super::BenchContext;
use crate::bars;
use crate::options::Plan;
use crate::records::{ARGV, BOOT, CWD, EPOCH, OWNER, TIMINGS, process_id, trace_id, whole};
use crate::state::{self, State};

/// The maximum number of queued patches before the producer pauses: enough that the writer never waits for the
/// producer.
const AHEAD: usize = 3 * BATCH_PATCHES;

/// Seconds per record of each window of a visit.
type Windows = Vec<f64>;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    // One round, because a visit is long. The bootstrap draws windows instead of rounds. Windows of the same position
    // in their visits are paired, because their databases have the same age.
    let measured = RefCell::new([Rounds::new(), Rounds::new(), Rounds::new()]);
    interleave(
        3,
        1,
        |visited| {
            let windows = match visited {
                0 => ours(bench)?,
                _ => sqlite(bench)?,
            };
            for (window, seconds) in windows.into_iter().enumerate() {
                measured.borrow_mut()[visited].add(window, [seconds]);
            }
            Ok(Vec::new())
        },
        |_| Ok(()),
    )?;
    let measured = measured.into_inner();
    let [own, peer, peer_again] = &measured;
    let what = "records made durable a second, over SQLite's own batched inserts";
    let rate = |id: &str, what: &str, of| {
        let estimate = bench.bootstrap.value(of, Statistic::Rate);
        Row::new(id, what, Unit::PerSecond, estimate, of)
    };
    Ok(vec![
        bench.ratio(
            "sustained_over_sqlite",
            what,
            [own, peer, peer_again],
            Statistic::Rate,
            Some(bars::SUSTAINED),
        ),
        rate("sustained", "records made durable", own),
        rate("sqlite", "SQLite alone", peer),
    ])
}

/// Divides a visit into windows and computes the seconds per record of each, from the numbers of durable records at its
/// start and end.
struct WindowCounter {
    started: Instant,
    window: f64,
    ended: f64,
    counted: u64,
    windows: Windows,
    wanted: usize,
}

impl WindowCounter {
    fn start(plan: &Plan) -> Self {
        Self {
            started: Instant::now(),
            window: plan.sustain_seconds / plan.sustain_windows as f64,
            ended: 0.0,
            counted: 0,
            windows: Windows::new(),
            wanted: plan.sustain_windows,
        }
    }

    /// Ends each window whose time is over, except the last. Returns whether the time of the last window is over; the
    /// caller ends that window.
    fn is_over(&mut self, durable: impl FnOnce() -> u64) -> bool {
        if self.started.elapsed().as_secs_f64() < self.window * (self.windows.len() + 1) as f64 {
            return false;
        }
        if self.windows.len() + 1 == self.wanted {
            return true;
        }
        self.end(durable());
        false
    }

    fn end(&mut self, durable: u64) {
        let now = self.started.elapsed().as_secs_f64();
        self.windows
            .push((now - self.ended) / (durable - self.counted) as f64);
        (self.ended, self.counted) = (now, durable);
    }
}

/// The writer's windows, from the first accepted record to the barrier after the last.
fn ours(bench: &BenchContext) -> Result<Windows, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let state = State::start(&bench.directory)?;
    let mut n = 0;
    let mut windows = WindowCounter::start(&bench.plan);
    while !windows.is_over(|| state.handle.stats().patches) {
        for _ in 0..256 {
            state.handle.accept(whole(n))?;
            n += 1;
        }
        while state.handle.stats().waiting > AHEAD {
            thread::sleep(Duration::from_millis(1));
        }
    }
    runtime.block_on(state.handle.flush())?;
    let stats = state.handle.stats();
    if (stats.patches, stats.dropped) != (n, 0) {
        return Err(format!("{n} records were accepted, but the writer reports {stats:?}").into());
    }
    windows.end(n);
    runtime.block_on(state.end())?;
    Ok(windows.windows)
}

const INSERT: &str = "insert into processes (owner, id, begun_ns, life, thread, argv, argv_cut, cwd, detached, parameters, trace_id, sampled,
        os_pid, start_ticks, spawned_ns, last_seq, ended_ns, outcome, failed, exit_code, signal, core_dumped, fault,
        stdout_bytes, stderr_bytes, slowest, slowest_ns, timings)
    values (1, ?1, ?2, 1, 'thread', ?3, 0, ?4, 0, ?5, ?6, 1, ?7, ?8, ?9, 4, ?10, 'exited', 0, 0, null, null, null, 23, 0, 37, 1234567, ?11)";

/// Inserts the same rows with SQLite alone: a prepared insert and SQLite's automatic checkpoints.
fn sqlite(bench: &BenchContext) -> Result<Windows, Failure> {
    let directory = TempDir::new_in(&bench.directory)?;
    // Creates the schema.
    drop(state::open(directory.path())?);
    let mut connection = Connection::open(directory.path().join("baton.db"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute(
        "insert or ignore into owners (owner, key) values (1, ?1)",
        [&OWNER.0[..]],
    )?;
    connection.execute(
        "insert or ignore into lives (epoch, boot_id) values (?1, ?2)",
        params![&EPOCH.0[..], &BOOT[..]],
    )?;
    let argv = serde_json::to_string(&ARGV)?;
    let mut n: u64 = 0;
    let mut windows = WindowCounter::start(&bench.plan);
    while !windows.is_over(|| n) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for _ in 0..BATCH_PATCHES {
            let now = baton_trace::record::unix_now_ns().cast_signed();
            insert.execute(params![
                &process_id(n).0[..],
                now,
                argv,
                CWD,
                &[1_u8; 32][..],
                &trace_id(n)[..],
                1_000 + n.cast_signed() % 30_000,
                n.cast_signed(),
                now,
                now,
                &TIMINGS[..],
            ])?;
            n += 1;
        }
        drop(insert);
        transaction.commit()?;
    }
    windows.end(n);
    Ok(windows.windows)
}
