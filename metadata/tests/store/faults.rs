//! Injected disk faults, under SQLite's own file layer.

use std::time::{Duration, Instant};

use baton_faults::{Disk, Fault};
use baton_metadata::record::ThreadKey;
use baton_metadata::store::WriteErrorKind;
use baton_metadata::store::query::HistoryQuery;
use baton_metadata::{FlushError, ProcessPatch, Store, Update, WriterHandle};
use baton_trace::recorder::Recorder;
use rand::RngExt;

use crate::support::{
    ME, TestStateDirectory, batch, id, ids, integrity, key, ok, seeded, started, thread_key, titled, write,
};

/// Checks after a fault that all `n` records are stored once and that the database is intact.
fn nothing_is_lost(state: &TestStateDirectory, n: u64) {
    let opened = state.open();
    assert_eq!(opened.set_aside, None);
    let mut left = ids(&opened);
    left.reverse();
    assert_eq!(left, (0..n).map(id).collect::<Vec<_>>());
    drop(opened);
    assert_eq!(integrity(&state.database()), "ok");
}

#[test]
fn opening_a_database_takes_few_syncs() {
    let state = TestStateDirectory::new();
    let disk = Disk::under(state.directory.path());
    drop(state.open());
    let new = disk.seen().syncs;
    // Syncs for the journal mode, the schema, and the begin and end of the epoch, but not one per row.
    assert!(new <= 16, "a new database took {new} syncs");
    let _opened = state.open();
    let again = disk.seen().syncs - new;
    assert!(again <= 4, "an existing database took {again} syncs");
}

#[test]
fn a_failed_commit_reports_its_cause_and_succeeds_when_the_disk_recovers() {
    use WriteErrorKind::{Full, Io};
    for (fault, kind) in [
        (Fault::Write(libc::ENOSPC), Full),
        (Fault::Room(0), Full),
        (Fault::Room(1_000), Full),
        (Fault::Room(30_000), Full),
        (Fault::Write(libc::EIO), Io),
        (Fault::Write(libc::EDQUOT), Io),
        (Fault::Write(libc::EFBIG), Io),
        (Fault::Write(libc::EROFS), Io),
        (Fault::Sync(libc::EIO), Io),
    ] {
        let state = TestStateDirectory::new();
        let mut opened = state.open();
        let disk = Disk::under(&state.path());
        write(&mut opened.store, (0..5).map(ok));
        disk.set(fault);
        let many = batch((5..205).map(ok));
        for _ in 0..3 {
            let error = opened.store.write(&many).unwrap_err();
            assert_eq!(error.kind, kind, "{fault:?}: {error}");
        }
        assert!(disk.seen().faults >= 3, "{fault:?} was met");
        // Readers do not block, and see what was committed before.
        assert_eq!(ids(&opened).len(), 5, "{fault:?}");
        disk.heal();
        opened.store.write(&many).unwrap();
        drop(opened);
        nothing_is_lost(&state, 205);
    }
}

#[test]
fn short_writes_do_not_fail_a_commit() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let disk = Disk::under(&state.path());
    disk.set(Fault::ShortWrite);
    for n in 0..20 {
        write(&mut opened.store, [ok(n)]);
    }
    assert!(disk.seen().faults > 20);
    drop(opened);
    disk.heal();
    nothing_is_lost(&state, 20);
}

#[test]
fn each_commit_is_synced_before_it_returns() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let disk = Disk::under(&state.path());
    for n in 0..20 {
        let before = disk.seen().syncs;
        write(&mut opened.store, [ok(n)]);
        assert!(disk.seen().syncs > before, "commit {n}");
    }
    disk.set(Fault::SlowSync(Duration::from_millis(50)));
    let since = Instant::now();
    write(&mut opened.store, [ok(20)]);
    assert!(since.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_full_disk_at_start_is_an_error_without_damage() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, [started(0)]);
    drop(opened);
    let disk = Disk::under(&state.path());
    disk.set(Fault::Write(libc::ENOSPC));
    let error = state.try_open().unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("No space left") && error.contains("free some"),
        "{error}"
    );
    disk.heal();
    let opened = state.open();
    assert_eq!(
        (ids(&opened), opened.set_aside, opened.recovered.lost),
        (vec![id(0)], None, 1)
    );
}

#[test]
fn failed_upkeep_is_repeated() {
    let mut state = TestStateDirectory::new();
    state.retention = "1d".parse().unwrap();
    let mut opened = state.open();
    write(&mut opened.store, (0..300).map(ok));
    let disk = Disk::under(&state.path());
    disk.set(Fault::Write(libc::EIO));
    let later = crate::support::NOW + 9 * crate::support::DAY;
    assert_eq!(opened.store.upkeep(later).unwrap_err().kind, WriteErrorKind::Io);
    disk.heal();
    assert_eq!(ids(&opened).len(), 300, "whole steps or none");
    while opened.store.upkeep(later).unwrap() != baton_metadata::store::UpkeepProgress::Done {}
    assert_eq!(ids(&opened), []);
}

#[test]
fn upkeep_reports_a_failed_checkpoint_and_nothing_is_lost() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    // Writes until the log is large enough for a checkpoint.
    let disk = Disk::under(&state.path());
    disk.set(Fault::Sync(libc::EIO));
    let full = (0..100).find(|n| {
        disk.heal();
        write(&mut opened.store, (n * 500..(n + 1) * 500).map(ok));
        disk.set(Fault::Sync(libc::EIO));
        std::thread::sleep(Duration::from_millis(20));
        opened.store.upkeep(crate::support::NOW).is_err()
    });
    let full = full.unwrap();
    let error = opened.store.upkeep(crate::support::NOW).unwrap_err();
    assert_eq!(error.kind, WriteErrorKind::Io);
    disk.heal();
    let since = Instant::now();
    while opened.store.upkeep(crate::support::NOW).is_err() {
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "upkeep still fails on a recovered disk"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(opened);
    no_record_is_lost(&state, (full + 1) * 500);
}

/// Checks that all `n` records are stored. [`nothing_is_lost`] is limited to the records of one page.
fn no_record_is_lost(state: &TestStateDirectory, n: u64) {
    let opened = state.open();
    assert!((0..n).all(|n| opened.reader.process(&key(n)).unwrap().is_some()));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn flushed(handle: &WriterHandle) -> Result<(), FlushError> {
    tokio::time::timeout(Duration::from_secs(30), handle.flush())
        .await
        .expect("a barrier ends")
        .map(|_| ())
}

#[test]
fn a_stalled_disk_delays_only_barriers() {
    let state = TestStateDirectory::new();
    let opened = state.open();
    let disk = Disk::under(&state.path());
    let reader = opened.reader.clone();
    let (handle, writer) = baton_metadata::start(Box::new(opened.store), Recorder::off()).unwrap();
    runtime().block_on(async {
        handle.accept(ok(0)).unwrap();
        flushed(&handle).await.unwrap();
        disk.set(Fault::StallSync);
        handle.accept(ok(1)).unwrap();
        let mut barrier = std::pin::pin!(handle.flush());
        assert!(
            tokio::time::timeout(Duration::from_millis(300), &mut barrier)
                .await
                .is_err(),
            "the barrier returned while the disk stalled"
        );
        assert!(disk.stalled() > 0, "no sync is stalled");
        // Updates and queries do not wait.
        let since = Instant::now();
        for n in 2..2_000 {
            handle.accept(ok(n)).unwrap();
        }
        assert_eq!(reader.history(&HistoryQuery::of(ME)).unwrap().items.len(), 1);
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        disk.heal();
        barrier.await.unwrap();
        assert!(reader.process(&key(1)).unwrap().is_some());
        flushed(&handle).await.unwrap();
        assert!(writer.shutdown(Duration::from_secs(30)).await.is_complete());
    });
    let opened = state.open();
    for n in 0..2_000 {
        assert!(opened.reader.process(&key(n)).unwrap().is_some(), "{n}");
    }
}

#[test]
fn random_faults_lose_no_record() {
    let mut random = seeded();
    let state = TestStateDirectory::new();
    let opened = state.open();
    let disk = Disk::under(&state.path());
    let reader = opened.reader.clone();
    let (handle, writer) = baton_metadata::start(Box::new(opened.store), Recorder::off()).unwrap();
    let (mut failed, mut n) = (0, 0);
    runtime().block_on(async {
        for round in 0..30_u64 {
            disk.set(match random.random_range(0..8) {
                0 => Fault::Write(libc::ENOSPC),
                1 => Fault::Write(libc::EIO),
                2 => Fault::Sync(libc::EIO),
                3 => Fault::Room(random.random_range(0..100_000)),
                4 => Fault::ShortWrite,
                5 => Fault::SlowSync(Duration::from_millis(random.random_range(0..20))),
                6 => Fault::EveryNth(random.random_range(2..40)),
                _ => Fault::None,
            });
            for _ in 0..random.random_range(1..50) {
                let whole: [Update; 2] = [
                    ok(n).into(),
                    titled(&format!("thread {}", n % 7), &n.to_string()).into(),
                ];
                for update in whole {
                    handle.accept(update).unwrap();
                }
                n += 1;
            }
            failed += u32::from(flushed(&handle).await.is_err());
            if round % 3 == 0 {
                disk.heal();
                // A barrier may report a pending failure once more.
                while flushed(&handle).await.is_err() {}
                for n in 0..n {
                    assert!(reader.process(&key(n)).unwrap().is_some(), "{n} of {}", n);
                }
            }
        }
        disk.heal();
        while flushed(&handle).await.is_err() {}
        assert!(writer.shutdown(Duration::from_secs(30)).await.is_complete());
    });
    println!("{failed} barriers failed, {:?}", disk.seen());
    assert!(failed > 0, "no fault was met");
    let opened = state.open();
    let record = |n| opened.reader.process(&key(n)).unwrap().unwrap().patch;
    // Timings are rounded once they are old by the machine's clock.
    let without_timings = |mut patch: ProcessPatch| {
        patch.end.as_mut().unwrap().timings = None;
        patch
    };
    for n in 0..n {
        assert_eq!(without_timings(record(n)), without_timings(ok(n)));
    }
    for last in n.saturating_sub(7)..n {
        let key: ThreadKey = thread_key(&format!("thread {}", last % 7));
        assert_eq!(
            opened.reader.thread(&key).unwrap().unwrap().title,
            Some(last.to_string())
        );
    }
    drop(opened);
    assert_eq!(integrity(&state.database()), "ok");
}
