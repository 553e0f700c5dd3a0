//! Every refusal of `Dial` and `Accept` is typed, says what to do, and starts nothing.

use std::time::Duration;

use baton_proto::{ExecServerId, header};
use baton_relay::{Limits, Refused};
use tokio::io::AsyncReadExt;
use tonic::Code;

use crate::support::{DIAL_TOKEN, ExecServer, Peer, World, assert_status, new_session, pushback, soon};

#[tokio::test]
async fn headers_that_are_missing_or_malformed() {
    let world = World::new().await;
    let good = [
        (header::EXEC_SERVER_ID, world.exec_server.id.to_string()),
        (header::SESSION_ID, new_session().to_string()),
        (header::DIAL_TOKEN, "d1".repeat(32)),
    ];
    for i in 0..good.len() {
        let mut headers = good.to_vec();
        headers.remove(i);
        let status = world.client.call("Dial", &headers).refused().await;
        assert_status(
            &status,
            Code::InvalidArgument,
            &format!("{} is missing", good[i].0),
        );
        for bad in ["", "xyz", "ABCD"] {
            let mut headers = good.to_vec();
            headers[i].1 = bad.to_owned();
            let status = world.client.call("Dial", &headers).refused().await;
            assert_status(&status, Code::InvalidArgument, good[i].0);
        }
    }
    let status = world.client.call("Accept", &[]).refused().await;
    assert_status(&status, Code::InvalidArgument, "baton-session-id is missing");
    let status = world.client.call("Listen", &[]).refused().await;
    assert_status(&status, Code::Unimplemented, "baton.relay.v1.Relay");
    assert_eq!(world.relay.metrics.snapshot().refused(Refused::Malformed), 13);
}

#[tokio::test]
async fn an_exec_server_that_is_not_registered() {
    let world = World::new().await;
    let status = world
        .client
        .dial(ExecServerId([9; 16]), new_session())
        .refused()
        .await;
    assert_status(&status, Code::NotFound, "get a new ticket");
}

#[tokio::test]
async fn a_wrong_dial_token_before_the_exec_server_hears_of_it() {
    let mut world = World::new().await;
    let mut token = DIAL_TOKEN;
    token[31] ^= 1;
    let status = world
        .client
        .dial_with(world.exec_server.id, new_session(), &token)
        .refused()
        .await;
    assert_status(&status, Code::PermissionDenied, "current ticket");
    let good = new_session();
    let _dial = world.client.dial(world.exec_server.id, good);
    assert_eq!(world.exec_server.incoming().await.session_id, &good.0[..]);
}

#[tokio::test]
async fn a_session_id_in_use_while_it_waits_and_while_it_runs() {
    let mut world = World::new().await;
    let id = new_session();
    let dial = world.client.dial(world.exec_server.id, id);
    let incoming = world.exec_server.incoming().await;
    let status = world.client.dial(world.exec_server.id, id).refused().await;
    assert_status(&status, Code::AlreadyExists, "draw a new random one");
    let server = world.accepting.accept(&incoming).answered().await;
    let client = dial.answered().await;
    let status = world.client.dial(world.exec_server.id, id).refused().await;
    assert_status(&status, Code::AlreadyExists, "draw a new random one");

    drop((client, server));
    world
        .relay
        .counts("the session's end", |s| s.sessions_open == 0)
        .await;
    let _again = world.client.dial(world.exec_server.id, id);
    assert_eq!(world.exec_server.incoming().await.session_id, &id.0[..]);
}

#[tokio::test]
async fn an_exec_server_that_does_not_accept_in_time() {
    let mut world = World::limited(Limits {
        handshake_timeout: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let dial = world.client.dial(world.exec_server.id, new_session());
    let incoming = world.exec_server.incoming().await;
    assert_status(
        &dial.refused().await,
        Code::Unavailable,
        "did not accept within 100ms",
    );
    let status = world.accepting.accept(&incoming).refused().await;
    assert_status(&status, Code::PermissionDenied, "no dial waits");
}

#[tokio::test]
async fn a_session_beyond_the_exec_servers_limit_with_a_retry_hint() {
    let mut world = World::limited(Limits {
        sessions_per_exec_server: 2,
        ..Limits::default()
    })
    .await;
    assert_eq!(world.exec_server.max_sessions, 2);
    let first = world.session().await;
    let _second = world.session().await;
    let status = world
        .client
        .dial(world.exec_server.id, new_session())
        .refused()
        .await;
    assert_status(&status, Code::ResourceExhausted, "all its 2 sessions");
    assert_eq!(pushback(&status), Some(2_000));

    drop(first);
    world.relay.counts("a free place", |s| s.sessions_open == 1).await;
    let _third = world.session().await;
}

#[tokio::test]
async fn a_session_beyond_the_connections_limit_on_either_side() {
    let mut world = World::limited(Limits {
        sessions_per_connection: 1,
        ..Limits::default()
    })
    .await;
    let _first = world.session().await;
    let status = world
        .client
        .dial(world.exec_server.id, new_session())
        .refused()
        .await;
    assert_status(&status, Code::ResourceExhausted, "open another one");
    assert_eq!(pushback(&status), Some(2_000));

    let other = Peer::connect(&world.relay).await;
    let dial = other.dial(world.exec_server.id, new_session());
    let incoming = world.exec_server.incoming().await;
    let status = world.accepting.accept(&incoming).refused().await;
    assert_status(&status, Code::ResourceExhausted, "accept on another one");
    let another = Peer::connect(&world.relay).await;
    let _server = another.accept(&incoming).answered().await;
    let _client = dial.answered().await;
}

#[tokio::test]
async fn the_sixty_fifth_session_of_a_connection_is_answered_and_not_queued() {
    let mut world = World::limited(Limits {
        sessions_per_exec_server: 1_000,
        ..Limits::default()
    })
    .await;
    let mut sessions = Vec::new();
    for _ in 0..64 {
        sessions.push(world.session().await);
    }
    let status = world
        .client
        .dial(world.exec_server.id, new_session())
        .refused()
        .await;
    assert_status(&status, Code::ResourceExhausted, "all its 64 sessions");
}

#[tokio::test]
async fn dials_beyond_what_may_wait() {
    for (limits, says) in [
        (
            Limits {
                pending_per_exec_server: 1,
                ..Limits::default()
            },
            "wait for this exec-server",
        ),
        (
            Limits {
                pending_per_address: 1,
                ..Limits::default()
            },
            "from your address",
        ),
        (
            Limits {
                sessions_per_address: 1,
                ..Limits::default()
            },
            "your address has all its 1 sessions",
        ),
        (
            Limits {
                sessions: 1,
                ..Limits::default()
            },
            "this relay has all its 1 sessions",
        ),
    ] {
        let mut world = World::limited(limits).await;
        let waiting = world.client.dial(world.exec_server.id, new_session());
        world.exec_server.incoming().await;
        let status = world
            .client
            .dial(world.exec_server.id, new_session())
            .refused()
            .await;
        assert_status(&status, Code::ResourceExhausted, says);
        assert!(pushback(&status).is_some());

        // A client that gives up frees its place at once.
        waiting.reset().await;
        soon("the place", async {
            loop {
                let dial = world.client.dial(world.exec_server.id, new_session());
                let heard =
                    tokio::time::timeout(Duration::from_millis(50), world.exec_server.incoming()).await;
                if heard.is_ok() {
                    break;
                }
                dial.refused().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_dial_whose_client_gave_up_cannot_be_accepted() {
    let mut world = World::new().await;
    let dial = world.client.dial(world.exec_server.id, new_session());
    let incoming = world.exec_server.incoming().await;
    dial.reset().await;
    // On the same connection, so the relay has seen the reset before it sees this.
    let status = world
        .client
        .dial(ExecServerId([9; 16]), new_session())
        .refused()
        .await;
    assert_eq!(status.code(), Code::NotFound);
    soon("the dial to be forgotten", async {
        let accept = world.accepting.accept(&incoming);
        assert_status(&accept.refused().await, Code::PermissionDenied, "given up");
    })
    .await;
    assert_eq!(world.relay.metrics.snapshot().sessions_total, 0);
}

#[tokio::test]
async fn an_exec_server_that_does_not_read_its_announcements() {
    let world = World::limited(Limits {
        sessions_per_exec_server: 10_000,
        sessions_per_connection: 10_000,
        pending_per_exec_server: 10_000,
        pending_per_address: 10_000,
        ..Limits::default()
    })
    .await;
    // Its HTTP/2 window takes a few announcements, tonic and HTTP/2 buffer some, then the queue fills.
    let mut peers = Vec::new();
    let mut dials = Vec::new();
    let refused = soon("a refusal", async {
        loop {
            let peer = Peer::connect(&world.relay).await;
            for _ in 0..64 {
                dials.push(peer.dial(world.exec_server.id, new_session()));
            }
            // Answered after all 64, which are handled in order.
            let status = peer.dial(ExecServerId([9; 16]), new_session()).refused().await;
            assert_eq!(status.code(), Code::NotFound);
            peers.push(peer);
            if let Some(at) = dials.iter().position(|dial| dial.is_answered()) {
                break dials.swap_remove(at);
            }
        }
    })
    .await;
    let status = refused.refused().await;
    assert_status(
        &status,
        Code::ResourceExhausted,
        "does not read its announcements",
    );
    assert!(pushback(&status).is_some());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let world = World::limited(Limits {
        connections: 3,
        ..Limits::default()
    })
    .await;
    let fourth = Peer::connect(&world.relay).await;
    let call = fourth.dial(world.exec_server.id, new_session());
    assert!(call.failed().await, "closed, not queued");
}

#[tokio::test]
async fn connections_of_an_address_beyond_its_limit_are_closed_and_others_are_not() {
    let relay = crate::support::TestRelay::limited(Limits {
        connections_per_address: 3,
        ..Limits::default()
    })
    .await;
    let is_closed = async |address: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        let mut stream = socket.connect(relay.addr).await.unwrap();
        // An open one is greeted with HTTP/2's settings.
        let is_closed = !matches!(soon("an answer", stream.read(&mut [0])).await, Ok(1));
        (stream, is_closed)
    };
    let mut held = Vec::new();
    for n in 0..3 {
        let (stream, is_closed) = is_closed([127, 0, 0, 1]).await;
        assert!(!is_closed, "{n}");
        held.push(stream);
    }
    assert!(is_closed([127, 0, 0, 1]).await.1, "the fourth");
    assert!(!is_closed([127, 0, 0, 2]).await.1, "another address");
    held.clear();
    soon("its places to come back", async {
        while is_closed([127, 0, 0, 1]).await.1 {}
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let relay = crate::support::TestRelay::limited(Limits {
        connection_idle: Duration::from_millis(30),
        ..Limits::default()
    })
    .await;
    let mut exec_server = ExecServer::register(&relay, 1).await;
    let mut silent = tokio::net::TcpStream::connect(relay.addr).await.unwrap();
    let mut heard = Vec::new();
    let read = silent.read_to_end(&mut heard);
    let _ = soon("the end of a connection that says nothing at all", read).await;
    let idle = Peer::connect(&relay).await;
    soon("the idle connection's end", idle.closed()).await;
    let client = Peer::connect(&relay).await;
    let _dial = client.dial(exec_server.id, new_session());
    exec_server.incoming().await;
}
