//! The session that carries the calls: established once, lost, established again, and closed.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_channel::limits::{CLOSE_TIMEOUT, DRAIN_TIMEOUT};
use baton_channel::{Channel, Notice, RegisterError, SessionError};
use baton_proto::channel::{Head, go_away};
use baton_proto::limits::MAX_STREAMS;
use baton_relay::Config;
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::{Notify, mpsc};
use tonic::{Code, Request};

use crate::support::raw::{RawServer, RawSession};
use crate::support::service::{Caller, Mounted, message};
use crate::support::{RunningRelay, RunningServer, Stack, eventually, source, waiting, within};

/// `/test/Hang` reports when its handler starts, and never answers.
fn hanging() -> (Mounted, mpsc::UnboundedReceiver<()>) {
    let (started, is_started) = mpsc::unbounded_channel();
    let service = Mounted::echo().on("/test/Hang", move |_| {
        started.send(()).unwrap();
        pending()
    });
    (service, is_started)
}

fn empty() -> Request<Bytes> {
    Request::new(Bytes::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_calls_share_one_dial() {
    let stack = Stack::start(Mounted::echo()).await;
    let caller = stack.caller();
    within(try_join_all((0..32).map(|_| caller.echo("x"))))
        .await
        .unwrap();
    let counts = stack.relay.metrics.snapshot();
    assert_eq!((counts.sessions_total, counts.sessions_open), (1, 1));
}

/// Uses a real relay, which must forward each half-close.
#[tokio::test]
async fn an_orderly_end_is_answered_by_an_orderly_end_at_both_ends() {
    let (service, mut is_started) = hanging();
    let mut stack = Stack::start(service).await;
    let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
    let head = Head {
        path: "/test/Hang".into(),
        ..Head::default()
    };
    client.mux.open(Instant::now(), &head, None).unwrap();
    client.flush().await;
    within(is_started.recv()).await.unwrap();
    client.end_in_order().await.expect("END_STREAM");
    stack
        .server
        .until(|notice| matches!(notice, Notice::SessionEnded(_, SessionError::Relay(_), 1)))
        .await;

    let (mut server, ticket) = RawServer::register(&stack.relay.url()).await;
    let caller = Caller::new(Channel::new(ticket, stack.key()));
    let serve = async {
        let mut session = server.session().await;
        session.opened().await;
        session.end_in_order().await
    };
    let (failed, ended) = tokio::join!(within(caller.echo("x")), serve);
    ended.expect("END_STREAM");
    let failed = failed.unwrap_err();
    assert!(matches!(source(&failed), SessionError::Relay(_)), "{failed:?}");
}

#[tokio::test]
async fn a_lost_relay_fails_open_calls_and_the_next_call_reconnects() {
    for is_killed in [true, false] {
        let (service, mut is_started) = hanging();
        let mut stack = Stack::start(service).await;
        let caller = stack.caller();
        let hanging = tokio::spawn(async move { caller.unary("/test/Hang", empty()).await });
        within(is_started.recv()).await.unwrap();

        let address = stack.relay.address;
        let alone = Channel::with_config(stack.server.ticket.clone(), stack.key(), waiting(Duration::ZERO));
        if is_killed {
            stack.relay.kill().await;
        } else {
            stack.relay.stop().await;
        }
        let lost = within(hanging).await.unwrap().unwrap_err();
        assert_eq!(lost.code(), Code::Unavailable, "{lost:?}");
        let error = source::<SessionError>(&lost);
        assert!(matches!(error, SessionError::ConnectionLost(_)), "{error:?}");
        // No relay is running: this call fails, and does not affect the next one.
        let alone = within(Caller::new(alone).echo("x")).await;
        assert_eq!(alone.unwrap_err().code(), Code::Unavailable);

        stack.relay = RunningRelay::start_at(address).await;
        stack
            .server
            .until(|notice| matches!(notice, Notice::Registered))
            .await;
        assert_eq!(within(stack.caller().echo("again")).await.unwrap(), "again");
    }
}

#[tokio::test]
async fn a_server_that_stops_sends_goaway_to_its_callers() {
    let (service, mut is_started) = hanging();
    let stack = Stack::start(service).await;
    let caller = stack.caller();
    let hanging = tokio::spawn(async move { caller.unary("/test/Hang", empty()).await });
    within(is_started.recv()).await.unwrap();
    let stopping = Instant::now();
    stack.server.stop().await;
    let took = stopping.elapsed();
    assert!(
        took >= DRAIN_TIMEOUT && took < DRAIN_TIMEOUT + 2 * CLOSE_TIMEOUT,
        "{took:?}"
    );
    let lost = within(hanging).await.unwrap().unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable);
    let goodbye = SessionError::GoAway(go_away::Reason::Shutdown);
    assert_eq!(source::<SessionError>(&lost), &goodbye);
}

#[tokio::test]
async fn a_server_that_stops_answers_its_open_calls_and_ends_with_the_last() {
    let (started, mut is_started) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let goes_on = Arc::clone(&go_on);
    let service = Mounted::echo().on("/test/Wait", move |_| {
        started.send(()).unwrap();
        let go_on = Arc::clone(&goes_on);
        async move {
            go_on.notified().await;
            Ok(message("answered"))
        }
    });
    let stack = Stack::start(service).await;
    let idle = Channel::new(stack.server.ticket.clone(), stack.key());
    within(idle.connect()).await.unwrap();
    let caller = stack.caller();
    let call = tokio::spawn(async move { caller.unary("/test/Wait", empty()).await });
    within(is_started.recv()).await.unwrap();

    let metrics = stack.relay.metrics.clone();
    let late = Channel::with_config(stack.server.ticket.clone(), stack.key(), waiting(Duration::ZERO));
    let stopping = Instant::now();
    let stopped = tokio::spawn(stack.server.stop());
    // A session without a call does not wait for the other sessions.
    eventually("one session is open", || metrics.snapshot().sessions_open == 1).await;
    // A client that connects now is refused.
    within(Caller::new(late).echo("late")).await.unwrap_err();
    assert!(!call.is_finished() && !stopped.is_finished());
    go_on.notify_one();
    let answer = within(call).await.unwrap().unwrap();
    assert_eq!(answer.into_inner(), "answered");
    within(stopped).await.unwrap();
    assert!(stopping.elapsed() < DRAIN_TIMEOUT, "{:?}", stopping.elapsed());
}

#[tokio::test]
async fn a_call_that_waits_for_a_slot_in_a_session_that_is_going_away_uses_a_new_session() {
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    let key = baton_channel::key::StaticKey::generate().unwrap();
    let caller = Caller::new(Channel::new(ticket, key));
    let call = |caller: Caller| tokio::spawn(async move { caller.unary("/test/Any", empty()).await });
    let _held: Vec<_> = (0..MAX_STREAMS).map(|_| call(caller.clone())).collect();
    let mut old = server.session().await;
    for _ in 0..MAX_STREAMS {
        old.opened().await;
    }
    let waiting = call(caller);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    old.mux.go_away(go_away::Reason::Shutdown, "");
    old.flush().await;
    let mut new = server.session().await;
    let id = new.opened().await;
    new.answer(id).await;
    within(waiting).await.unwrap().unwrap();
}

/// A relay after a new setup may temporarily refuse an exec-server that it accepted before. The exec-server must retry,
/// or it would stay unreachable.
#[tokio::test]
async fn a_server_that_was_registered_outlasts_a_relay_that_refuses_it() {
    let mut stack = Stack::start(Mounted::echo()).await;
    let address = stack.relay.address;
    stack.relay.kill().await;
    let config = Config {
        authorities: vec!["relay.example".into()],
        ..Config::default()
    };
    let refusing = RunningRelay::start_with(address, config).await;
    let refused = |notice: &Notice| matches!(notice, Notice::Retrying(RegisterError::Refused(_), wait) if *wait > Duration::ZERO);
    for _ in 0..2 {
        stack.server.until(refused).await;
    }
    refusing.kill().await;
    stack.relay = RunningRelay::start_at(address).await;
    stack
        .server
        .until(|notice| matches!(notice, Notice::Registered))
        .await;
    assert_eq!(within(stack.caller().echo("again")).await.unwrap(), "again");
}

#[tokio::test]
async fn after_a_goaway_open_calls_are_answered_new_calls_use_a_new_session_and_the_old_one_ends() {
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    let key = baton_channel::key::StaticKey::generate().unwrap();
    let caller = Caller::new(Channel::new(ticket, key));
    let call = |caller: Caller| tokio::spawn(async move { caller.unary("/test/Any", empty()).await });

    let first = call(caller.clone());
    let mut old = server.session().await;
    let first_id = old.opened().await;
    let second = call(caller.clone());
    let second_id = old.opened().await;
    old.mux.go_away(go_away::Reason::Shutdown, "");
    // The `GoAway` precedes this answer, so a caller with the answer has handled it.
    old.answer(second_id).await;
    within(second).await.unwrap().unwrap();

    let third = call(caller.clone());
    let mut new = server.session().await;
    let third_id = new.opened().await;
    new.answer(third_id).await;
    within(third).await.unwrap().unwrap();

    assert!(!first.is_finished());
    old.answer(first_id).await;
    within(first).await.unwrap().unwrap();
    old.ended().await;
}

/// A call that waited for its session sends the exec-server the remaining time, not the full timeout.
#[tokio::test]
async fn a_deadline_is_sent_as_the_remaining_time() {
    const PAIRING: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(20);
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    let key = baton_channel::key::StaticKey::generate().unwrap();
    let caller = Caller::new(Channel::new(ticket, key));
    let call = tokio::spawn(async move {
        let mut request = empty();
        request.set_timeout(PATIENCE);
        caller.unary("/test/Any", request).await
    });
    tokio::time::sleep(PAIRING).await;
    let mut session = server.session().await;
    let id = session.opened().await;
    let told = Duration::from_nanos(session.mux.take_head(id).unwrap().timeout_ns);
    assert!(told <= PATIENCE - PAIRING / 2 && told > PATIENCE / 2, "{told:?}");
    session.answer(id).await;
    within(call).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_session_ends_with_the_last_handle_to_its_channel() {
    let mut stack = Stack::start(Mounted::echo()).await;
    let metrics = stack.relay.metrics.clone();
    let channel = Channel::new(stack.server.ticket.clone(), stack.key());
    let epoch = within(channel.connect()).await.unwrap();
    assert_eq!(channel.epoch(), Some(epoch));
    let clone = channel.clone();
    drop(channel);
    assert_eq!(within(Caller::new(clone.clone()).echo("x")).await.unwrap(), "x");
    assert_eq!(metrics.snapshot().sessions_total, 1);
    drop(clone);
    stack
        .server
        .until(|notice| matches!(notice, Notice::SessionEnded(..)))
        .await;
    eventually("no session is open", || metrics.snapshot().sessions_open == 0).await;
}

#[tokio::test]
async fn a_session_without_a_waiter_ends_with_its_channel() {
    let stack = Stack::start(Mounted::echo()).await;
    let metrics = stack.relay.metrics.clone();
    for turns in 0..40 {
        let channel = Channel::new(stack.server.ticket.clone(), stack.key());
        let connecting = tokio::spawn(async move { channel.connect().await });
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        connecting.abort();
    }
    // One complete connect: after it all other dials have been made.
    within(stack.channel.connect()).await.unwrap();
    eventually("one session is open", || metrics.snapshot().sessions_open == 1).await;
}

#[tokio::test]
async fn a_connect_failure_without_a_waiter_does_not_fail_a_later_call() {
    let stack = Stack::start(Mounted::echo()).await;
    let address = stack.relay.address;
    let once = || Channel::with_config(stack.server.ticket.clone(), stack.key(), waiting(Duration::ZERO));
    let (channel, other) = (once(), once());
    stack.relay.kill().await;
    {
        let connect = channel.connect();
        let mut connect = std::pin::pin!(connect);
        // Begins to dial, and is dropped.
        assert!(futures_util::poll!(&mut connect).is_pending());
    }
    // This attempt fails in the same manner. When it has failed, the first one has failed too.
    within(other.connect()).await.unwrap_err();
    tokio::task::yield_now().await;
    let _relay = RunningRelay::start_at(address).await;
    let mut server = stack.server;
    server.until(|notice| matches!(notice, Notice::Registered)).await;
    within(channel.connect()).await.unwrap();
}

#[tokio::test]
async fn to_close_a_session_with_a_cancelled_call_waits_until_the_server_has_read_its_end() {
    let stack = Stack::start(Mounted::echo()).await;
    let (mut server, ticket) = RawServer::register(&stack.relay.url()).await;
    let channel = Channel::new(ticket, stack.key());
    let caller = Caller::new(channel.clone());
    let call = tokio::spawn(async move { caller.unary("/test/Hang", empty()).await });
    let mut session = server.session().await;
    session.opened().await;
    call.abort();
    let _ = call.await;
    let begun = Instant::now();
    let closing = tokio::spawn(async move { channel.close().await });
    session.read_to_end().await;
    // On a machine so slow that the limit has passed, nothing follows.
    assert!(!closing.is_finished() || begun.elapsed() >= CLOSE_TIMEOUT);
    drop(session);
    within(closing).await.unwrap();
}

#[tokio::test]
async fn a_closed_channel_opens_a_new_session_when_it_is_used_again() {
    let stack = Stack::start(Mounted::echo()).await;
    assert_eq!(within(stack.caller().echo("one")).await.unwrap(), "one");
    within(stack.channel.close()).await;
    eventually("no session is open", || {
        stack.relay.metrics.snapshot().sessions_open == 0
    })
    .await;
    assert_eq!(within(stack.caller().echo("two")).await.unwrap(), "two");
    assert_eq!(stack.relay.metrics.snapshot().sessions_total, 2);
}

#[tokio::test]
async fn a_restarted_server_has_a_new_epoch() {
    let relay = RunningRelay::start().await;
    let key = baton_channel::key::StaticKey::generate().unwrap();
    let allow = baton_channel::allow::AllowList::only(*key.public(), "test", Default::default());
    let service = Mounted::default().on("/test/Any", |_| async { Ok(message("")) });
    let first = RunningServer::start(&relay.url(), allow.clone(), service.clone()).await;
    let second = RunningServer::start(&relay.url(), allow, service).await;
    assert_ne!(first.epoch, second.epoch);
    let channel = Channel::new(second.ticket.clone(), key);
    assert_eq!(within(channel.connect()).await.unwrap(), second.epoch);
}
