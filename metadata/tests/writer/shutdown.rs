//! Shutdown.

use std::time::{Duration, Instant};

use baton_metadata::store::WriteErrorKind;
use baton_metadata::{AcceptError, FlushError};
use tokio::time::timeout;

use crate::support::{AT_MOST, TestWriter, process, value};

const SOON: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_writes_queued_updates_and_closes_the_store() {
    let test = TestWriter::start();
    for n in 0..100 {
        test.handle.accept(value("t", n)).unwrap();
    }
    let report = test.writer.shutdown(AT_MOST).await;
    assert!(report.is_complete(), "{report:?}");
    assert!(test.memory.has("t", 99));
    assert!(test.memory.contents().closed);
    assert_eq!(test.handle.accept(value("t", 100)), Err(AcceptError::Stopped));
    assert_eq!(test.handle.flush().await, Err(FlushError::Stopped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_over_a_stalled_disk_is_bounded_and_reports_unwritten_updates() {
    let test = TestWriter::start();
    test.faults.stall(true);
    test.handle.accept(process(1)).unwrap();
    test.handle.hurry();
    test.faults.wait_begun(1);
    test.handle.accept(process(2)).unwrap();
    let handle = test.handle.clone();
    let waits = tokio::spawn(async move { handle.flush().await });
    tokio::task::yield_now().await;
    let since = Instant::now();
    let report = test.writer.shutdown(SOON).await;
    assert!(since.elapsed() < AT_MOST);
    assert_eq!((report.left, report.dropped), (2, 0));
    assert!(!report.is_complete());
    let control = timeout(AT_MOST, waits).await.unwrap().unwrap();
    assert_eq!(control, Err(FlushError::Stopped));
    test.faults.stall(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_over_a_failing_disk_names_the_cause() {
    let test = TestWriter::start();
    test.faults.fail(WriteErrorKind::ReadOnly);
    test.handle.accept(process(1)).unwrap();
    let report = test.writer.shutdown(SOON).await;
    assert_eq!(report.left, 1);
    assert_eq!(
        report.cause.map(|cause| cause.kind),
        Some(WriteErrorKind::ReadOnly)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_writer_ends_and_answers_waiting_barriers() {
    let test = TestWriter::start();
    test.faults.stall(true);
    test.handle.accept(value("t", 0)).unwrap();
    let handle = test.handle.clone();
    let waits = tokio::spawn(async move { handle.flush().await });
    test.faults.wait_begun(1);
    test.handle.accept(value("t", 1)).unwrap();
    drop(test.writer);
    test.faults.stall(false);
    // The write in progress completes and its barrier returns. The queued update is not written.
    timeout(AT_MOST, waits).await.unwrap().unwrap().unwrap();
    let since = Instant::now();
    while !test.memory.contents().closed {
        assert!(since.elapsed() < AT_MOST);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!test.memory.has("t", 1));
}
