//! Records made durable without a pause, beside a program that inserts the same rows with SQLite alone, in batches of the same size.

use std::thread;
use std::time::{Duration, Instant};

use baton_meta::limits::BATCH_PATCHES;
use baton_tests::bench::{Failure, Row, Unit};
use baton_tests::stats::Statistic;
use rusqlite::{Connection, TransactionBehavior, params};
use tempfile::TempDir;

use super::{Bench, Visit};
use crate::bars;
use crate::records::{ARGV, BOOT, CWD, EPOCH, OWNER, TIMINGS, process_id, trace_id, whole};
use crate::state::{self, State};

/// What the producer leaves waiting: enough that the writer never waits for it.
const AHEAD: usize = 3 * BATCH_PATCHES;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let participants: [Visit<'_>; 3] = [
        Box::new(|| ours(bench)),
        Box::new(|| sqlite(bench)),
        Box::new(|| sqlite(bench)),
    ];
    let measured = bench.interleave(bench.plan.sustain_rounds, &participants)?;
    let [own, peer, peer_again] = &measured[..] else {
        return Err("not three participants".into());
    };
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

/// Seconds a record, from the first that is accepted to the barrier behind the last.
fn ours(bench: &Bench) -> Result<Vec<f64>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let state = State::start(&bench.directory)?;
    let mut n = 0;
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < bench.plan.sustain_seconds {
        for _ in 0..256 {
            state.meta.accept(whole(n))?;
            n += 1;
        }
        while state.meta.stats().waiting > AHEAD {
            thread::sleep(Duration::from_millis(1));
        }
    }
    runtime.block_on(state.meta.flush())?;
    let seconds = started.elapsed().as_secs_f64();
    runtime.block_on(state.end())?;
    Ok(vec![seconds / n as f64])
}

const INSERT: &str = "insert into processes (owner, id, begun_ns, life, thread, argv, argv_cut, cwd, detached, parameters, trace_id, sampled,
        os_pid, start_ticks, spawned_ns, last_seq, ended_ns, outcome, failed, exit_code, signal, core_dumped, fault,
        stdout_bytes, stderr_bytes, slowest, slowest_ns, timings)
    values (1, ?1, ?2, 1, 'thread', ?3, 0, ?4, 0, ?5, ?6, 1, ?7, ?8, ?9, 4, ?10, 'exited', 0, 0, null, null, null, 23, 0, 37, 1234567, ?11)";

/// The same with SQLite alone: its own checkpoints, a plain insert.
fn sqlite(bench: &Bench) -> Result<Vec<f64>, Failure> {
    let directory = TempDir::new_in(&bench.directory)?;
    // For the schema.
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
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < bench.plan.sustain_seconds {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for _ in 0..BATCH_PATCHES {
            let now = baton_trace::record::unix_now_ns().cast_signed();
            transaction.prepare_cached(INSERT)?.execute(params![
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
        transaction.commit()?;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(vec![seconds / n as f64])
}
