//! A relay that drains: what it refuses, and what goes on.

use std::future::pending;
use std::time::Duration;

use baton_proto::header;
use baton_relay::{DrainEnd, Limits};
use tokio::time::timeout;
use tonic::Code;

use crate::support::{
    DIAL_TOKEN, PeerConnection, RegisterStream, TestNetwork, TestRelay, assert_status, new_session, pushback,
    within_timeout,
};

/// The retry hint of what another relay can serve soon.
const MOVED: Option<u64> = Some(250);

#[tokio::test]
async fn a_draining_relay_answers_health_checks_by_404_on_old_and_new_connections() {
    let TestNetwork { relay, client, .. } = TestNetwork::new().await;
    assert_eq!(client.get("/health", &[]).await, 200);
    assert!(!relay.metrics.snapshot().draining);
    relay.drain.begin();
    assert!(relay.metrics.snapshot().draining);
    assert_eq!(client.get("/health", &[]).await, 404);
    let later = PeerConnection::connect(&relay).await;
    assert_eq!(later.get("/health", &[]).await, 404);
}

#[tokio::test]
async fn a_drain_ends_registrations_and_refuses_new_ones_so_that_exec_servers_leave() {
    let TestNetwork {
        relay,
        mut exec_server,
        client,
        ..
    } = TestNetwork::new().await;
    client.here(exec_server.id).await.unwrap();
    relay.drain.begin();
    let status = client.here(exec_server.id).await.unwrap_err();
    assert_status(&status, Code::NotFound, "the relay is shutting down");
    let ended = exec_server.stream.next().await.unwrap_err();
    // At once, without a challenge.
    let refused = RegisterStream::open(&relay, &relay.addr.to_string()).await;
    let refused = refused.err().unwrap();
    for status in [ended, refused] {
        assert_status(
            &status,
            Code::Unavailable,
            "the relay is shutting down; reconnect",
        );
        assert_eq!(pushback(&status), MOVED);
    }
    relay.counts("no registration", |s| s.registrations == 0).await;
    let headers = [
        (header::EXEC_SERVER_ID, exec_server.id.to_string()),
        (header::DIAL_TOKEN, "d1".repeat(32)),
    ];
    assert_eq!(client.get("/health/exec-server", &headers).await, 404);
}

#[tokio::test]
async fn a_drain_refuses_new_dials_and_those_that_wait_with_a_hint() {
    let mut network = TestNetwork::limited(Limits {
        sessions_per_exec_server: 1,
        ..Limits::default()
    })
    .await;
    let id = network.exec_server.id;
    let announced = network.client.dial(id, new_session());
    let incoming = network.exec_server.incoming().await;
    let queued = network.client.dial(id, new_session());
    let silent = network.client.dial_silently(id, new_session(), &DIAL_TOKEN);
    network.client_round_trip().await;

    assert_eq!(network.relay.drain.begin(), 0);
    let later = PeerConnection::connect(&network.relay).await;
    for dial in [announced, queued, silent, later.dial(id, new_session())] {
        let status = dial.refused().await;
        assert_status(
            &status,
            Code::Unavailable,
            "the relay is shutting down; reconnect",
        );
        assert_eq!(pushback(&status), MOVED);
    }
    // The client has given up, as far as the exec-server can tell.
    let status = network.accepting.accept(id, &incoming).refused().await;
    assert_status(&status, Code::PermissionDenied, "no dial waits");
}

#[tokio::test]
async fn a_spliced_session_goes_on_while_the_relay_drains_until_it_ends_by_itself() {
    let mut network = TestNetwork::new().await;
    let (mut client, mut server) = network.session().await;
    let drain = network.relay.drain.clone();
    assert_eq!(drain.begin(), 1);
    let status = network.exec_server.stream.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);

    let finish = drain.finish(Duration::from_secs(3600), pending());
    tokio::pin!(finish);
    let early = timeout(Duration::from_millis(50), &mut finish).await;
    assert!(early.is_err(), "a session is open");
    client.writer.send_noise(b"still here").await;
    assert_eq!(&server.reader.noise().await[..], b"still here");
    server.writer.send_noise(b"and back").await;
    assert_eq!(&client.reader.noise().await[..], b"and back");

    client.writer.end();
    assert_eq!(server.reader.end().await.code(), Code::Ok);
    server.writer.end();
    assert_eq!(client.reader.end().await.code(), Code::Ok);
    drop((client, server));
    assert_eq!(
        within_timeout("the end of the drain", finish).await,
        DrainEnd::Finished
    );
    network.relay.shut_down().await;
}

#[tokio::test]
async fn a_session_that_outlasts_the_drain_is_told_that_the_relay_shuts_down() {
    let mut network = TestNetwork::new().await;
    let (mut client, mut server) = network.session().await;
    let drain = network.relay.drain.clone();
    drain.begin();
    let over = drain.finish(Duration::from_millis(20), pending()).await;
    assert_eq!((over, drain.sessions()), (DrainEnd::TimedOut, 1));
    network.relay.shut_down().await;
    for status in [client.reader.end().await, server.reader.end().await] {
        assert_status(&status, Code::Aborted, "shutting down; reconnect");
    }
}

#[tokio::test]
async fn relays_without_sessions_are_drained_at_once() {
    let relay = TestRelay::start().await;
    relay.drain.begin();
    let finish = relay.drain.finish(Duration::from_secs(3600), pending());
    assert_eq!(within_timeout("nothing", finish).await, DrainEnd::Finished);
}
