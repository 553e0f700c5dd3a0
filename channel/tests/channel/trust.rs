//! The trust in a client's trace context, as the handler sees it and as the server records it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::StaticKey;
use baton_channel::{Channel, RecordTo};
use baton_trace::call::ServerCall;
use baton_trace::record::CallRecord;
use baton_trace::stage::{self, transport};
use baton_trace::w3c::{Baggage, TraceContext, Tracestate};
use bytes::Bytes;
use tonic::Request;

use crate::support::service::{Caller, Mounted, message};
use crate::support::{RunningRelay, RunningServer, Stack, eventually, within};

/// One call of a caller whose context is `caller`.
struct Seen {
    client: CallRecord,
    /// In the handler.
    handler: TraceContext,
    server: Option<CallRecord>,
}

async fn call(stack: &Stack, caller: &TraceContext, seen: &std::sync::Mutex<Vec<TraceContext>>) -> Seen {
    let (record_to, told) = RecordTo::channel();
    let mut request = Request::new(Bytes::new());
    request.extensions_mut().insert(record_to);
    request.extensions_mut().insert(caller.clone());
    within(stack.caller().unary("/test/See", request)).await.unwrap();
    let client = within(told).await.unwrap();
    let handler = seen.lock().unwrap().remove(0);
    let mut server = None;
    if handler.is_sampled() {
        let taken = std::sync::Mutex::new(Vec::new());
        eventually("a record arrives", || {
            taken.lock().unwrap().extend(stack.server.records.take());
            !taken.lock().unwrap().is_empty()
        })
        .await;
        server = taken.into_inner().unwrap().pop();
    }
    Seen {
        client,
        handler,
        server,
    }
}

/// A session may stay open for weeks, so an edit of the list applies to its subsequent calls.
#[tokio::test]
async fn another_trust_on_the_list_counts_for_an_open_session_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("allowed");
    let key = StaticKey::generate().unwrap();
    let public = key.public().to_string();
    let write = |trust: &str| std::fs::write(&list, format!("{public} test {trust}\n")).unwrap();
    write("continue");
    let (service, seen) = seeing();
    let relay = RunningRelay::start().await;
    let server = RunningServer::start(&relay.url(), AllowList::file(&list).unwrap(), service).await;
    let channel = Channel::new(server.ticket.clone(), key);
    let caller = Caller::new(channel);
    let context = TraceContext::new_root(true);
    let is_continued = async || {
        let mut request = Request::new(Bytes::new());
        request.extensions_mut().insert(context.clone());
        within(caller.unary("/test/See", request)).await.unwrap();
        seen.lock().unwrap().remove(0).trace_id == context.trace_id
    };
    assert!(is_continued().await);
    for (trust, expected) in [("restart", false), ("clamp", true)] {
        write(trust);
        let edited = Instant::now();
        while is_continued().await != expected {
            assert!(edited.elapsed() < Duration::from_secs(1), "{trust}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(
        relay.metrics.snapshot().sessions_total,
        1,
        "the session stayed open"
    );
}

/// `/test/See` keeps the context that its handler has.
fn seeing() -> (Mounted, Arc<std::sync::Mutex<Vec<TraceContext>>>) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sees = seen.clone();
    let service = Mounted::default().on("/test/See", move |request| {
        let call = request.extensions().get::<Arc<ServerCall>>().unwrap();
        sees.lock().unwrap().push(call.context().clone());
        async { Ok(message("")) }
    });
    (service, seen)
}

async fn start(trust: Trust) -> (Stack, Arc<std::sync::Mutex<Vec<TraceContext>>>) {
    let (service, seen) = seeing();
    (Stack::with_trust(service, trust).await, seen)
}

fn caller() -> TraceContext {
    TraceContext {
        tracestate: Tracestate::parse("a=1").unwrap(),
        baggage: Baggage::parse("who=me"),
        ..TraceContext::new_root(true)
    }
}

#[tokio::test]
async fn continued_and_clamped_traces_keep_their_ids() {
    for trust in [Trust::Continue, Trust::Clamp] {
        let (stack, seen) = start(trust).await;
        let caller = caller();
        let call = call(&stack, &caller, &seen).await;
        assert_eq!(call.client.parent, Some(caller.span_id));
        let envelope = &call.client.context;
        let rpc = stage::span_id(envelope.trace_id, envelope.span_id, transport::RPC, 0);
        // The handler is inside the `rpc` span of the caller's trace, with its tracestate and baggage.
        assert_eq!(call.handler, caller.with_span(rpc));
        let server = call.server.unwrap();
        assert_eq!(&server.context, envelope);
        assert_eq!(server.parent, Some(envelope.span_id));
        assert!(server.links.is_empty());
    }
}

#[tokio::test]
async fn a_client_without_a_recorder_forwards_its_callers_span_and_each_call_has_its_own_ids() {
    let (stack, seen) = start(Trust::Continue).await;
    let silent = Caller::new(Channel::new(stack.server.ticket.clone(), stack.key()));
    let caller = caller();
    for _ in 0..3 {
        let mut request = Request::new(Bytes::new());
        request.extensions_mut().insert(caller.clone());
        within(silent.unary("/test/See", request)).await.unwrap();
    }
    let records = std::sync::Mutex::new(Vec::new());
    eventually("a record arrives", || {
        let mut records = records.lock().unwrap();
        records.extend(stack.server.records.take());
        records.len() == 3
    })
    .await;
    for record in records.into_inner().unwrap() {
        assert_eq!(record.context.trace_id, caller.trace_id);
        assert_eq!(record.parent, Some(caller.span_id));
        assert_ne!(record.context.span_id, caller.span_id);
    }
    let handlers: HashSet<_> = seen.lock().unwrap().iter().map(|seen| seen.span_id).collect();
    assert_eq!(handlers.len(), 3, "each call has an `rpc` span of its own");
}

#[tokio::test]
async fn an_unsampled_trace_stays_unsampled() {
    let (stack, seen) = start(Trust::Continue).await;
    let call = call(&stack, &TraceContext::new_root(false), &seen).await;
    assert!(!call.handler.is_sampled());
    assert!(stack.server.records.take().is_empty());
    // The client still has the whole picture, for itself.
    assert!(call.client.stage(transport::RPC).is_some());
}

#[tokio::test]
async fn a_restarted_trace_is_new_and_links_to_the_callers_trace() {
    let (stack, seen) = start(Trust::Restart).await;
    let caller = caller();
    let call = call(&stack, &caller, &seen).await;
    assert_ne!(call.handler.trace_id, caller.trace_id);
    assert_eq!(call.handler.baggage, Baggage::default());
    assert_eq!(call.handler.tracestate, Tracestate::default());
    let server = call.server.unwrap();
    assert_eq!(server.context.trace_id, call.handler.trace_id);
    assert_eq!(server.parent, None, "it is the root of its trace");
    let [link] = &server.links[..] else {
        panic!("no link to where the call came from: {:?}", server.links)
    };
    assert_eq!(
        (link.trace_id, link.span_id),
        (caller.trace_id, call.client.context.span_id)
    );
    // The client still receives the server's durations.
    assert_eq!(call.client.context.trace_id, caller.trace_id);
    assert!(call.client.stage(transport::RPC).is_some());
}
