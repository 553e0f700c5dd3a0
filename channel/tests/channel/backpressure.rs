//! A stream without a reader stops its own producer only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use baton_channel::Channel;
use baton_channel::key::StaticKey;
use baton_mux::Event;
use baton_mux::limits::{IN_FLIGHT_INITIAL, RECEIVE_WINDOW, SEND_BUFFER, STREAM_MEMORY};
use baton_proto::channel::Head;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tonic::{Request, Status};

use crate::support::raw::{RawServer, RawSession};
use crate::support::service::{Caller, Mounted, answer};
use crate::support::{RunningRelay, Stack, eventually, guard, within};

const CHUNK: usize = 64 * 1024;

/// The most that a producer without a reader can send: the receiver's window, the sender's buffer plus a chunk, and the
/// bytes that tonic encodes ahead (32 KiB plus a chunk).
const BOUND: usize = RECEIVE_WINDOW as usize + SEND_BUFFER + 4 * CHUNK;

/// A long stream of chunks, and the bytes taken from it. It is finite, so that a broken window does not use up the
/// machine's memory.
fn endless() -> (impl Stream<Item = Bytes> + Send + 'static, Arc<AtomicUsize>) {
    let produced = Arc::new(AtomicUsize::new(0));
    let count = produced.clone();
    let chunks = stream::repeat_with(move || {
        count.fetch_add(CHUNK, Ordering::Relaxed);
        Bytes::from(vec![0x5a; CHUNK])
    });
    (chunks.take(64 * BOUND / CHUNK), produced)
}

/// Waits until the window is full, transfers bulk data over the same session, and asserts that the producer stayed
/// within its bound.
async fn assert_stalls_alone(stack: &Stack, produced: &AtomicUsize) {
    eventually("the window is full", || {
        produced.load(Ordering::Relaxed) >= RECEIVE_WINDOW as usize
    })
    .await;
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
async fn a_response_without_a_reader_stops_only_its_own_handler() {
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
    // Further reads resume the producer.
    let before = produced.load(Ordering::Relaxed);
    for _ in 0..2 * BOUND / CHUNK {
        assert_eq!(within(flood.next()).await.unwrap().unwrap().len(), CHUNK);
    }
    assert!(produced.load(Ordering::Relaxed) >= before + BOUND / 2);
}

#[tokio::test]
async fn a_request_without_a_reader_stops_only_its_own_caller() {
    let (chunks, produced) = endless();
    let (guard, mut gone) = guard();
    let guard = std::sync::Mutex::new(Some(guard));
    let service = Mounted::echo().on("/test/Ignore", move |request| {
        let guard = guard.lock().unwrap().take();
        async move {
            // Holds the request without reading it.
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

/// Bytes of one message of that response.
const PIECE: usize = 20_000;

/// A server that sends an endless response as far as its credit allows, and counts the bytes that it sends. Runs until
/// it is dropped.
async fn count_data(mut server: RawSession, left: Arc<AtomicUsize>) {
    let id = server.opened().await;
    server.mux.send_head(id, &Head::default()).unwrap();
    let mut message = vec![0; 5 + PIECE];
    message[1..5].copy_from_slice(&(PIECE as u32).to_be_bytes());
    // Frame boundaries fall anywhere within messages.
    let message = Bytes::from(message.repeat(20));
    loop {
        while server.mux.has_room(id).unwrap() {
            server
                .mux
                .send_data(Instant::now(), id, message.clone(), false)
                .unwrap();
        }
        while server.mux.wants_transmit() {
            let frames = server.frames();
            server.send(&frames).await;
            left.fetch_add(data_bytes(&frames), Ordering::Relaxed);
            while server.mux.has_room(id).unwrap() {
                server
                    .mux
                    .send_data(Instant::now(), id, message.clone(), false)
                    .unwrap();
            }
        }
        server.receive().await;
    }
}

/// Bytes of `Data` in a plaintext.
fn data_bytes(mut frames: &[u8]) -> usize {
    let mut bytes = 0;
    while let [kind, _, high, low, ..] = *frames {
        let len = usize::from(u16::from_be_bytes([high, low]));
        bytes += if kind == 2 { len } else { 0 };
        frames = &frames[8 + len..];
    }
    bytes
}

#[tokio::test]
async fn a_client_holds_no_more_of_a_stream_than_is_stated_whatever_its_decoder_took() {
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    let left = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn({
        let left = left.clone();
        async move { count_data(server.session().await, left).await }
    });
    let caller = Caller::new(Channel::new(ticket, StaticKey::generate().unwrap()));
    let mut flood = within(caller.server_streaming("/test/Flood", Request::new(Bytes::new())))
        .await
        .unwrap()
        .into_inner();
    let mut most = 0;
    for read in 0..100 {
        // Waits until the server sends nothing more.
        let mut before = usize::MAX;
        while before != left.load(Ordering::Relaxed) {
            before = left.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        let held = before - read * (5 + PIECE);
        assert!(held <= STREAM_MEMORY as usize, "{held} after {read}");
        most = most.max(held);
        assert_eq!(within(flood.next()).await.unwrap().unwrap().len(), PIECE);
    }
    // Otherwise the test would not cover the bytes that the decoder holds.
    assert!(most > RECEIVE_WINDOW as usize, "{most}");
    sending.abort();
}

#[tokio::test]
async fn a_cancelled_call_sends_its_reset_before_its_queued_data() {
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    let caller = Caller::new(Channel::new(ticket, StaticKey::generate().unwrap()));
    let (chunks, produced) = endless();
    let call = tokio::spawn(async move { caller.streaming("/test/Any", chunks).await });
    let mut server = server.session().await;
    // The producer stops at its own buffer, from which a reset can still discard the data.
    eventually("the send buffer is full", || {
        produced.load(Ordering::Relaxed) >= SEND_BUFFER
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    call.abort();
    let mut data = 0;
    let is_reset = |event| matches!(event, Event::Reset(_));
    while !std::iter::from_fn(|| server.mux.poll_event()).any(is_reset) {
        // This server sends no answer.
        data += server.receive().await;
    }
    assert!(data > 0 && data <= IN_FLIGHT_INITIAL as usize + 1024, "{data}");
}
