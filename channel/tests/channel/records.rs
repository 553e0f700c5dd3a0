//! The call records of both ends.

use std::future::pending;
use std::sync::Arc;

use baton_channel::{Channel, RecordTo};
use baton_proto::ProcessId;
use baton_trace::call::ServerCall;
use baton_trace::command::{CallerIds, TracedCommand};
use baton_trace::outcome::Outcome;
use baton_trace::record::{CallRecord, Side};
use baton_trace::stage::transport as stages;
use baton_trace::stage::{self, StageId};
use baton_trace::status::RpcStatus;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use opentelemetry::KeyValue;
use tonic::{Code, Request, Status};

use crate::support::service::{Caller, Mounted, answer, collect, message};
use crate::support::{Stack, eventually, guard, within};

const CONNECT: [StageId; 3] = [
    stages::CONNECT_DIAL,
    stages::CONNECT_PAIR,
    stages::CONNECT_HANDSHAKE,
];

fn request(text: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(text.as_bytes()))
}

/// The records that a sink holds, once there are `count`.
async fn records(sink: &baton_trace::recorder::CollectingSink, count: usize) -> Vec<CallRecord> {
    let all = std::sync::Mutex::new(Vec::new());
    eventually("the record arrives", || {
        let mut all = all.lock().unwrap();
        all.extend(sink.take());
        all.len() >= count
    })
    .await;
    let all = all.into_inner().unwrap();
    assert_eq!(all.len(), count, "{all:?}");
    all
}

async fn record(sink: &baton_trace::recorder::CollectingSink) -> CallRecord {
    records(sink, 1).await.remove(0)
}

/// Every stage lies inside the envelope.
fn assert_contained(record: &CallRecord) {
    let envelope = record.stage(stages::CALL).expect("an envelope");
    for stage in &record.stages {
        assert!(
            envelope.start_ns <= stage.start_ns
                && stage.start_ns <= stage.end_ns
                && stage.end_ns <= envelope.end_ns,
            "{} is outside of its call: {stage:?} {envelope:?}",
            stage.stage.name()
        );
    }
}

#[tokio::test]
async fn a_cold_call_and_a_warm_one_are_recorded_stage_by_stage() {
    let stack = Stack::start(Mounted::echo()).await;
    for is_cold in [true, false] {
        within(stack.caller().echo("x")).await.unwrap();
        let client = record(&stack.records).await;
        let server = record(&stack.server.records).await;
        assert_eq!((client.side, server.side), (Side::Client, Side::Server));
        assert_eq!((client.status, server.status), (RpcStatus(0), RpcStatus(0)));
        assert_eq!((&*client.method, &*server.method), ("test/Echo", "test/Echo"));
        assert_eq!(client.context.trace_id, server.context.trace_id);
        assert_eq!(client.context.span_id, server.context.span_id);
        // No session is lost here.
        for stage in stages::STAGES.iter().filter(|row| row.id != stages::RECOVER) {
            let expected = is_cold || !CONNECT.contains(&stage.id);
            // A relay stage without duration is absent.
            let optional = stage.exporter == stage::Component::Relay;
            let found = client.stage(stage.id).is_some();
            assert!(
                found == expected || optional,
                "{} on a cold={is_cold} call: {found}",
                stage.name
            );
            let measured = server.stage(stage.id).is_some();
            assert_eq!(
                measured,
                stage.exporter == stage::Component::Server,
                "{} at the server",
                stage.name
            );
        }
        assert_contained(&client);
    }
}

#[tokio::test]
async fn a_call_names_the_relay_and_the_command_that_its_request_is_for() {
    let stack = Stack::start(Mounted::echo()).await;
    let mut asked = request("");
    let command = TracedCommand::new(None, b"/bin/make", ProcessId([1; 16]), CallerIds::default());
    asked.extensions_mut().insert(command.clone());
    command.ended(Outcome::Exited { code: 3 });
    within(stack.caller().unary("/test/Echo", asked)).await.unwrap();
    let told = record(&stack.records).await;
    assert_eq!(told.command.as_deref(), Some(&command.summary()));
    let attribute = |key: &str| {
        let found = told.attributes.iter().find(|kv| kv.key.as_str() == key);
        found.map(|kv| kv.value.to_string())
    };
    assert_eq!(attribute("server.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        attribute("server.port"),
        Some(stack.relay.address.port().to_string())
    );
    assert_eq!(record(&stack.server.records).await.command, None);
    within(stack.caller().unary("/test/Echo", request("")))
        .await
        .unwrap();
    assert_eq!(record(&stack.records).await.command, None);
}

#[tokio::test]
async fn a_streams_record_comes_with_its_end() {
    let service = Mounted::default().on("/test/Three", |_| async {
        Ok(answer(stream::iter(["a", "b", "c"].map(|word| Ok(word.into())))))
    });
    let stack = Stack::start(service).await;
    let (record_to, mut told) = RecordTo::channel();
    let mut request = request("");
    request.extensions_mut().insert(record_to);
    let response = within(stack.caller().server_streaming("/test/Three", request)).await;
    assert!(told.try_recv().is_err(), "the call is not over");
    within(collect(response.unwrap().into_inner())).await.unwrap();
    let told = within(told).await.unwrap();
    assert_eq!(told.context, record(&stack.records).await.context);
    assert_contained(&told);
}

#[tokio::test]
async fn a_failed_calls_record_has_its_status() {
    let service = Mounted::default()
        .on("/test/Fail", |_| async { Err(Status::data_loss("")) })
        .on("/test/FailLate", |_| async {
            Ok(answer(stream::iter([
                Ok(Bytes::from_static(b"x")),
                Err(Status::data_loss("")),
            ])))
        });
    let stack = Stack::start(service).await;
    let failed = within(stack.caller().unary("/test/Fail", request(""))).await;
    assert_eq!(failed.unwrap_err().code(), Code::DataLoss);
    let late = within(stack.caller().server_streaming("/test/FailLate", request(""))).await;
    within(collect(late.unwrap().into_inner())).await.unwrap_err();
    for sink in [&stack.records, &stack.server.records] {
        for record in records(sink, 2).await {
            assert_eq!(record.status, RpcStatus(Code::DataLoss.into()), "{record:?}");
            assert!(record.stage(stages::RPC).is_some(), "{record:?}");
        }
    }
}

#[tokio::test]
async fn a_call_without_a_session_is_recorded_too() {
    let mut stack = Stack::start(Mounted::echo()).await;
    stack.server.ticket.dial_token.0[0] ^= 1;
    let channel = Channel::new(stack.server.ticket.clone(), stack.key());
    let (record_to, told) = RecordTo::channel();
    let mut request = request("");
    request.extensions_mut().insert(record_to);
    let refused = within(Caller::new(channel).unary("/test/Echo", request)).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let told = within(told).await.unwrap();
    assert_eq!(told.status, RpcStatus(Code::PermissionDenied.into()));
    assert_contained(&told);
}

#[tokio::test]
async fn a_cancelled_call_is_recorded_as_cancelled_by_both_ends() {
    let (guard, gone) = guard();
    let guard = std::sync::Mutex::new(Some(guard));
    let (started, mut is_started) = tokio::sync::mpsc::unbounded_channel();
    let service = Mounted::echo().on("/test/Hang", move |_| {
        let guard = guard.lock().unwrap().take();
        started.send(()).unwrap();
        async move {
            let _guard = guard;
            pending().await
        }
    });
    let stack = Stack::start(service).await;
    let caller = stack.caller();
    tokio::select! {
        _ = caller.unary("/test/Hang", request("")) => panic!("this call has no answer"),
        _ = within(is_started.recv()) => {}
    }
    gone.wait().await;
    for sink in [&stack.records, &stack.server.records] {
        let cancelled = record(sink).await;
        assert_eq!(
            cancelled.status,
            RpcStatus(Code::Cancelled.into()),
            "{cancelled:?}"
        );
    }
}

#[tokio::test]
async fn a_response_dropped_halfway_is_recorded_as_cancelled_by_both_ends() {
    let service = Mounted::echo().on("/test/Drip", |_| async {
        let once = stream::iter([Ok(Bytes::from_static(b"drop"))]);
        Ok(answer(once.chain(stream::pending())))
    });
    let stack = Stack::start(service).await;
    let response = within(stack.caller().server_streaming("/test/Drip", request(""))).await;
    let mut messages = response.unwrap().into_inner();
    within(messages.next()).await.unwrap().unwrap();
    drop(messages);
    for sink in [&stack.records, &stack.server.records] {
        let cancelled = record(sink).await;
        assert_eq!(
            cancelled.status,
            RpcStatus(Code::Cancelled.into()),
            "{cancelled:?}"
        );
        assert!(
            cancelled.stage(stages::RPC).is_some() || cancelled.side == Side::Client,
            "{cancelled:?}"
        );
    }
}

#[tokio::test]
async fn a_deadline_is_recorded_at_both_ends() {
    let service = Mounted::default().on("/test/Hang", |_| pending());
    let stack = Stack::start(service).await;
    stack.channel.connect().await.unwrap();
    let mut request = request("");
    request.set_timeout(std::time::Duration::from_millis(200));
    within(stack.caller().unary("/test/Hang", request))
        .await
        .unwrap_err();
    for sink in [&stack.records, &stack.server.records] {
        let expired = record(sink).await;
        assert_eq!(
            expired.status,
            RpcStatus(Code::DeadlineExceeded.into()),
            "{expired:?}"
        );
        let end = KeyValue::new("baton.call_end", "deadline");
        assert_eq!(expired.attributes.contains(&end), expired.side == Side::Server);
    }
}

#[tokio::test]
async fn with_recording_off_no_trace_context_is_created() {
    let service = Mounted::default().on("/test/Look", |request| async move {
        let call = request.extensions().get::<Arc<ServerCall>>().unwrap();
        let seen = request.metadata().contains_key("traceparent");
        Ok(message(format!("{seen} {}", call.is_recording())))
    });
    let stack = Stack::start(service).await;
    let look = async |channel: Channel, request| {
        let response = within(Caller::new(channel).unary("/test/Look", request)).await;
        response.unwrap().into_inner()
    };
    let silent = Channel::new(stack.server.ticket.clone(), stack.key());
    assert_eq!(look(silent.clone(), request("")).await, "false false");
    let (record_to, told) = RecordTo::channel();
    let mut asked = request("");
    asked.extensions_mut().insert(record_to);
    assert_eq!(look(silent, asked).await, "true true");
    within(told).await.unwrap();
    assert_eq!(look(stack.channel.clone(), request("")).await, "true true");
}
