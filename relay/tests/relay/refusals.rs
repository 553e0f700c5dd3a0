//! Every refusal of `Dial` and `Accept` is typed, states what to do, and starts nothing.

use std::time::Duration;

use baton_proto::{ExecServerId, header};
use baton_relay::{Limits, RefusalReason};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tonic::Code;

use crate::support::{
    DIAL_TOKEN, ExecServer, PeerConnection, TestNetwork, assert_status, new_session, pushback, within_timeout,
};

#[tokio::test]
async fn headers_that_are_missing_or_malformed() {
    let network = TestNetwork::new().await;
    let good = [
        (header::EXEC_SERVER_ID, network.exec_server.id.to_string()),
        (header::SESSION_ID, new_session().to_string()),
        (header::DIAL_TOKEN, "d1".repeat(32)),
    ];
    for i in 0..good.len() {
        let mut headers = good.to_vec();
        headers.remove(i);
        let status = network.client.call("Dial", &headers).refused().await;
        assert_status(
            &status,
            Code::InvalidArgument,
            &format!("{} is missing", good[i].0),
        );
        for bad in ["", "xyz", "ABCD"] {
            let mut headers = good.to_vec();
            headers[i].1 = bad.to_owned();
            let status = network.client.call("Dial", &headers).refused().await;
            assert_status(&status, Code::InvalidArgument, good[i].0);
        }
    }
    let status = network.client.call("Accept", &[]).refused().await;
    assert_status(&status, Code::InvalidArgument, "baton-exec-server-id is missing");
    let status = network.client.call("Listen", &[]).refused().await;
    assert_status(&status, Code::Unimplemented, "baton.relay.v1.Relay");
    assert_eq!(
        network.relay.metrics.snapshot().refused(RefusalReason::Malformed),
        13
    );
}

#[tokio::test]
async fn an_exec_server_that_is_not_registered() {
    let network = TestNetwork::new().await;
    let status = network
        .client
        .dial(ExecServerId([9; 16]), new_session())
        .refused()
        .await;
    assert_status(&status, Code::NotFound, "get a new ticket");
    // It may be on its way from another relay to this one.
    assert_eq!(pushback(&status), Some(250));
}

#[tokio::test]
async fn a_wrong_dial_token_before_the_exec_server_hears_of_it() {
    let mut network = TestNetwork::new().await;
    let mut token = DIAL_TOKEN;
    token[31] ^= 1;
    let status = network
        .client
        .dial_with(network.exec_server.id, new_session(), &token)
        .refused()
        .await;
    assert_status(&status, Code::PermissionDenied, "current ticket");
    let good = new_session();
    let _dial = network.client.dial(network.exec_server.id, good);
    assert_eq!(network.exec_server.incoming().await.session_id, &good.0[..]);
}

#[tokio::test]
async fn a_session_id_in_use_while_it_waits_and_while_it_runs() {
    let mut network = TestNetwork::new().await;
    let id = new_session();
    let dial = network.client.dial(network.exec_server.id, id);
    let incoming = network.exec_server.incoming().await;
    let status = network.client.dial(network.exec_server.id, id).refused().await;
    assert_status(&status, Code::AlreadyExists, "draw a new random one");
    let server = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .answered()
        .await;
    let client = dial.answered().await;
    let status = network.client.dial(network.exec_server.id, id).refused().await;
    assert_status(&status, Code::AlreadyExists, "draw a new random one");

    drop((client, server));
    network
        .relay
        .counts("the session's end", |s| s.sessions_open == 0)
        .await;
    let _again = network.client.dial(network.exec_server.id, id);
    assert_eq!(network.exec_server.incoming().await.session_id, &id.0[..]);
}

#[tokio::test]
async fn an_exec_server_that_does_not_accept_in_time() {
    let mut network = TestNetwork::limited(Limits {
        handshake_timeout: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let dial = network.client.dial(network.exec_server.id, new_session());
    let incoming = network.exec_server.incoming().await;
    assert_status(
        &dial.refused().await,
        Code::Unavailable,
        "did not accept within 100ms",
    );
    let status = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .refused()
        .await;
    assert_status(&status, Code::PermissionDenied, "no dial waits");
}

#[tokio::test]
async fn a_dial_beyond_the_exec_servers_sessions_waits_for_its_turn() {
    let mut network = TestNetwork::limited(Limits {
        sessions_per_exec_server: 2,
        ..Limits::default()
    })
    .await;
    assert_eq!(network.exec_server.max_sessions, 2);
    let first = network.session().await;
    let _second = network.session().await;
    let ids = [new_session(), new_session()];
    let mut waiting = Vec::new();
    for id in ids {
        waiting.push(network.client.dial(network.exec_server.id, id));
        // Requests are answered in order, so the dial before it waits now.
        network.client_round_trip().await;
    }
    let early = timeout(Duration::from_millis(50), network.exec_server.incoming()).await;
    assert!(early.is_err(), "announced without a slot");
    drop(first);
    let incoming = network.exec_server.incoming().await;
    assert_eq!(incoming.session_id, &ids[0].0[..], "first come, first served");
    let _third = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .answered()
        .await;
    let _client = waiting.remove(0).answered().await;
    assert!(!waiting[0].is_answered());
}

#[tokio::test]
async fn a_dial_that_waits_too_long_for_a_place_is_told_when_to_come_again() {
    let mut network = TestNetwork::limited(Limits {
        sessions_per_address: 1,
        waiting_timeout: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let _first = network.session().await;
    let dial = network.client.dial(network.exec_server.id, new_session());
    let status = dial.refused().await;
    assert_status(
        &status,
        Code::ResourceExhausted,
        "no session slot became free within 50ms",
    );
    assert_eq!(pushback(&status), Some(2_000));
}

#[tokio::test]
async fn nobody_hears_of_a_dial_before_its_first_frame() {
    let mut network = TestNetwork::limited(Limits {
        handshake_timeout: Duration::from_millis(300),
        pending_per_exec_server: 1,
        sessions_per_exec_server: 1,
        ..Limits::default()
    })
    .await;
    let id = network.exec_server.id;
    let silent = network.client.dial_silently(id, new_session(), &DIAL_TOKEN);
    let slow = network.client.dial_silently(id, new_session(), &DIAL_TOKEN);
    assert!(slow.writer.send_raw(vec![0, 0, 0, 0, 9, 1]).await);
    network.client_round_trip().await;
    // They occupy no session slot of the exec-server either.
    let session = new_session();
    let dial = network.client.dial(id, session);
    let incoming = network.exec_server.incoming().await;
    assert_eq!(incoming.session_id, &session.0[..]);
    for dial in [silent, slow] {
        let status = dial.refused().await;
        assert_status(
            &status,
            Code::DeadlineExceeded,
            "no complete first frame arrived within 300ms",
        );
    }
    assert_eq!(network.relay.metrics.snapshot().refused(RefusalReason::Silent), 2);
    drop(dial);
}

#[tokio::test]
async fn a_dial_whose_first_frame_is_broken_is_refused_before_the_exec_server_hears_of_it() {
    let mut network = TestNetwork::new().await;
    let id = network.exec_server.id;
    let mut ended = network.client.dial_silently(id, new_session(), &DIAL_TOKEN);
    ended.writer.end();
    let status = ended.refused().await;
    assert_status(&status, Code::InvalidArgument, "ended before its first frame");
    for (bytes, expected) in [
        (vec![1, 0, 0, 0, 1, 0], "compressed"),
        (vec![0, 0, 1, 0, 0x40, 0], "longer than"),
    ] {
        let dial = network.client.dial_silently(id, new_session(), &DIAL_TOKEN);
        assert!(dial.writer.send_raw(bytes).await);
        assert_status(&dial.refused().await, Code::InvalidArgument, expected);
    }
    let counted = network.relay.metrics.snapshot();
    assert_eq!(counted.refused(RefusalReason::Malformed), 3);
    assert_eq!(counted.sessions_reset, 0);
    let _session = network.session().await;
}

#[tokio::test]
async fn dials_to_an_exec_server_that_accepts_nothing_keep_nobody_of_their_address_from_another() {
    let mut network = TestNetwork::limited(Limits {
        pending_per_exec_server: 4,
        waiting_per_exec_server_and_address: 100,
        sessions_per_connection: 200,
        ..Limits::default()
    })
    .await;
    let mut mute = ExecServer::register(&network.relay, 2).await;
    let peer = PeerConnection::connect(&network.relay).await;
    let dials: Vec<_> = (0..60).map(|_| peer.dial(mute.id, new_session())).collect();
    for _ in 0..4 {
        mute.incoming().await;
    }
    for _ in 0..10 {
        let _session = network.session().await;
    }
    assert!(dials.iter().all(|dial| !dial.is_answered()));
    let early = timeout(Duration::from_millis(20), mute.incoming()).await;
    assert!(early.is_err(), "only so many are announced at once");
}

#[tokio::test]
async fn a_session_beyond_the_connections_limit_on_either_side() {
    let mut network = TestNetwork::limited(Limits {
        sessions_per_connection: 1,
        ..Limits::default()
    })
    .await;
    let _first = network.session().await;
    let status = network
        .client
        .dial(network.exec_server.id, new_session())
        .refused()
        .await;
    assert_status(&status, Code::ResourceExhausted, "open another connection");
    assert_eq!(pushback(&status), Some(2_000));

    let other = PeerConnection::connect(&network.relay).await;
    let dial = other.dial(network.exec_server.id, new_session());
    let incoming = network.exec_server.incoming().await;
    let status = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .refused()
        .await;
    assert_status(&status, Code::ResourceExhausted, "accept on another connection");
    let another = PeerConnection::connect(&network.relay).await;
    let _server = another.accept(network.exec_server.id, &incoming).answered().await;
    let _client = dial.answered().await;
}

#[tokio::test]
async fn the_sixty_fifth_session_of_a_connection_is_answered_and_not_queued() {
    let mut network = TestNetwork::limited(Limits {
        sessions_per_exec_server: 1_000,
        ..Limits::default()
    })
    .await;
    let mut sessions = Vec::new();
    for _ in 0..64 {
        sessions.push(network.session().await);
    }
    let status = network
        .client
        .dial(network.exec_server.id, new_session())
        .refused()
        .await;
    assert_status(&status, Code::ResourceExhausted, "session limit (64)");
}

#[tokio::test]
async fn dials_beyond_what_may_wait_are_refused_at_once() {
    for (limits, expected) in [
        (
            Limits {
                waiting: 1,
                ..Limits::default()
            },
            "wait for a session slot of this relay",
        ),
        (
            Limits {
                waiting_per_exec_server: 1,
                ..Limits::default()
            },
            "too many dials wait for a session slot of this exec-server",
        ),
        (
            Limits {
                waiting_per_address: 1,
                ..Limits::default()
            },
            "dials from your address wait",
        ),
        (
            Limits {
                waiting_per_exec_server_and_address: 1,
                ..Limits::default()
            },
            "dials from your address wait",
        ),
    ] {
        let mut network = TestNetwork::limited(Limits {
            pending_per_exec_server: 1,
            ..limits
        })
        .await;
        let id = network.exec_server.id;
        let _announced = network.client.dial(id, new_session());
        let incoming = network.exec_server.incoming().await;
        let waiting = network.client.dial(id, new_session());
        network.client_round_trip().await;
        let status = network.client.dial(id, new_session()).refused().await;
        assert_status(&status, Code::ResourceExhausted, expected);
        assert_eq!(pushback(&status), Some(250));

        // A client that gives up frees its turn at once.
        waiting.reset().await;
        within_timeout("the turn", async {
            loop {
                let dial = network.client.dial(id, new_session());
                network.client_round_trip().await;
                if !dial.is_answered() {
                    break;
                }
            }
        })
        .await;
        let _session = network
            .accepting
            .accept(network.exec_server.id, &incoming)
            .answered()
            .await;
    }
}

#[tokio::test]
async fn silent_dials_of_an_address_are_limited_and_others_pass_them() {
    let mut network = TestNetwork::limited(Limits {
        silent_per_address: 1,
        ..Limits::default()
    })
    .await;
    let id = network.exec_server.id;
    let _silent = network.client.dial_silently(id, new_session(), &DIAL_TOKEN);
    network.client_round_trip().await;
    let status = network
        .client
        .dial_silently(id, new_session(), &DIAL_TOKEN)
        .refused()
        .await;
    assert_status(&status, Code::ResourceExhausted, "have sent no first frame");
    assert_eq!(pushback(&status), Some(250));
    let _session = network.session().await;
}

#[tokio::test]
async fn a_dial_whose_client_gave_up_cannot_be_accepted() {
    let mut network = TestNetwork::new().await;
    let dial = network.client.dial(network.exec_server.id, new_session());
    let incoming = network.exec_server.incoming().await;
    dial.reset().await;
    // On the same connection, so the relay handles the reset before this dial.
    let status = network
        .client
        .dial(ExecServerId([9; 16]), new_session())
        .refused()
        .await;
    assert_eq!(status.code(), Code::NotFound);
    within_timeout("the dial to be forgotten", async {
        let accept = network.accepting.accept(network.exec_server.id, &incoming);
        assert_status(&accept.refused().await, Code::PermissionDenied, "given up");
    })
    .await;
    assert_eq!(network.relay.metrics.snapshot().sessions_total, 0);
}

#[tokio::test]
async fn an_exec_server_that_does_not_read_its_announcements() {
    let network = TestNetwork::limited(Limits {
        sessions_per_exec_server: 10_000,
        sessions_per_connection: 10_000,
        pending_per_exec_server: 10_000,
        ..Limits::default()
    })
    .await;
    // Its HTTP/2 window holds a few announcements, tonic and HTTP/2 buffer some, then the queue fills.
    let mut peers = Vec::new();
    let mut dials = Vec::new();
    let refused = within_timeout("a refusal", async {
        loop {
            let peer = PeerConnection::connect(&network.relay).await;
            for _ in 0..64 {
                dials.push(peer.dial(network.exec_server.id, new_session()));
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
    assert_status(&status, Code::ResourceExhausted, "does not read announcements");
    assert!(pushback(&status).is_some());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let network = TestNetwork::limited(Limits {
        connections: 3,
        ..Limits::default()
    })
    .await;
    let fourth = PeerConnection::connect(&network.relay).await;
    let call = fourth.dial(network.exec_server.id, new_session());
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
        // The relay sends HTTP/2's settings on an open connection.
        let is_closed = !matches!(within_timeout("an answer", stream.read(&mut [0])).await, Ok(1));
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
    within_timeout("the release of its slots", async {
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
    let _ = within_timeout("the end of a connection without any data", read).await;
    let idle = PeerConnection::connect(&relay).await;
    within_timeout("the idle connection's end", idle.closed()).await;
    let client = PeerConnection::connect(&relay).await;
    let _dial = client.dial(exec_server.id, new_session());
    exec_server.incoming().await;
}
