//! A writer that accepts records as fast as it makes them durable, and its peer, SQLite alone.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use baton_bench::Failure;
use baton_metadata::limits;
use baton_metadata::limits::BATCH_PATCHES;
use rusqlite::{Connection, TransactionBehavior, params};
use tempfile::TempDir;

use super::barrier::runtime_of_requests;
use crate::records::{ARGV, BOOT, CWD, EPOCH, OWNER, TIMINGS, process_id, trace_id, whole};
use crate::state::{self, State};

/// The maximum number of queued patches before the producer pauses: enough that the writer never waits for the
/// producer.
const AHEAD: usize = 3 * BATCH_PATCHES;

/// Opens a new database below `directory`. Answers `SECONDS`: seconds per record, from the first that is accepted to
/// the barrier after the last.
pub(super) fn main(directory: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let state = State::start(directory)?;
    let mut n = 0;
    runtime_of_requests(|seconds| {
        let (before, started) = (n, Instant::now());
        let window = Duration::from_secs_f64(seconds.parse()?);
        while started.elapsed() < window {
            for _ in 0..256 {
                state.handle.accept(whole(n))?;
                n += 1;
            }
            while state.handle.stats().waiting > AHEAD {
                thread::sleep(Duration::from_millis(1));
            }
        }
        runtime.block_on(state.handle.flush())?;
        let took = started.elapsed().as_secs_f64();
        let stats = state.handle.stats();
        if (stats.patches, stats.dropped) != (n, 0) {
            return Err(format!("{n} records were accepted, but the writer reports {stats:?}").into());
        }
        Ok(vec![took / (n - before) as f64])
    })?;
    runtime.block_on(state.end())
}

const INSERT: &str = "insert into processes (owner, id, begun_ns, life, thread, argv, argv_cut, cwd, detached, parameters, trace_id, sampled,
        os_pid, start_ticks, spawned_ns, last_seq, ended_ns, outcome, failed, exit_code, signal, core_dumped, message,
        stdout_bytes, stderr_bytes, slowest, slowest_ns, timings)
    values (1, ?1, ?2, 1, 'thread', ?3, 0, ?4, 0, ?5, ?6, 1, ?7, ?8, ?9, 4, ?10, 'exited', 0, 0, null, null, null, 23, 0, 37, 1234567, ?11)";

/// The peer: inserts the same rows, in transactions of the same size, with SQLite alone and the writer's settings. One
/// differs: the writer checkpoints beside its transactions, and SQLite alone in one of them, at the same size of the
/// log.
pub(super) fn sqlite(directory: &Path) -> Result<(), Failure> {
    let directory = TempDir::new_in(directory)?;
    // Creates the schema, in a file with the writer's `auto_vacuum`.
    drop(state::open(directory.path())?);
    let mut connection = Connection::open(directory.path().join("baton.db"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", limits::CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", limits::WAL_KEPT_BYTES)?;
    connection.pragma_update(None, "cache_size", -limits::WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "memory")?;
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
    runtime_of_requests(|seconds| {
        let (before, started) = (n, Instant::now());
        let window = Duration::from_secs_f64(seconds.parse()?);
        while started.elapsed() < window {
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
        Ok(vec![started.elapsed().as_secs_f64() / (n - before) as f64])
    })
}
