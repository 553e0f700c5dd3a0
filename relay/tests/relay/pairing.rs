//! Dial, Incoming, Accept, and frames both ways.

use baton_proto::ExecServerId;
use baton_proto::limits::NOISE_MESSAGE_MAX;
use baton_proto::relay::{Decline, Frame, RegisterRequest, register_request};
use baton_support::frames;
use bytes::Bytes;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{
    MESSAGE_1, PeerConnection, SplicedStream, TestNetwork, assert_status, new_session, pushback,
};

#[tokio::test]
async fn frames_go_both_ways_and_a_clean_end_follows_them() {
    let mut network = TestNetwork::new().await;
    let (mut client, mut server) = network.session().await;
    for size in [0, 1, 100, 4_096, 4_097, 60_000, NOISE_MESSAGE_MAX] {
        let up = vec![1; size];
        let down = vec![2; size];
        assert!(client.writer.send_noise(&up).await);
        assert!(server.writer.send_noise(&down).await);
        assert_eq!(server.reader.noise().await, up);
        assert_eq!(client.reader.noise().await, down);
    }
    client.writer.send_noise(b"last words").await;
    client.writer.end();
    assert_eq!(&server.reader.noise().await[..], b"last words");
    assert_eq!(server.reader.end().await.code(), Code::Ok);

    // Half-closed: the other direction continues until it ends too.
    server.writer.send_noise(b"and mine").await;
    server.writer.end();
    assert_eq!(&client.reader.noise().await[..], b"and mine");
    assert_eq!(client.reader.end().await.code(), Code::Ok);
    let closed = |s: &baton_relay::MetricsSnapshot| s.sessions_open == 0;
    network.relay.counts("the session's end", closed).await;

    let counted = network.relay.metrics.snapshot();
    assert_eq!(counted.sessions_total, 1);
    assert_eq!(counted.to_exec_server.frames, 9);
    assert_eq!(counted.to_client.frames, 8);
    assert!(counted.to_client.bytes > NOISE_MESSAGE_MAX as u64);
}

/// Sends frames to and fro, and ends both directions.
async fn converse(mut client: SplicedStream, mut server: SplicedStream) {
    assert_eq!(&server.reader.noise().await[..], b"early");
    for n in 0..50_u8 {
        let frame = vec![n; 100 + 200 * usize::from(n)];
        assert!(client.writer.send_noise(&frame).await);
        assert_eq!(server.reader.noise().await, frame);
        assert!(server.writer.send_noise(&frame).await);
        assert_eq!(client.reader.noise().await, frame);
    }
    client.writer.end();
    assert_eq!(server.reader.end().await.code(), Code::Ok);
    server.writer.end();
    assert_eq!(client.reader.end().await.code(), Code::Ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_several_threads_serve_lose_no_frame() {
    let mut network = TestNetwork::new().await;
    let id = network.exec_server.id;
    for _ in 0..8 {
        let mut sessions = JoinSet::new();
        for _ in 0..32 {
            let dial = network.client.dial(id, new_session());
            // May arrive while the exec-server accepts.
            assert!(dial.writer.send_noise(b"early").await);
            let incoming = network.exec_server.incoming().await;
            let accepted = network.accepting.accept(id, &incoming);
            sessions.spawn(async move {
                let mut server = accepted.answered().await;
                assert_eq!(&server.reader.noise().await[..], MESSAGE_1);
                converse(dial.answered().await, server).await;
            });
        }
        while let Some(ended) = sessions.join_next().await {
            ended.unwrap();
        }
    }
    let closed = |s: &baton_relay::MetricsSnapshot| s.sessions_open == 0 && s.sessions_total == 256;
    network.relay.counts("the sessions' ends", closed).await;
}

#[tokio::test]
async fn message_one_is_delivered_although_it_was_sent_before_acceptance() {
    let mut network = TestNetwork::new().await;
    let dial = network.client.dial(network.exec_server.id, new_session());
    let incoming = network.exec_server.incoming().await;
    assert!(
        !dial.is_answered(),
        "headers come once the exec-server has accepted"
    );
    let mut server = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .answered()
        .await;
    assert_eq!(&server.reader.noise().await[..], MESSAGE_1);
    server.writer.send_noise(b"noise message 2").await;
    let mut client = dial.answered().await;
    assert_eq!(&client.reader.noise().await[..], b"noise message 2");
}

#[tokio::test]
async fn a_dial_that_the_exec_server_declines_is_refused_at_once_with_its_hint() {
    let mut network = TestNetwork::new().await;
    let dial = network.client.dial(network.exec_server.id, new_session());
    assert!(dial.writer.send_noise(b"noise message 1").await);
    let incoming = network.exec_server.incoming().await;
    let decline = |accept_token: Bytes, retry_after_ms| {
        let decline = Decline {
            session_id: incoming.session_id.clone(),
            accept_token,
            retry_after_ms,
        };
        RegisterRequest {
            kind: Some(register_request::Kind::Decline(decline)),
        }
    };
    let send = &network.exec_server.stream.send;
    // A wrong token of any length is ignored.
    for token in [&[0; 32][..], b"", b"short"] {
        send.send(decline(Bytes::copy_from_slice(token), 1))
            .await
            .unwrap();
    }
    send.send(decline(incoming.accept_token.clone(), 321))
        .await
        .unwrap();
    let refused = dial.refused().await;
    assert_status(&refused, Code::ResourceExhausted, "does not take the dial");
    assert_eq!(pushback(&refused), Some(321));
    // The next session succeeds.
    network.session().await;
}

#[tokio::test]
async fn an_exec_server_is_told_which_dials_come_from_one_network() {
    let mut network = TestNetwork::new().await;
    let mut origins = Vec::new();
    for address in [[127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 2]] {
        let peer = PeerConnection::connect_from(&network.relay, address).await;
        let _dial = peer.dial(network.exec_server.id, new_session());
        origins.push(network.exec_server.incoming().await.origin);
    }
    assert_eq!(origins[0].len(), 8);
    assert_eq!(origins[0], origins[1]);
    assert_ne!(origins[0], origins[2]);
}

#[tokio::test]
async fn the_relay_overrides_an_endpoints_own_stamps() {
    let mut network = TestNetwork::new().await;
    let (client, mut server) = network.session().await;
    let forged = Frame {
        noise: vec![7; 100].into(),
        queue_ns: u64::MAX,
        forward_ns: u64::MAX,
        ..Frame::default()
    };
    client.writer.send(&forged).await;
    let frame = server.reader.next().await.unwrap();
    assert_eq!(frame.noise, forged.noise);
    assert!(
        frame.queue_ns > 0 && frame.queue_ns < 10_000_000_000,
        "{}",
        frame.queue_ns
    );
    assert!(frame.forward_ns < 10_000_000_000, "{}", frame.forward_ns);
}

#[tokio::test]
async fn frames_that_arrive_in_pieces_and_together_stay_frames() {
    let mut network = TestNetwork::new().await;
    let (client, mut server) = network.session().await;
    let mut bytes = Vec::new();
    let sizes = [10, 0, 5_000, 300, 65_535, 1, 9_000];
    for (i, size) in sizes.iter().enumerate() {
        bytes.extend(frames::grpc(&Frame {
            noise: vec![i as u8; *size].into(),
            ..Frame::default()
        }));
    }
    let write = async {
        for chunk in bytes.chunks(777) {
            assert!(client.writer.send_raw(chunk.to_vec()).await);
        }
        assert!(client.writer.send_raw(bytes.clone()).await);
    };
    let read = async {
        for (i, size) in sizes.iter().enumerate().chain(sizes.iter().enumerate()) {
            assert_eq!(server.reader.noise().await, vec![i as u8; *size]);
        }
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn an_accept_that_names_another_exec_server_is_refused_and_the_dial_goes_on() {
    let mut network = TestNetwork::new().await;
    let dial = network.client.dial(network.exec_server.id, new_session());
    let incoming = network.exec_server.incoming().await;

    let other = ExecServerId([9; 16]);
    let status = network.accepting.accept(other, &incoming).refused().await;
    let expected = format!(
        "names exec-server {other}, but the dial is for {}",
        network.exec_server.id
    );
    assert_status(&status, Code::InvalidArgument, &expected);
    // Without the token, the error reveals nothing about the dial.
    let mut guessed = incoming.clone();
    guessed.accept_token = vec![0; 32].into();
    let status = network.accepting.accept(other, &guessed).refused().await;
    assert_status(&status, Code::PermissionDenied, "no dial waits");

    let _server = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .answered()
        .await;
    let _client = dial.answered().await;
}

#[tokio::test]
async fn a_guessed_accept_token_is_refused_and_the_dial_goes_on() {
    let mut network = TestNetwork::new().await;
    let dial = network.client.dial(network.exec_server.id, new_session());
    let incoming = network.exec_server.incoming().await;

    let mut guessed = incoming.clone();
    guessed.accept_token = vec![0; 32].into();
    let status = network
        .accepting
        .accept(network.exec_server.id, &guessed)
        .refused()
        .await;
    assert_status(&status, Code::PermissionDenied, "no dial waits");
    let mut unknown = incoming.clone();
    unknown.session_id = new_session().0.to_vec().into();
    let status = network
        .accepting
        .accept(network.exec_server.id, &unknown)
        .refused()
        .await;
    assert_status(&status, Code::PermissionDenied, "no dial waits");

    let _server = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .answered()
        .await;
    let _client = dial.answered().await;
    let status = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .refused()
        .await;
    assert_status(&status, Code::PermissionDenied, "no dial waits");
}
