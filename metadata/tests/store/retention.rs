//! Retention and compaction.

use std::fs;
use std::sync::Arc;

use baton_metadata::ThreadPatch;
use baton_metadata::record::{ProcessKey, ProcessPatch};
use baton_metadata::store::sqlite::{self, OpenedStore};
use baton_metadata::store::timings::decode;
use baton_metadata::store::{Store, UpkeepProgress};

use crate::support::{
    DAY, NOW, OTHER, SECOND, TestStateDirectory, id, ids, integrity, key, ok, stages, start, started,
    thread_key, titled, write,
};

/// Runs upkeep until it is done. Returns the number of steps.
fn run_upkeep(store: &mut dyn Store, now: u64) -> u32 {
    for steps in 0..10_000 {
        if store.upkeep(now).unwrap() == UpkeepProgress::Done {
            return steps;
        }
    }
    panic!("upkeep does not finish");
}

#[test]
fn expired_records_are_removed_and_running_processes_are_kept() {
    let mut state = TestStateDirectory::new();
    state.retention = "30d".parse().unwrap();
    let mut opened = state.open();
    // One of the oldest starts, but it ended 20 days before the upkeep.
    let mut long = ok(1);
    long.end.as_mut().unwrap().ended_unix_ns = NOW + 40 * DAY;
    write(&mut opened.store, [started(0), long, ok(2), ok(3)]);
    write(&mut opened.store, (1_000..2_000).map(ok));
    let mut young = ok(5_000);
    Arc::make_mut(young.start.as_mut().unwrap()).accepted_unix_ns = NOW + 50 * DAY;
    write(&mut opened.store, [young]);
    let steps = run_upkeep(&mut opened.store, NOW + 60 * DAY);
    assert!(steps >= 4, "in small steps: {steps}");
    assert_eq!(ids(&opened), [id(5_000), id(1), id(0)]);
    // It expires before the next sweep, which removes it.
    assert_eq!(run_upkeep(&mut opened.store, NOW + 60 * DAY), 0);
    run_upkeep(&mut opened.store, NOW + 75 * DAY);
    assert_eq!(ids(&opened), [id(5_000), id(0)]);
}

#[test]
fn nothing_is_removed_without_a_limit() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, (0..10).map(ok));
    run_upkeep(&mut opened.store, NOW + 10_000 * DAY);
    assert_eq!(ids(&opened).len(), 10);
}

/// Checkpoints the log, after waiting for a checkpoint of the store's own thread.
fn move_log(connection: &rusqlite::Connection) {
    let is_busy = || connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0));
    while is_busy().unwrap() {
        std::thread::yield_now();
    }
}

#[test]
fn the_oldest_records_are_removed_until_the_file_fits_its_limit() {
    let mut state = TestStateDirectory::new();
    state.retention = "3MiB".parse().unwrap();
    let mut opened = state.open();
    let large = |n: u64| {
        let mut start = start(n);
        start.argv = vec![vec![b'a'; 2_000].into()].into();
        ProcessPatch {
            start: Some(Arc::new(start)),
            ..ok(n)
        }
    };
    let running = ProcessPatch {
        end: None,
        ..large(0)
    };
    write(&mut opened.store, [running]);
    for first in (0..4_000).step_by(500) {
        write(&mut opened.store, (first + 1..=first + 500).map(large));
    }
    let connection = rusqlite::Connection::open(state.database()).unwrap();
    move_log(&connection);
    let before = fs::metadata(state.database()).unwrap().len();
    assert!(before > 8 << 20, "{before}");
    run_upkeep(&mut opened.store, NOW);
    move_log(&connection);
    let after = fs::metadata(state.database()).unwrap().len();
    // One MiB of free pages is kept for new records.
    assert!(after <= 5 << 20, "{after}");
    let left = connection.query_row(
        "select count(*), min(n), max(n) from processes where outcome is not null",
        [],
        |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        },
    );
    let (count, oldest, newest) = left.unwrap();
    assert!(
        count > 400 && newest == 4_001 && newest - oldest + 1 == count,
        "not the newest were kept: {count} {oldest} {newest}"
    );
    assert!(
        opened.reader.process(&key(0)).unwrap().is_some(),
        "a running process was removed"
    );
    drop(opened);
    assert_eq!(integrity(&state.database()), "ok");
}

#[test]
fn upkeep_finishes_although_running_processes_exceed_the_limit() {
    let mut state = TestStateDirectory::new();
    state.retention = "1MiB".parse().unwrap();
    let mut opened = state.open();
    let running = |n: u64| {
        let mut start = start(n);
        start.argv = vec![vec![b'a'; 4_000].into()].into();
        ProcessPatch {
            start: Some(Arc::new(start)),
            ..started(n)
        }
    };
    write(&mut opened.store, (0..400).map(running));
    run_upkeep(&mut opened.store, NOW);
    assert_eq!(ids(&opened).len(), 400);
}

#[test]
fn a_record_with_a_future_time_does_not_keep_others() {
    let mut state = TestStateDirectory::new();
    state.retention = "30d".parse().unwrap();
    let mut opened = state.open();
    let mut ahead = ok(1);
    Arc::make_mut(ahead.start.as_mut().unwrap()).accepted_unix_ns = NOW + 400 * DAY;
    write(&mut opened.store, [ahead, ok(2)]);
    let of_another = ProcessPatch {
        key: ProcessKey {
            owner: OTHER,
            ..key(3)
        },
        ..ok(3)
    };
    write(&mut opened.store, [of_another.clone()]);
    run_upkeep(&mut opened.store, NOW + 60 * DAY);
    assert_eq!(ids(&opened), [id(1)]);
    assert!(opened.reader.process(&of_another.key).unwrap().is_none());
}

#[test]
fn an_epoch_is_removed_when_it_and_all_earlier_ones_have_no_record() {
    let mut state = TestStateDirectory::new();
    state.retention = "30d".parse().unwrap();
    let mut epochs = Vec::new();
    // Five epochs with one record each, except the fourth, which has none.
    let mut live = |day: Option<u64>| {
        let options = state.options();
        let mut opened = sqlite::open(&options, &mut |_| {}).unwrap();
        epochs.push(options.epoch.0);
        if let Some(day) = day {
            let mut one = ok(day);
            let start = Arc::make_mut(one.start.as_mut().unwrap());
            start.epoch = options.epoch;
            start.accepted_unix_ns = NOW + day * DAY;
            one.end.as_mut().unwrap().ended_unix_ns = NOW + day * DAY + 1;
            write(&mut opened.store, [one]);
        }
        opened
    };
    for day in [Some(1), Some(2), Some(3), None, Some(20)] {
        drop(live(day));
    }
    // The first record is started again in this epoch. It now belongs to this epoch and keeps its number.
    let mut opened = live(Some(1));
    let connection = rusqlite::Connection::open(state.database()).unwrap();
    let lives = || -> Vec<[u8; 16]> {
        let mut lives = connection
            .prepare("select epoch from lives order by life")
            .unwrap();
        let lives = lives.query_map([], |row| row.get(0)).unwrap();
        lives.map(Result::unwrap).collect()
    };
    run_upkeep(&mut opened.store, NOW + 30 * DAY);
    assert_eq!(
        lives(),
        epochs,
        "an epoch was removed that has a record or is later than one that has"
    );
    run_upkeep(&mut opened.store, NOW + 40 * DAY);
    assert_eq!(lives(), epochs[4..]);
    assert_eq!(ids(&opened), [id(20)]);
    let record = opened.reader.process(&key(20)).unwrap().unwrap();
    assert_eq!(record.patch.start.unwrap().epoch.0, epochs[4]);
    run_upkeep(&mut opened.store, NOW + 60 * DAY);
    assert_eq!(lives(), epochs[5..], "the current epoch was removed");
}

#[test]
fn a_size_limit_removes_threads_last_used_before_the_removed_records() {
    let mut state = TestStateDirectory::new();
    state.retention = "1MiB".parse().unwrap();
    let mut opened = state.open();
    let of_thread = |n: u64, name: &str| {
        let mut start = start(n);
        start.argv = vec![vec![b'a'; 4_000].into()].into();
        start.thread_id = Some(name.into());
        ProcessPatch {
            start: Some(Arc::new(start)),
            ..ok(n)
        }
    };
    let used = |name: &str, n: u64| {
        let mut patch = ThreadPatch {
            at_unix_ns: NOW + n * SECOND,
            ..titled(name, "t")
        };
        patch.values.insert("k".into(), Some("v".into()));
        patch
    };
    write(
        &mut opened.store,
        [
            used("first", 1),
            used("unused early", 1),
            used("again", 600),
            used("last", 600),
            used("unused late", 700),
        ],
    );
    write(&mut opened.store, [of_thread(1, "first"), of_thread(2, "again")]);
    write(&mut opened.store, (3..600).map(|n| of_thread(n, "between")));
    write(&mut opened.store, [of_thread(600, "last")]);
    let there = |opened: &OpenedStore, name: &str| opened.reader.thread(&thread_key(name)).unwrap().is_some();
    let all = ["first", "unused early", "again", "last", "unused late"];
    run_upkeep(&mut opened.store, NOW);
    assert!(!ids(&opened).is_empty() && !ids(&opened).contains(&id(2)));
    assert_eq!(
        all.map(|name| there(&opened, name)),
        [false, false, true, true, true]
    );
    let connection = rusqlite::Connection::open(state.database()).unwrap();
    let values = connection.query_row("select count(*) from thread_values", [], |row| row.get(0));
    assert_eq!(values, Ok(3));
}

#[test]
fn threads_that_exceed_the_size_limit_are_removed_least_recently_used_first() {
    let mut state = TestStateDirectory::new();
    state.retention = "1MiB".parse().unwrap();
    let mut opened = state.open();
    let large = |n: u64| {
        let mut patch = ThreadPatch::touch(thread_key(&n.to_string()), NOW + n * SECOND);
        patch.archived = Some(n.is_multiple_of(2));
        patch.values.insert("k".into(), Some("v".repeat(4_000).into()));
        patch
    };
    // The most recently used thread is created first.
    write(&mut opened.store, (0..600).rev().map(large));
    let mut running = started(1);
    Arc::make_mut(running.start.as_mut().unwrap()).thread_id = Some("0".into());
    write(&mut opened.store, [running]);
    run_upkeep(&mut opened.store, NOW);
    let there = |n: u64| {
        opened
            .reader
            .thread(&thread_key(&n.to_string()))
            .unwrap()
            .is_some()
    };
    let left: Vec<u64> = (0..600).filter(|n| there(*n)).collect();
    assert!(left.len() > 10 && left.len() < 300, "{}", left.len());
    assert_eq!(left[0], 0, "a thread with a running command was removed");
    assert_eq!(left[1..], ((601 - left.len() as u64)..600).collect::<Vec<_>>());
}

#[test]
fn timings_are_rounded_after_row_numbers_restart() {
    let mut state = TestStateDirectory::new();
    state.retention = "30d".parse().unwrap();
    let mut opened = state.open();
    write(&mut opened.store, (1..20).map(ok));
    run_upkeep(&mut opened.store, NOW + 10 * DAY);
    run_upkeep(&mut opened.store, NOW + 60 * DAY);
    assert!(ids(&opened).is_empty());
    let mut later = ok(100);
    Arc::make_mut(later.start.as_mut().unwrap()).accepted_unix_ns = NOW + 60 * DAY;
    later.end.as_mut().unwrap().ended_unix_ns = NOW + 60 * DAY;
    write(&mut opened.store, [later]);
    run_upkeep(&mut opened.store, NOW + 70 * DAY);
    assert!(opened.reader.process(&key(100)).unwrap().unwrap().timings_rounded);
}

#[test]
fn upkeep_finishes_on_a_file_without_incremental_vacuum() {
    let mut state = TestStateDirectory::new();
    state.retention = "30d".parse().unwrap();
    let mut opened = state.open();
    write(&mut opened.store, (1..4_000).map(ok));
    drop(opened);
    let connection = rusqlite::Connection::open(state.database()).unwrap();
    connection
        .execute_batch("pragma auto_vacuum = none; pragma journal_mode = delete; vacuum")
        .unwrap();
    drop(connection);
    run_upkeep(&mut state.open().store, NOW + 60 * DAY);
}

#[test]
fn a_thread_is_removed_with_its_last_record() {
    let mut state = TestStateDirectory::new();
    state.retention = "30d".parse().unwrap();
    let mut opened = state.open();
    let mut of_thread = ok(1);
    let start = Arc::make_mut(of_thread.start.as_mut().unwrap());
    start.thread_id = Some("used".into());
    start.accepted_unix_ns = NOW + 20 * DAY;
    of_thread.end.as_mut().unwrap().ended_unix_ns = NOW + 20 * DAY;
    let mut unused = titled("unused", "t");
    unused.values.insert("k".into(), Some("v".into()));
    write(
        &mut opened.store,
        [
            titled("used", "t"),
            unused,
            ThreadPatch {
                at_unix_ns: NOW + 39 * DAY,
                ..titled("young", "t")
            },
        ],
    );
    write(&mut opened.store, [of_thread]);
    run_upkeep(&mut opened.store, NOW + 40 * DAY);
    let there = |name: &str| opened.reader.thread(&thread_key(name)).unwrap().is_some();
    assert_eq!(
        (there("used"), there("unused"), there("young")),
        (true, false, true)
    );
    let connection = rusqlite::Connection::open(state.database()).unwrap();
    let values: i64 = connection
        .query_row("select count(*) from thread_values", [], |row| row.get(0))
        .unwrap();
    assert_eq!(values, 0);
    drop(opened);
    let mut opened = state.open();
    // The next sweep removes the record and the thread.
    run_upkeep(&mut opened.store, NOW + 60 * DAY);
    assert!(opened.reader.thread(&thread_key("used")).unwrap().is_none());
}

#[test]
fn timings_of_old_records_are_rounded_to_a_tenth_and_share_their_shape() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let foreign = {
        let mut patch = ok(7);
        patch.end.as_mut().unwrap().timings.as_mut().unwrap().encoded = [0xff, 1, 2, 3][..].into();
        patch
    };
    write(&mut opened.store, [started(8), foreign.clone()]);
    write(&mut opened.store, (1_000..2_000).map(ok));
    let mut young = ok(5_000);
    Arc::make_mut(young.start.as_mut().unwrap()).accepted_unix_ns = NOW + 9 * DAY;
    write(&mut opened.store, [young.clone()]);
    let connection = rusqlite::Connection::open(state.database()).unwrap();
    let bytes = || -> i64 {
        connection
            .query_row("select sum(length(timings)) from processes", [], |row| row.get(0))
            .unwrap()
    };
    let before = bytes();
    let steps = run_upkeep(&mut opened.store, NOW + 10 * DAY);
    assert!(steps >= 4, "in small steps: {steps}");
    assert!(bytes() * 2 < before, "{before} to {}", bytes());
    let shapes: i64 = connection
        .query_row("select count(*) from shapes", [], |row| row.get(0))
        .unwrap();
    assert_eq!(shapes, 1);

    let record = |n| opened.reader.process(&key(n)).unwrap().unwrap();
    assert_eq!(
        (record(5_000).patch, record(5_000).timings_rounded),
        (young, false)
    );
    assert_eq!(record(7).patch, foreign, "unknown timings were changed");
    let rounded = record(1_500);
    assert!(rounded.timings_rounded);
    let timings = rounded.patch.end.as_ref().unwrap().timings.clone().unwrap();
    assert_eq!(
        timings.slowest,
        ok(1_500).end.unwrap().timings.unwrap().slowest,
        "the slowest stage was rounded"
    );
    let read = decode(&timings.encoded).unwrap();
    for (exact, read) in stages(1_500).iter().zip(&read) {
        assert_eq!(exact.stage, read.stage);
        assert!(
            exact.duration_ns.abs_diff(read.duration_ns) * 10 <= exact.duration_ns,
            "{exact:?} {read:?}"
        );
    }
    assert_eq!(read.len(), stages(0).len());
    // A sweep continues where the last one ended, also after a restart.
    drop(opened);
    let mut opened = state.open();
    assert!(run_upkeep(&mut opened.store, NOW + 10 * DAY + SECOND) <= 1);
}
