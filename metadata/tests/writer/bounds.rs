//! The bounds of the queue while the disk fails.

use baton_metadata::limits::PROCESS_BYTES;
use baton_metadata::store::WriteErrorKind;
use baton_metadata::{AcceptError, FlushError};

use crate::support::{TestWriter, end, process, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_drops_the_oldest_finished_records_and_barriers_report_the_number() {
    let test = TestWriter::start();
    test.faults.fail(WriteErrorKind::Full);
    // The oldest record; its process still runs.
    test.handle.accept(process(u64::MAX)).unwrap();
    let mut n = 0;
    while test.handle.stats().dropped < 100 {
        test.handle.accept(end(n)).unwrap();
        n += 1;
    }
    assert!(test.handle.stats().bytes <= PROCESS_BYTES);
    match test.handle.flush().await {
        Err(FlushError::Failed { dropped: 100, .. }) => {}
        other => panic!("{other:?}"),
    }
    test.repair().await;
    for _ in 0..2 {
        assert_eq!(test.handle.flush().await, Err(FlushError::Dropped { count: 100 }));
    }
    {
        let contents = test.memory.contents();
        assert!(contents.processes.contains_key(&process(u64::MAX).key));
        assert_eq!(contents.processes.len() as u64, n - 100 + 1);
        // Not always the first hundred: records of a write in progress cannot be dropped.
        assert!(contents.processes.contains_key(&end(n - 1).key));
    }
    test.handle.acknowledge(60);
    assert_eq!(test.handle.flush().await, Err(FlushError::Dropped { count: 40 }));
    test.handle.acknowledge(40);
    test.handle.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_processes_are_never_dropped_and_threads_are_refused() {
    let test = TestWriter::start();
    test.faults.fail(WriteErrorKind::Io);
    let mut threads = 0;
    let refused = loop {
        match test.handle.accept(value(&format!("thread {threads}"), 0)) {
            Ok(()) => threads += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, AcceptError::Full);
    assert!(threads > 5_000, "{threads}");
    // A patch that merges into a queued one without growing it is accepted. The last thread is queued; the oldest are
    // in the write that is retried.
    let last = format!("thread {}", threads - 1);
    test.handle.accept(value(&last, 0)).unwrap();
    // Processes have a separate share of the queue.
    let mut processes = 0;
    while test.handle.accept(process(processes)).is_ok() {
        processes += 1;
    }
    assert!(processes > 10_000, "{processes}");
    // The end of a queued process is accepted. Its record can then be dropped.
    test.handle.accept(end(7)).unwrap();
    test.repair().await;
    let dropped = match test.handle.flush().await {
        Err(FlushError::Dropped { count }) => count,
        other => panic!("{other:?}"),
    };
    assert_eq!(dropped, test.handle.stats().dropped);
    let contents = test.memory.contents();
    assert_eq!(contents.threads.len(), threads);
    // One process was refused; the ended one may have been dropped.
    assert_eq!(contents.processes.len() as u64 + dropped, processes + 1);
}
