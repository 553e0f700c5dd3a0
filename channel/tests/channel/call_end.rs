//! The code that outlives a handler learns why its call was cut short, and the reason blames the right party.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_channel::Channel;
use baton_channel::allow::AllowList;
use baton_channel::key::{Seed, StaticKey};
use baton_channel::ticket::Ticket;
use baton_noise::RekeyPolicy;
use baton_proto::channel::{Head, go_away};
use baton_trace::call_end::{CallEnd, CallEndCell};
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Request;

use crate::support::raw::RawSession;
use crate::support::service::{Caller, Mounted};
use crate::support::{Gone, RunningRelay, RunningServer, Stack, guard, within};

/// The values that outlive a handler: its call's cell, and a notification of its drop.
type HandlerRemains = (CallEndCell, Gone);

/// `/test/Hang` never answers, and sends the values that outlive its handler.
fn hanging() -> (Mounted, mpsc::UnboundedReceiver<HandlerRemains>) {
    let (started, handlers) = mpsc::unbounded_channel();
    let service = Mounted::echo().on("/test/Hang", move |request| {
        let (guard, gone) = guard();
        let cell = request.extensions().get::<CallEndCell>().unwrap().clone();
        started.send((cell, gone)).unwrap();
        async move {
            // A handler that reads its requests must not see their end before the reason is known.
            let (_guard, _request) = (guard, request);
            std::future::pending().await
        }
    });
    (service, handlers)
}

async fn hang(caller: Caller) {
    // The result does not matter here.
    drop(caller.unary("/test/Hang", Request::new(Bytes::new())).await);
}

/// The reason in the cell once the handler is dropped.
async fn reason((cell, gone): HandlerRemains) -> Option<CallEnd> {
    gone.wait().await;
    cell.get()
}

/// A raw session of the allowed client, with an open call.
async fn raw_call(stack: &Stack) -> RawSession {
    raw_call_of(&stack.server.ticket, &stack.key()).await
}

async fn raw_call_of(ticket: &Ticket, key: &StaticKey) -> RawSession {
    let mut client = RawSession::dial(ticket, key).await;
    let head = Head {
        path: "/test/Hang".into(),
        ..Head::default()
    };
    client.mux.open(std::time::Instant::now(), &head, None).unwrap();
    client.flush().await;
    client
}

#[tokio::test]
async fn a_cancelled_call_ends_as_reset() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    let call = tokio::spawn(hang(stack.caller()));
    let handler = within(handlers.recv()).await.unwrap();
    assert_eq!(handler.0.get(), None);
    call.abort();
    assert_eq!(reason(handler).await, Some(CallEnd::Reset));
}

#[tokio::test]
async fn a_deadline_is_distinguished_from_a_reset() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    stack.channel.connect().await.unwrap();
    let mut request = Request::new(Bytes::new());
    request.set_timeout(Duration::from_millis(200));
    within(stack.caller().unary("/test/Hang", request))
        .await
        .unwrap_err();
    let handler = within(handlers.recv()).await.unwrap();
    assert_eq!(reason(handler).await, Some(CallEnd::Deadline));
}

#[tokio::test]
async fn a_client_whose_connection_breaks_is_lost() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    let client = raw_call(&stack).await;
    let handler = within(handlers.recv()).await.unwrap();
    drop(client);
    assert_eq!(reason(handler).await, Some(CallEnd::ClientLost));
}

#[tokio::test]
async fn a_relay_that_stops_ends_calls_as_connection_lost_and_not_as_client_lost() {
    for is_killed in [true, false] {
        let (service, mut handlers) = hanging();
        let stack = Stack::start(service).await;
        let call = tokio::spawn(hang(stack.caller()));
        let handler = within(handlers.recv()).await.unwrap();
        match is_killed {
            true => stack.relay.kill().await,
            false => stack.relay.stop().await,
        }
        let expected = Some(CallEnd::ConnectionLost);
        assert_eq!(reason(handler).await, expected, "killed: {is_killed}");
        within(call).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_taken_off_the_list_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("allowed");
    let relay = RunningRelay::start().await;
    let key = Seed::generate().unwrap().client_key().unwrap();
    std::fs::write(&list, format!("{} one\n", key.public())).unwrap();
    let (service, mut handlers) = hanging();
    let allow = AllowList::file(&list).unwrap();
    let server = RunningServer::with_rekey(&relay.url(), allow, service, RekeyPolicy::default()).await;
    let caller = Caller::new(Channel::new(server.ticket.clone(), key));
    let call = tokio::spawn(hang(caller));
    let handler = within(handlers.recv()).await.unwrap();
    std::fs::write(&list, "").unwrap();
    assert_eq!(reason(handler).await, Some(CallEnd::Revoked));
    within(call).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_ends_calls_as_shut_down() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    let call = tokio::spawn(hang(stack.caller()));
    let handler = within(handlers.recv()).await.unwrap();
    stack.server.stop().await;
    assert_eq!(reason(handler).await, Some(CallEnd::ShutDown));
    within(call).await.unwrap();
}

/// `Reset` with `UNAVAILABLE`.
const RESET_UNAVAILABLE: (&str, u8) = ("Reset", 14);

#[tokio::test]
async fn a_shutdown_sends_goaway_before_it_resets_calls_as_unavailable() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    let client = raw_call(&stack).await;
    within(handlers.recv()).await.unwrap();
    let (said, ()) = tokio::join!(client.read_go_aways_and_resets(), stack.server.stop());
    let shutdown = ("GoAway", go_away::Reason::Shutdown as u8);
    // The first `GoAway` begins the time that open calls have left.
    assert_eq!(said, [shutdown, shutdown, RESET_UNAVAILABLE]);
}

#[tokio::test]
async fn a_revocation_sends_goaway_before_it_resets_calls_as_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("allowed");
    let relay = RunningRelay::start().await;
    let key = Seed::generate().unwrap().client_key().unwrap();
    std::fs::write(&list, format!("{} one\n", key.public())).unwrap();
    let (service, mut handlers) = hanging();
    let server = RunningServer::start(&relay.url(), AllowList::file(&list).unwrap(), service).await;
    let client = raw_call_of(&server.ticket, &key).await;
    within(handlers.recv()).await.unwrap();
    std::fs::write(&list, "").unwrap();
    let not_allowed = ("GoAway", go_away::Reason::NotAllowed as u8);
    assert_eq!(
        client.read_go_aways_and_resets().await,
        [not_allowed, RESET_UNAVAILABLE]
    );
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_ends_its_calls_as_violation() {
    let (service, mut handlers) = hanging();
    let stack = Stack::start(service).await;
    let mut client = raw_call(&stack).await;
    let handler = within(handlers.recv()).await.unwrap();
    client.send(b"no frame").await;
    assert_eq!(reason(handler).await, Some(CallEnd::Violation));
}

#[tokio::test]
async fn an_answered_call_has_no_call_end() {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let service = Mounted::echo().on("/test/Cell", move |request| {
        *keep.lock().unwrap() = request.extensions().get::<CallEndCell>().cloned();
        async { Ok(crate::support::service::message("done")) }
    });
    let stack = Stack::start(service).await;
    within(stack.caller().unary("/test/Cell", Request::new(Bytes::new())))
        .await
        .unwrap();
    stack.server.stop().await;
    let cell: Option<CallEndCell> = seen.lock().unwrap().take();
    assert_eq!(cell.unwrap().get(), None);
}
