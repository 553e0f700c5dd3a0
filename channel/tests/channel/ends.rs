//! A call that ends early ends at both ends.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_mux::code;
use baton_proto::channel::Head;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tonic::{Code, Request, Status};

use crate::support::raw::RawSession;
use crate::support::service::{Mounted, answer};
use crate::support::{Gone, RunningRelay, Stack, guard, within};

/// `/test/Hang` never answers; `/test/Drip` answers once and never ends. Both report when their handler is dropped.
fn hanging() -> (Mounted, mpsc::UnboundedReceiver<Gone>) {
    let (started, handlers) = mpsc::unbounded_channel();
    let started = Arc::new(Mutex::new(started));
    let start = move || {
        let (guard, gone) = guard();
        started.lock().unwrap().send(gone).unwrap();
        guard
    };
    let start_drip = start.clone();
    let service = Mounted::echo()
        .on("/test/Hang", move |_| {
            let guard = start();
            async move {
                let _guard = guard;
                pending().await
            }
        })
        .on("/test/Drip", move |_| {
            let guard = start_drip();
            async move {
                let once = stream::iter([Ok(Bytes::from_static(b"drop"))]);
                // The response's body holds the guard, because the handler itself has returned.
                Ok(answer(once.chain(stream::once(async move {
                    let _guard = guard;
                    pending().await
                }))))
            }
        });
    (service, handlers)
}

fn empty() -> Request<Bytes> {
    Request::new(Bytes::new())
}

#[tokio::test]
async fn a_deadline_ends_the_call_on_both_ends() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    stack.channel.connect().await.unwrap();
    let mut request = empty();
    request.set_timeout(Duration::from_millis(200));
    let started = Instant::now();
    let late = within(stack.caller().unary("/test/Hang", request))
        .await
        .unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(started.elapsed() >= Duration::from_millis(200));
    within(handlers.recv()).await.unwrap().wait().await;
    assert_eq!(within(stack.caller().echo("on")).await.unwrap(), "on");
}

#[tokio::test]
async fn a_deadline_ends_a_streaming_response() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    stack.channel.connect().await.unwrap();
    let mut request = empty();
    request.set_timeout(Duration::from_millis(500));
    let response = within(stack.caller().server_streaming("/test/Drip", request)).await;
    let mut messages = response.unwrap().into_inner();
    assert_eq!(within(messages.next()).await.unwrap().unwrap(), "drop");
    let late = within(messages.next()).await.unwrap().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    within(handlers.recv()).await.unwrap().wait().await;
}

#[tokio::test]
async fn a_deadline_includes_the_connect() {
    let relay = RunningRelay::start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stack = Stack::start(Mounted::echo()).await;
    stack.server.ticket.relay_url = format!("http://{}", silent.local_addr().unwrap());
    let channel = baton_channel::Channel::new(stack.server.ticket.clone(), stack.key());
    let mut request = empty();
    request.set_timeout(Duration::from_millis(100));
    let started = Instant::now();
    let caller = crate::support::service::Caller::new(channel);
    let late = within(caller.unary("/test/Echo", request)).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    // Much less than the timeout of the dial.
    assert!(started.elapsed() < Duration::from_secs(4));
    relay.stop().await;
}

#[tokio::test]
async fn a_call_cancelled_before_its_answer_stops_the_handler() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    let caller = stack.caller();
    let gone = {
        let call = caller.unary("/test/Hang", empty());
        let mut call = std::pin::pin!(call);
        tokio::select! {
            _ = &mut call => panic!("this call has no answer"),
            gone = within(handlers.recv()) => gone.unwrap(),
        }
        // The call's future is dropped here.
    };
    gone.wait().await;
    assert_eq!(within(caller.echo("on")).await.unwrap(), "on");
}

#[tokio::test]
async fn a_response_dropped_halfway_stops_the_handler() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    // The request stays open too: its pump must stop with the response.
    let (keep, requests) = mpsc::channel::<Bytes>(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let response = within(stack.caller().streaming("/test/Drip", requests)).await;
    let mut messages = response.unwrap().into_inner();
    assert_eq!(within(messages.next()).await.unwrap().unwrap(), "drop");
    let mut gone = within(handlers.recv()).await.unwrap();
    assert!(!gone.is_gone());
    drop(messages);
    gone.wait().await;
    within(keep.closed()).await;
}

#[tokio::test]
async fn a_handler_that_fails_before_it_reads_ends_an_endless_request() {
    let service = Mounted::echo().on("/test/No", |_| async { Err(Status::aborted("no")) });
    let stack = Stack::start(service).await;
    let (keep, requests) = mpsc::channel::<Bytes>(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let refused = within(stack.caller().client_streaming("/test/No", requests)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Aborted);
    within(keep.closed()).await;
}

#[tokio::test]
async fn a_call_reset_in_the_message_that_opens_it_leaves_no_handler() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
    let head = |path: &str| Head {
        path: path.into(),
        ..Head::default()
    };
    let now = Instant::now();
    let id = client.mux.open(now, &head("/test/Hang"), None).unwrap();
    let mut frames = client.frames();
    client.mux.reset(id, code::CANCELLED);
    frames.extend(client.frames());
    client.send(&frames).await;

    let after = client.mux.open(now, &head("/test/Unknown"), None).unwrap();
    client.flush().await;
    within(client.response(after)).await;
    if let Ok(gone) = handlers.try_recv() {
        gone.wait().await;
    }
}

/// The reset reaches the server before, while and after the handler starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handler_outlives_a_call_cancelled_at_any_moment() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    stack.channel.connect().await.unwrap();
    for turns in 0..300 {
        let caller = stack.caller();
        let call = tokio::spawn(async move { caller.unary("/test/Hang", empty()).await });
        for _ in 0..turns % 30 {
            tokio::task::yield_now().await;
        }
        call.abort();
    }
    // When this call is answered, all calls that were sent before it have been served.
    assert_eq!(within(stack.caller().echo("on")).await.unwrap(), "on");
    while let Ok(gone) = handlers.try_recv() {
        gone.wait().await;
    }
}
