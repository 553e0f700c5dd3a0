//! Barriers, and updates that wait for nothing.

use std::time::{Duration, Instant};

use baton_metadata::store::WriteErrorKind;
use baton_metadata::{FlushError, Refused};
use tokio::time::timeout;

use crate::support::{AT_MOST, Bench, process, thread_key, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_barrier_returns_what_was_accepted_before_it_is_written() {
    let bench = Bench::start();
    for n in 0..100 {
        bench.handle.accept(value("t", n)).unwrap();
        bench.handle.accept(process(n as u64)).unwrap();
    }
    bench.handle.flush().await.unwrap();
    assert!((0..100).all(|n| bench.memory.has("t", n)));
    assert_eq!(bench.memory.held().processes.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_with_nothing_before_it_returns_at_once_even_if_the_disk_stalls() {
    let bench = Bench::start();
    bench.faults.stall(true);
    timeout(AT_MOST, bench.handle.flush()).await.unwrap().unwrap();
    assert_eq!(bench.faults.begun(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_hands_over_an_update_waits_for_a_disk_that_stalls() {
    let bench = Bench::start();
    bench.faults.stall(true);
    bench.handle.accept(value("t", 0)).unwrap();
    bench.handle.hurry();
    bench.faults.wait_begun(1);
    let mut longest = Duration::ZERO;
    for n in 0..10_000 {
        let since = Instant::now();
        bench.handle.accept(process(n)).unwrap();
        longest = longest.max(since.elapsed());
    }
    // A stall lasts for ever here; what is measured is at most this thread losing its processor.
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    let stats = bench.handle.stats();
    assert_eq!((stats.waiting, stats.writing), (10_000, 1));
    assert!(stats.writing_for > Duration::ZERO && stats.age > Duration::ZERO);
    bench.faults.stall(false);
    bench.handle.flush().await.unwrap();
    assert_eq!(bench.memory.held().processes.len(), 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_after_a_barrier_does_not_extend_it() {
    let bench = Bench::start();
    bench.faults.stall(true);
    bench.handle.accept(value("t", 0)).unwrap();
    let handle = bench.handle.clone();
    let barrier = tokio::spawn(async move { handle.flush().await });
    bench.faults.wait_begun(1);
    // The write that covers the barrier is under way; this takes another one, which does not return.
    bench.handle.accept(value("t", 1)).unwrap();
    bench.handle.hurry();
    bench.faults.pass(1);
    timeout(AT_MOST, barrier).await.unwrap().unwrap().unwrap();
    assert!(bench.memory.has("t", 0));
    bench.faults.wait_begun(2);
    assert!(!bench.memory.has("t", 1));
    bench.faults.stall(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_told_kept_and_tried_again() {
    let bench = Bench::start();
    bench.faults.fail(WriteErrorKind::Full);
    bench.handle.accept(value("t", 0)).unwrap();
    for _ in 0..3 {
        match bench.handle.flush().await {
            Err(FlushError::Failed { cause, dropped: 0 }) => assert_eq!(cause.kind, WriteErrorKind::Full),
            other => panic!("{other:?}"),
        }
    }
    assert!(!bench.memory.has("t", 0));
    bench.handle.accept(value("t", 1)).unwrap();
    bench.mend().await;
    bench.handle.flush().await.unwrap();
    assert!(bench.memory.has("t", 0) && bench.memory.has("t", 1));
    assert!(bench.handle.stats().failures >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_tried_again_without_anybody_asking() {
    let bench = Bench::start();
    bench.faults.fail(WriteErrorKind::Io);
    bench.handle.accept(value("t", 0)).unwrap();
    bench.faults.wait_begun(3);
    bench.faults.fail(None);
    let since = Instant::now();
    while !bench.memory.has("t", 0) {
        assert!(since.elapsed() < AT_MOST);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_panics_has_failed_and_nothing_is_lost() {
    let bench = Bench::start();
    bench.faults.panic(true);
    bench.handle.accept(value("t", 0)).unwrap();
    assert!(matches!(
        bench.handle.flush().await,
        Err(FlushError::Failed { .. })
    ));
    bench.faults.panic(false);
    bench.handle.flush().await.unwrap();
    assert!(bench.memory.has("t", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_of_one_thread_merge_while_a_write_is_in_flight() {
    let bench = Bench::start();
    bench.faults.stall(true);
    bench.handle.accept(value("t", 0)).unwrap();
    bench.handle.hurry();
    bench.faults.wait_begun(1);
    for n in 1..60 {
        bench.handle.accept(value("t", n)).unwrap();
    }
    assert_eq!(bench.handle.stats().waiting, 1);
    bench.faults.stall(false);
    bench.handle.flush().await.unwrap();
    assert!((0..60).all(|n| bench.memory.has("t", n)));
    assert_eq!(bench.memory.held().patches, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_is_given_up_leaves_nothing_behind() {
    let bench = Bench::start();
    bench.faults.stall(true);
    bench.handle.accept(value("t", 0)).unwrap();
    // More than may wait at once, one after the other.
    for _ in 0..baton_metadata::limits::BARRIERS_MAX + 1 {
        let mut flush = Box::pin(bench.handle.flush());
        assert!(futures_poll(flush.as_mut()).is_none());
    }
    bench.faults.stall(false);
    bench.handle.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_barriers_than_may_wait_are_refused() {
    let bench = Bench::start();
    bench.faults.stall(true);
    bench.handle.accept(value("t", 0)).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..baton_metadata::limits::BARRIERS_MAX {
        let mut flush = Box::pin(bench.handle.flush());
        assert!(futures_poll(flush.as_mut()).is_none());
        waiting.push(flush);
    }
    assert_eq!(bench.handle.flush().await, Err(FlushError::TooMany));
    bench.faults.stall(false);
    for flush in waiting {
        flush.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_that_is_too_long_is_refused_and_nothing_of_it_kept() {
    let bench = Bench::start();
    let mut patch = value("t", 0);
    patch.title = Some(Some("x".repeat(2_000).into()));
    assert!(matches!(bench.handle.accept(patch), Err(Refused::Invalid(_))));
    let nameless = value("", 0);
    assert!(matches!(bench.handle.accept(nameless), Err(Refused::Invalid(_))));
    bench.handle.flush().await.unwrap();
    assert!(!bench.memory.held().threads.contains_key(&thread_key("t")));
    assert_eq!(bench.handle.stats().refused, 2);
}

/// One poll.
fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
