//! Starts that wait for the disk.

use std::time::{Duration, Instant};

use baton_metadata::store::WriteErrorKind;
use baton_metadata::{FlushError, NotDurableCause, Refused};

use crate::support::{AT_MOST, Bench, end, process, value};

const SOON: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_start_is_on_disk_when_it_returns() {
    let bench = Bench::start();
    for n in 0..20 {
        bench.handle.durable(process(n), None, AT_MOST).await.unwrap();
        assert!(bench.memory.held().processes.contains_key(&process(n).key));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stalls_makes_a_start_not_durable_at_its_deadline() {
    let bench = Bench::start();
    bench.faults.stall(true);
    let since = Instant::now();
    let error = bench.handle.durable(process(1), None, SOON).await.unwrap_err();
    assert_eq!(error.cause, NotDurableCause::Stalled);
    assert!(since.elapsed() >= SOON);
    bench.faults.stall(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_is_tried_until_the_deadline_and_named() {
    let bench = Bench::start();
    bench.faults.fail(WriteErrorKind::Full);
    let error = bench.handle.durable(process(1), None, SOON).await.unwrap_err();
    match error.cause {
        NotDurableCause::Failed(cause) => assert_eq!(cause.kind, WriteErrorKind::Full),
        other => panic!("{other:?}"),
    }
    assert!(bench.faults.begun() > 1, "tried once only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_recovers_before_the_deadline_makes_the_start_durable() {
    let bench = Bench::start();
    bench.faults.fail(WriteErrorKind::Io);
    let handle = bench.handle.clone();
    let start = tokio::spawn(async move { handle.durable(process(1), None, AT_MOST).await });
    bench.faults.wait_begun(2);
    bench.faults.fail(None);
    start.await.unwrap().unwrap();
    assert_eq!(bench.memory.held().processes.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_were_given_up_are_no_reason_to_refuse_a_durable_start() {
    let bench = Bench::start();
    bench.faults.fail(WriteErrorKind::Full);
    let mut n = 0;
    while bench.handle.stats().dropped == 0 {
        bench.handle.accept(end(n)).unwrap();
        n += 1;
    }
    bench.faults.fail(None);
    bench
        .handle
        .durable(process(u64::MAX), None, AT_MOST)
        .await
        .unwrap();
    assert_eq!(bench.handle.flush().await, Err(FlushError::Dropped { count: 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_shuts_down_starts_nothing_durable() {
    let bench = Bench::start();
    bench.handle.accept(value("t", 0)).unwrap();
    assert!(bench.writer.shutdown(AT_MOST).await.is_complete());
    let error = bench.handle.durable(process(1), None, AT_MOST).await.unwrap_err();
    assert_eq!(error.cause, NotDurableCause::Refused(Refused::Stopped));
}
