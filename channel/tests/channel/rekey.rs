//! Rekeys do not affect open calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_channel::allow::AllowList;
use baton_channel::key::StaticKey;
use baton_channel::{Channel, Notice, SessionError};
use baton_mux::limits::PING_INTERVAL;
use baton_noise::{KeyLimit, MESSAGE_1_LEN, MESSAGE_2_LEN, RekeyError, RekeyPolicy};
use baton_support::frames;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::StreamExt;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::raw::{RawServer, RawSession};
use crate::support::service::{Caller, Mounted};
use crate::support::{RunningRelay, RunningServer, Stack, renewing, source, within};

/// Calls that stay open during all rekeys of a test.
const CALLS: usize = 6;

/// The most messages of a call in flight. A rekey waits in the same queues.
const UNDER_WAY: usize = 4;

/// Bytes of the longest message.
const LONGEST: usize = 10_000;

fn never() -> RekeyPolicy {
    RekeyPolicy {
        pace: Duration::ZERO,
        ..RekeyPolicy::default()
    }
}

/// A policy that rekeys after so few messages that rekeys follow each other without a pause.
fn incessantly() -> RekeyPolicy {
    RekeyPolicy {
        after: KeyLimit {
            messages: 4,
            bytes: u64::MAX,
        },
        ..never()
    }
}

/// A message that begins with its number in its stream.
fn message(number: u64, random: &mut SmallRng) -> Bytes {
    let len = random.random_range(0..LONGEST);
    let mut message = BytesMut::with_capacity(8 + len);
    message.put_u64(number);
    message.resize(8 + len, number as u8);
    message.freeze()
}

/// One call that echoes messages until `enough` is set, several in flight at any time. Compares each answer with the
/// sent message, and returns their number.
async fn echo(caller: Caller, seed: u64, enough: Arc<AtomicBool>) -> u64 {
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let answered = Arc::clone(&room);
    let mut random = SmallRng::seed_from_u64(seed);
    let mut expected = random.clone();
    let sender = tokio::spawn(async move {
        let mut sent = 0;
        while !enough.load(Ordering::Relaxed) {
            room.acquire().await.unwrap().forget();
            send.send(message(sent, &mut random)).await.unwrap();
            sent += 1;
        }
        sent
    });
    let call = caller
        .streaming("/test/Echo", ReceiverStream::new(requests))
        .await;
    let mut answers = call.unwrap().into_inner();
    let mut received = 0;
    while let Some(answer) = answers.next().await {
        assert!(
            answer.unwrap() == message(received, &mut expected),
            "message {received} of seed {seed}"
        );
        received += 1;
        answered.add_permits(1);
    }
    assert_eq!(received, sender.await.unwrap());
    received
}

/// `CALLS` calls with traffic in both directions, until their one session has renewed its keys so often.
async fn rekeys_under_load(client: RekeyPolicy, server: RekeyPolicy, wanted: u64) {
    let seed = baton_support::scale::seed();
    let relay = RunningRelay::start().await;
    let key = StaticKey::generate().unwrap();
    let allow = AllowList::only(*key.public(), "test", Default::default());
    let server = RunningServer::with_rekey(&relay.url(), allow, Mounted::echo(), server).await;
    let channel = Channel::with_config(server.ticket.clone(), key, renewing(client));
    within(channel.connect()).await.unwrap();

    let started = Instant::now();
    let enough = Arc::new(AtomicBool::new(false));
    let calls: Vec<_> = (0..CALLS as u64)
        .map(|call| {
            let caller = Caller::new(channel.clone());
            tokio::spawn(echo(caller, seed ^ call, Arc::clone(&enough)))
        })
        .collect();
    let reached = tokio::time::timeout(Duration::from_secs(120), async {
        while channel.rekeys() < wanted {
            assert!(calls.iter().all(|call| !call.is_finished()), "a call has ended");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(reached.await.is_ok(), "{} of {wanted} rekeys", channel.rekeys());
    enough.store(true, Ordering::Relaxed);
    let mut messages = 0;
    for call in calls {
        messages += within(call).await.unwrap();
    }
    println!(
        "{messages} messages, {} rekeys, {:?}",
        channel.rekeys(),
        started.elapsed()
    );
    assert!(messages > wanted, "{messages} messages are no load");
    assert_eq!(
        relay.metrics.snapshot().sessions_total,
        1,
        "it was one session throughout"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rekeys_that_both_ends_begin_lose_no_byte_of_open_calls() {
    rekeys_under_load(incessantly(), incessantly(), 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rekeys_that_the_client_begins_lose_no_byte_of_open_calls() {
    rekeys_under_load(incessantly(), never(), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rekeys_that_the_server_asks_for_lose_no_byte_of_open_calls() {
    rekeys_under_load(never(), incessantly(), 200).await;
}

#[tokio::test]
async fn an_idle_session_renews_its_keys_by_age() {
    let relay = RunningRelay::start().await;
    let key = StaticKey::generate().unwrap();
    let allow = AllowList::only(*key.public(), "test", Default::default());
    let server = RunningServer::start(&relay.url(), allow, Mounted::echo()).await;
    let policy = RekeyPolicy {
        after_age: Duration::from_millis(20),
        ..never()
    };
    let channel = Channel::with_config(server.ticket.clone(), key, renewing(policy));
    within(channel.connect()).await.unwrap();
    within(async {
        while channel.rekeys() < 3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(within(Caller::new(channel).echo("x")).await.unwrap(), "x");
}

#[tokio::test]
async fn what_a_client_may_not_say_about_keys_ends_its_session_and_no_other() {
    let mut stack = Stack::start(Mounted::echo()).await;
    let frame = |kind: u8, body: &[u8]| frames::mux(kind, 0, body);
    for (name, plaintext) in [
        ("a switch without a rekey", frame(9, b"")),
        ("a request", frame(10, b"")),
        ("a start that does not verify", frame(10, &[1; MESSAGE_1_LEN])),
        (
            "an answer",
            [frame(10, &[1; MESSAGE_2_LEN]), frame(9, b"")].concat(),
        ),
        (
            "two starts",
            [frame(10, &[1; MESSAGE_1_LEN]), frame(10, &[1; MESSAGE_1_LEN])].concat(),
        ),
        ("a switch with a body", frame(9, b"x")),
    ] {
        let mut hostile = RawSession::dial(&stack.server.ticket, &stack.key()).await;
        hostile.send(&plaintext).await;
        within(hostile.ended()).await;
        let ended = stack
            .server
            .until(|notice| matches!(notice, Notice::SessionEnded(..)))
            .await;
        let Notice::SessionEnded(_, error, _) = ended else {
            unreachable!()
        };
        assert!(
            matches!(error, SessionError::Rekey(_) | SessionError::Mux(_)),
            "{name}: {error:?}"
        );
        assert_eq!(within(stack.caller().echo("x")).await.unwrap(), "x");
    }
    // The raw sessions, and one session for all echoes.
    assert_eq!(stack.relay.metrics.snapshot().sessions_total, 7);
}

#[tokio::test]
async fn an_invalid_key_exchange_message_of_a_server_fails_the_call_with_its_own_error() {
    let relay = RunningRelay::start().await;
    let frame = |kind: u8, body: &[u8]| frames::mux(kind, 0, body);
    for plaintext in [
        frame(9, b""),
        frame(10, &[1; MESSAGE_1_LEN]),
        [frame(10, &[1; MESSAGE_2_LEN]), frame(9, b"")].concat(),
    ] {
        let (mut server, ticket) = RawServer::register(&relay.url()).await;
        let caller = Caller::new(Channel::new(ticket, StaticKey::generate().unwrap()));
        let call = tokio::spawn(async move { caller.echo("x").await });
        let mut hostile = server.session().await;
        hostile.opened().await;
        hostile.send(&plaintext).await;
        let failed = within(call).await.unwrap().unwrap_err();
        assert_eq!(failed.code(), Code::Internal);
        let error = source::<SessionError>(&failed);
        assert!(
            matches!(error, SessionError::Rekey(RekeyError::Unexpected(_))),
            "{error:?}"
        );
        within(hostile.ended()).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_a_rekey_is_left_in_time() {
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    let policy = RekeyPolicy {
        after: KeyLimit {
            messages: 1,
            bytes: u64::MAX,
        },
        timeout: Duration::from_millis(100),
        ..never()
    };
    let channel = Channel::with_config(ticket, StaticKey::generate().unwrap(), renewing(policy));
    let call = tokio::spawn(async move { Caller::new(channel).echo("x").await });
    let _mute = within(server.session()).await;
    let started = Instant::now();
    let failed = within(call).await.unwrap().unwrap_err();
    // The timer must wake for the rekey's deadline, before the deadline of the next ping.
    assert!(started.elapsed() < PING_INTERVAL / 2, "{:?}", started.elapsed());
    assert_eq!(
        source::<SessionError>(&failed),
        &SessionError::Rekey(RekeyError::Timeout)
    );
}
