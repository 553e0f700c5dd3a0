//! Each cause that prevents a connect has its own error type, and none of them hangs.

use std::time::{Duration, Instant};

use baton_channel::allow::AllowList;
use baton_channel::key::StaticKey;
use baton_channel::limits::{CONFIRM_TIMEOUT, OUTER_KEEP_ALIVE, OUTER_KEEP_ALIVE_TIMEOUT, PROBE_TIMEOUT};
use baton_channel::ticket::Ticket;
use baton_channel::{Channel, ConnectError, Notice, RelayError, SessionError};
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use tonic::{Code, Status};

use crate::support::raw::{self, RawServer};
use crate::support::service::{Caller, Mounted};
use crate::support::{RunningRelay, RunningServer, Stack, source, waiting, within};

/// The error of a call with a changed ticket and an allowed key.
async fn refused(stack: &Stack, change: impl FnOnce(&mut Ticket)) -> Status {
    let mut ticket = stack.server.ticket.clone();
    change(&mut ticket);
    let channel = Channel::with_config(ticket, stack.key(), waiting(Duration::ZERO));
    within(Caller::new(channel).echo("x")).await.unwrap_err()
}

#[tokio::test]
async fn a_key_that_is_not_on_the_list_is_refused_and_the_owner_is_notified() {
    let mut stack = Stack::start(Mounted::echo()).await;
    let stranger = StaticKey::generate().unwrap();
    let public = *stranger.public();
    let caller = Caller::new(Channel::new(stack.server.ticket.clone(), stranger));
    // Each call dials again, because the list may have changed.
    for _ in 0..2 {
        let refused = within(caller.echo("x")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(source::<SessionError>(&refused), &SessionError::NotAllowed);
        stack
            .server
            .until(|notice| matches!(notice, Notice::Refused(key) if *key == public))
            .await;
    }
    assert_eq!(within(stack.caller().echo("mine")).await.unwrap(), "mine");
}

#[tokio::test]
async fn a_refused_call_dials_once() {
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    let caller = Caller::new(Channel::new(ticket, StaticKey::generate().unwrap()));
    let calling = tokio::spawn(async move { caller.echo("x").await });
    let mut session = server.session_refused().await;
    let refused = within(calling).await.unwrap().unwrap_err();
    assert_eq!(source::<SessionError>(&refused), &SessionError::NotAllowed);
    let again = tokio::time::timeout(Duration::from_millis(300), server.incoming()).await;
    assert!(again.is_err(), "it dialled again: {again:?}");
    session.flush().await;
}

#[tokio::test]
async fn an_edit_of_the_list_applies_from_the_next_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("allowed");
    let relay = RunningRelay::start().await;
    let allow = AllowList::file(&path).unwrap();
    let server = RunningServer::start(&relay.url(), allow, Mounted::echo()).await;
    let key = StaticKey::generate().unwrap();
    let line = format!("{} test\n", key.public());
    let caller = Caller::new(Channel::new(server.ticket.clone(), key));
    let refused = within(caller.echo("x")).await.unwrap_err();
    assert_eq!(source::<SessionError>(&refused), &SessionError::NotAllowed);
    std::fs::write(&path, line).unwrap();
    assert_eq!(within(caller.echo("x")).await.unwrap(), "x");
}

#[tokio::test]
async fn another_pinned_key_than_the_servers_fails_the_handshake() {
    let stack = Stack::start(Mounted::echo()).await;
    let other = *StaticKey::generate().unwrap().public();
    let started = Instant::now();
    let refused = refused(&stack, |ticket| ticket.noise_key = other).await;
    assert!(matches!(source(&refused), ConnectError::Handshake), "{refused:?}");
    // The server closes the stream, so no end waits for a timeout.
    assert!(started.elapsed() < HANDSHAKE_TIMEOUT);
    assert_eq!(within(stack.caller().echo("x")).await.unwrap(), "x");
}

#[tokio::test]
async fn an_unregistered_server_is_distinguished_from_a_refused_ticket() {
    let stack = Stack::start(Mounted::echo()).await;
    let unknown = refused(&stack, |ticket| ticket.exec_server.0[0] ^= 1).await;
    assert!(
        matches!(source(&unknown), ConnectError::NotRegistered { .. }),
        "{unknown:?}"
    );
    let refused = refused(&stack, |ticket| ticket.dial_token.0[0] ^= 1).await;
    assert!(
        matches!(source(&refused), ConnectError::TicketRefused(_)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_relay_that_is_not_running_is_unreachable() {
    let stack = Stack::start(Mounted::echo()).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let refused = refused(&stack, |ticket| ticket.relay_url = format!("http://{address}")).await;
    assert_eq!(refused.code(), Code::Unavailable);
    let error = source::<ConnectError>(&refused);
    assert!(
        matches!(error, ConnectError::Relay(RelayError::Unreachable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_connect_to_a_silent_relay_times_out() {
    let stack = Stack::start(Mounted::echo()).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let started = Instant::now();
    let refused = refused(&stack, |ticket| ticket.relay_url = url).await;
    let error = source::<ConnectError>(&refused);
    assert!(matches!(error, ConnectError::Broken(_)), "{error:?}");
    let missed = OUTER_KEEP_ALIVE + OUTER_KEEP_ALIVE_TIMEOUT + PROBE_TIMEOUT;
    assert!(started.elapsed() < missed + Duration::from_secs(2));
}

#[tokio::test]
async fn a_connect_to_a_server_that_accepts_and_stays_silent_times_out() {
    let stack = Stack::start(Mounted::echo()).await;
    let (mut mute, ticket) = RawServer::register(&stack.relay.url()).await;
    let caller = Caller::new(Channel::with_config(ticket, stack.key(), waiting(Duration::ZERO)));
    let accept = async {
        let incoming = mute.incoming().await;
        mute.accept(&incoming).await
    };
    let (refused, _held) = tokio::join!(within(caller.echo("x")), accept);
    let refused = refused.unwrap_err();
    let error = source::<ConnectError>(&refused);
    assert!(
        matches!(error, ConnectError::Timeout("the exec-server")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_client_that_never_speaks_after_the_handshake_is_cut() {
    let mut stack = Stack::start(Mounted::echo()).await;
    let (mut mute, _transport) = raw::dial(&stack.server.ticket, &stack.key()).await;
    let started = Instant::now();
    // A `GoAway` of the server is encrypted. Only the end of the stream is visible here.
    within(async { while let Ok(Some(_)) = mute.receive.message().await {} }).await;
    assert!(started.elapsed() > CONFIRM_TIMEOUT / 2);
    assert!(started.elapsed() < CONFIRM_TIMEOUT + HANDSHAKE_TIMEOUT);
    // Message 1 may be a replay by the relay, so no client is reported as connected.
    let told = within(stack.server.notices.recv()).await.unwrap();
    assert!(
        matches!(&told, Notice::AcceptFailed(why) if why.contains("sent nothing after the handshake")),
        "{told:?}"
    );
}
