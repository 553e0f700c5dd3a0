//! A stream that nobody reads stops its producer, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_channel::limits::SEND_BUFFER;
use baton_proto::limits::STREAM_WINDOW;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tonic::{Request, Status};

use crate::support::service::{Mounted, answer};
use crate::support::{Stack, eventually, guard, within};

const CHUNK: usize = 64 * 1024;

/// What a producer that nobody reads may get rid of: the receiver's window, the sender's buffer and a chunk on top, and
/// what tonic encodes ahead (32 KiB and a chunk).
const BOUND: usize = STREAM_WINDOW as usize + SEND_BUFFER + 4 * CHUNK;

/// Chunks as good as without end (a broken window must not take the machine's memory), counted as they are taken.
fn endless() -> (impl Stream<Item = Bytes> + Send + 'static, Arc<AtomicUsize>) {
    let produced = Arc::new(AtomicUsize::new(0));
    let count = produced.clone();
    let chunks = stream::repeat_with(move || {
        count.fetch_add(CHUNK, Ordering::Relaxed);
        Bytes::from(vec![0x5a; CHUNK])
    });
    (chunks.take(64 * BOUND / CHUNK), produced)
}

/// Waits until the window is full, moves bulk over the same session, and looks whether the producer got any further
/// than it may.
async fn assert_stalls_alone(stack: &Stack, produced: &AtomicUsize) {
    eventually(|| produced.load(Ordering::Relaxed) >= STREAM_WINDOW as usize).await;
    let bulk = Bytes::from(vec![1; 3 << 20]);
    for _ in 0..2 {
        let back = within(stack.caller().unary("/test/Echo", Request::new(bulk.clone()))).await;
        assert!(back.unwrap().into_inner() == bulk);
    }
    let produced = produced.load(Ordering::Relaxed);
    assert!(produced <= BOUND, "{produced} bytes left the producer");
    assert_eq!(stack.relay.metrics.snapshot().sessions_total, 1);
}

#[tokio::test]
async fn a_response_that_nobody_reads_stops_its_handler_alone() {
    let (chunks, produced) = endless();
    let chunks = std::sync::Mutex::new(Some(chunks));
    let service = Mounted::echo().on("/test/Flood", move |_| {
        let chunks = chunks.lock().unwrap().take().expect("called once");
        async { Ok(answer(chunks.map(Ok::<_, Status>))) }
    });
    let stack = Stack::start(service).await;
    let flood = within(
        stack
            .caller()
            .server_streaming("/test/Flood", Request::new(Bytes::new())),
    )
    .await;
    let mut flood = flood.unwrap().into_inner();
    assert_stalls_alone(&stack, &produced).await;
    // Reading on lets it go on.
    let before = produced.load(Ordering::Relaxed);
    for _ in 0..2 * BOUND / CHUNK {
        assert_eq!(within(flood.next()).await.unwrap().unwrap().len(), CHUNK);
    }
    assert!(produced.load(Ordering::Relaxed) >= before + BOUND / 2);
}

#[tokio::test]
async fn a_request_that_nobody_reads_stops_its_caller_alone() {
    let (chunks, produced) = endless();
    let (guard, mut gone) = guard();
    let guard = std::sync::Mutex::new(Some(guard));
    let service = Mounted::echo().on("/test/Ignore", move |request| {
        let guard = guard.lock().unwrap().take();
        async move {
            // Holds the request, and reads nothing of it.
            Ok(answer(stream::once(async move {
                let _held = (guard, request);
                std::future::pending().await
            })))
        }
    });
    let stack = Stack::start(service).await;
    let caller = stack.caller();
    let call = tokio::spawn(async move { caller.streaming("/test/Ignore", chunks).await });
    assert_stalls_alone(&stack, &produced).await;
    assert!(!gone.is_gone());
    drop(within(call).await.unwrap());
    gone.wait().await;
}
