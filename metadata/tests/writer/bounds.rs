//! A disk that is dead for long.

use baton_metadata::limits::PROCESS_BYTES;
use baton_metadata::store::WriteErrorKind;
use baton_metadata::{FlushError, Refused};

use crate::support::{Bench, end, process, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_reserve_the_oldest_finished_records_go_and_every_barrier_says_how_many() {
    let bench = Bench::start();
    bench.faults.fail(WriteErrorKind::Full);
    // It still runs, and its record is the oldest.
    bench.handle.accept(process(u64::MAX)).unwrap();
    let mut n = 0;
    while bench.handle.stats().dropped < 100 {
        bench.handle.accept(end(n)).unwrap();
        n += 1;
    }
    assert!(bench.handle.stats().bytes <= PROCESS_BYTES);
    match bench.handle.flush().await {
        Err(FlushError::Failed { dropped: 100, .. }) => {}
        other => panic!("{other:?}"),
    }
    bench.mend().await;
    for _ in 0..2 {
        assert_eq!(
            bench.handle.flush().await,
            Err(FlushError::Dropped { count: 100 })
        );
    }
    {
        let held = bench.memory.held();
        assert!(held.processes.contains_key(&process(u64::MAX).key));
        assert_eq!(held.processes.len() as u64, n - 100 + 1);
        // Not always the first hundred: a write may have been under way, and what it holds cannot be given up.
        assert!(held.processes.contains_key(&end(n - 1).key));
    }
    bench.handle.acknowledge(60);
    assert_eq!(bench.handle.flush().await, Err(FlushError::Dropped { count: 40 }));
    bench.handle.acknowledge(40);
    bench.handle.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_runs_is_never_given_up_and_a_thread_is_refused_instead() {
    let bench = Bench::start();
    bench.faults.fail(WriteErrorKind::Io);
    let mut threads = 0;
    let refused = loop {
        match bench.handle.accept(value(&format!("thread {threads}"), 0)) {
            Ok(()) => threads += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, Refused::Full);
    assert!(threads > 5_000, "{threads}");
    // What merges into what waits, and takes no more room, still does. The oldest are being written, again and again: not the last.
    let last = format!("thread {}", threads - 1);
    bench.handle.accept(value(&last, 0)).unwrap();
    // Processes have a share of their own.
    let mut processes = 0;
    while bench.handle.accept(process(processes)).is_ok() {
        processes += 1;
    }
    assert!(processes > 10_000, "{processes}");
    // The end of one that waits gets in, and is then what can be given up.
    bench.handle.accept(end(7)).unwrap();
    bench.mend().await;
    let dropped = match bench.handle.flush().await {
        Err(FlushError::Dropped { count }) => count,
        other => panic!("{other:?}"),
    };
    assert_eq!(dropped, bench.handle.stats().dropped);
    let held = bench.memory.held();
    assert_eq!(held.threads.len(), threads);
    // One refused process, and perhaps the one that ended.
    assert_eq!(held.processes.len() as u64 + dropped, processes + 1);
}
