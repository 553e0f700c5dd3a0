//! Starts that wait until they are durable.

use std::time::{Duration, Instant};

use baton_metadata::store::WriteErrorKind;
use baton_metadata::{AcceptError, FlushError, NotDurableCause};

use crate::support::{AT_MOST, TestWriter, end, process, value};

const SOON: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_start_is_on_disk_when_it_returns() {
    let test = TestWriter::start();
    for n in 0..20 {
        test.handle.durable(process(n), None, AT_MOST).await.unwrap();
        assert!(test.memory.contents().processes.contains_key(&process(n).key));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stalls_makes_a_start_not_durable_at_its_deadline() {
    let test = TestWriter::start();
    test.faults.stall(true);
    let since = Instant::now();
    let error = test.handle.durable(process(1), None, SOON).await.unwrap_err();
    assert_eq!(error.cause, NotDurableCause::Stalled);
    assert!(since.elapsed() >= SOON);
    test.faults.stall(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_write_is_retried_until_the_deadline_and_its_cause_reported() {
    let test = TestWriter::start();
    test.faults.fail(WriteErrorKind::Full);
    let error = test.handle.durable(process(1), None, SOON).await.unwrap_err();
    match error.cause {
        NotDurableCause::Failed(cause) => assert_eq!(cause.kind, WriteErrorKind::Full),
        other => panic!("{other:?}"),
    }
    assert!(test.faults.begun() > 1, "not retried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_recovers_before_the_deadline_makes_the_start_durable() {
    let test = TestWriter::start();
    test.faults.fail(WriteErrorKind::Io);
    let handle = test.handle.clone();
    let start = tokio::spawn(async move { handle.durable(process(1), None, AT_MOST).await });
    test.faults.wait_begun(2);
    test.faults.fail(None);
    start.await.unwrap().unwrap();
    assert_eq!(test.memory.contents().processes.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_records_do_not_fail_a_durable_start() {
    let test = TestWriter::start();
    test.faults.fail(WriteErrorKind::Full);
    let mut n = 0;
    while test.handle.stats().dropped == 0 {
        test.handle.accept(end(n)).unwrap();
        n += 1;
    }
    test.faults.fail(None);
    test.handle
        .durable(process(u64::MAX), None, AT_MOST)
        .await
        .unwrap();
    assert_eq!(test.handle.flush().await, Err(FlushError::Dropped { count: 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_shutdown_durable_starts_are_refused() {
    let test = TestWriter::start();
    test.handle.accept(value("t", 0)).unwrap();
    assert!(test.writer.shutdown(AT_MOST).await.is_complete());
    let error = test.handle.durable(process(1), None, AT_MOST).await.unwrap_err();
    assert_eq!(error.cause, NotDurableCause::Refused(AcceptError::Stopped));
}
