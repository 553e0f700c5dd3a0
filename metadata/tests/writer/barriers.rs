//! Barriers, and updates that do not block.

use std::time::{Duration, Instant};

use baton_metadata::store::WriteErrorKind;
use baton_metadata::{AcceptError, FlushError};
use tokio::time::timeout;

use crate::support::{AT_MOST, TestWriter, process, thread_key, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_returns_after_all_earlier_updates_are_written() {
    let test = TestWriter::start();
    for n in 0..100 {
        test.handle.accept(value("t", n)).unwrap();
        test.handle.accept(process(n as u64)).unwrap();
    }
    test.handle.flush().await.unwrap();
    assert!((0..100).all(|n| test.memory.has("t", n)));
    assert_eq!(test.memory.contents().processes.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_with_nothing_before_it_returns_at_once_even_if_the_disk_stalls() {
    let test = TestWriter::start();
    test.faults.stall(true);
    timeout(AT_MOST, test.handle.flush()).await.unwrap().unwrap();
    assert_eq!(test.faults.begun(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepting_an_update_does_not_wait_for_a_stalled_disk() {
    let test = TestWriter::start();
    test.faults.stall(true);
    test.handle.accept(value("t", 0)).unwrap();
    test.handle.hurry();
    test.faults.wait_begun(1);
    let mut longest = Duration::ZERO;
    for n in 0..10_000 {
        let since = Instant::now();
        test.handle.accept(process(n)).unwrap();
        longest = longest.max(since.elapsed());
    }
    // The stall does not end here. The limit allows for the scheduler suspending this thread.
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    let stats = test.handle.stats();
    assert_eq!((stats.waiting, stats.writing), (10_000, 1));
    assert!(stats.writing_for > Duration::ZERO && stats.age > Duration::ZERO);
    test.faults.stall(false);
    test.handle.flush().await.unwrap();
    assert_eq!(test.memory.contents().processes.len(), 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_after_a_barrier_does_not_extend_it() {
    let test = TestWriter::start();
    test.faults.stall(true);
    test.handle.accept(value("t", 0)).unwrap();
    let handle = test.handle.clone();
    let barrier = tokio::spawn(async move { handle.flush().await });
    test.faults.wait_begun(1);
    // The write that the barrier waits for is in progress. This update needs another write, which does not return.
    test.handle.accept(value("t", 1)).unwrap();
    test.handle.hurry();
    test.faults.pass(1);
    timeout(AT_MOST, barrier).await.unwrap().unwrap().unwrap();
    assert!(test.memory.has("t", 0));
    test.faults.wait_begun(2);
    assert!(!test.memory.has("t", 1));
    test.faults.stall(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_reported_and_retried() {
    let test = TestWriter::start();
    test.faults.fail(WriteErrorKind::Full);
    test.handle.accept(value("t", 0)).unwrap();
    for _ in 0..3 {
        match test.handle.flush().await {
            Err(FlushError::Failed { cause, dropped: 0 }) => assert_eq!(cause.kind, WriteErrorKind::Full),
            other => panic!("{other:?}"),
        }
    }
    assert!(!test.memory.has("t", 0));
    test.handle.accept(value("t", 1)).unwrap();
    test.repair().await;
    test.handle.flush().await.unwrap();
    assert!(test.memory.has("t", 0) && test.memory.has("t", 1));
    assert!(test.handle.stats().failures >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_retried_without_a_barrier() {
    let test = TestWriter::start();
    test.faults.fail(WriteErrorKind::Io);
    test.handle.accept(value("t", 0)).unwrap();
    test.faults.wait_begun(3);
    test.faults.fail(None);
    let since = Instant::now();
    while !test.memory.has("t", 0) {
        assert!(since.elapsed() < AT_MOST);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_store_fails_the_write_and_loses_nothing() {
    let test = TestWriter::start();
    test.faults.panic(true);
    test.handle.accept(value("t", 0)).unwrap();
    assert!(matches!(
        test.handle.flush().await,
        Err(FlushError::Failed { .. })
    ));
    test.faults.panic(false);
    test.handle.flush().await.unwrap();
    assert!(test.memory.has("t", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_of_one_thread_merge_while_a_write_is_in_flight() {
    let test = TestWriter::start();
    test.faults.stall(true);
    test.handle.accept(value("t", 0)).unwrap();
    test.handle.hurry();
    test.faults.wait_begun(1);
    for n in 1..60 {
        test.handle.accept(value("t", n)).unwrap();
    }
    assert_eq!(test.handle.stats().waiting, 1);
    test.faults.stall(false);
    test.handle.flush().await.unwrap();
    assert!((0..60).all(|n| test.memory.has("t", n)));
    assert_eq!(test.memory.contents().patches, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_flush_frees_its_slot() {
    let test = TestWriter::start();
    test.faults.stall(true);
    test.handle.accept(value("t", 0)).unwrap();
    // One after the other, more than the limit of concurrent barriers.
    for _ in 0..baton_metadata::limits::BARRIERS_MAX + 1 {
        let mut flush = Box::pin(test.handle.flush());
        assert!(poll_once(flush.as_mut()).is_none());
    }
    test.faults.stall(false);
    test.handle.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_barriers_than_may_wait_are_refused() {
    let test = TestWriter::start();
    test.faults.stall(true);
    test.handle.accept(value("t", 0)).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..baton_metadata::limits::BARRIERS_MAX {
        let mut flush = Box::pin(test.handle.flush());
        assert!(poll_once(flush.as_mut()).is_none());
        waiting.push(flush);
    }
    assert_eq!(test.handle.flush().await, Err(FlushError::TooMany));
    test.faults.stall(false);
    for flush in waiting {
        flush.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_that_is_too_long_is_refused_as_a_whole() {
    let test = TestWriter::start();
    let mut patch = value("t", 0);
    patch.title = Some(Some("x".repeat(2_000).into()));
    assert!(matches!(test.handle.accept(patch), Err(AcceptError::Invalid(_))));
    let nameless = value("", 0);
    assert!(matches!(
        test.handle.accept(nameless),
        Err(AcceptError::Invalid(_))
    ));
    test.handle.flush().await.unwrap();
    assert!(!test.memory.contents().threads.contains_key(&thread_key("t")));
    assert_eq!(test.handle.stats().refused, 2);
}

/// Polls the future once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
