//! Versions and features: the announcements of each end, the errors of a mismatch, and the effect of the relay's hint.

use std::time::Duration;

use baton_channel::key::StaticKey;
use baton_channel::{Channel, ConnectError, Notice, SessionError};
use baton_mux::MuxError;
use baton_noise::{Initiator, MESSAGE_1_LEN, MESSAGE_2_LEN, prologue};
use baton_proto::channel::go_away::Reason;
use baton_proto::relay::Frame;
use baton_proto::{Features, PROTOCOL_VERSION, SessionId, header};
use baton_support::frames::{self, kind};
use bytes::Bytes;
use tonic::{Code, Status};

use crate::support::raw::{self, RawServer, RawSession, RawStream};
use crate::support::service::{Caller, Mounted};
use crate::support::{RunningRelay, Stack, source, waiting, within};

/// Dials with the version `hint` in the header. `meant`: the prologue has the version of this build, otherwise an
/// unsupported one.
async fn dial(stack: &Stack, hint: Option<u32>, meant: bool) -> RawStream {
    let ticket = &stack.server.ticket;
    let session = SessionId(rand::random());
    let mut bound_to = prologue(ticket.exec_server, session);
    if !meant {
        // The last byte of the version, after the protocol's name and two lengths.
        bound_to[23] = 9;
    }
    let (_, message1) = Initiator::start(&stack.key(), &ticket.noise_key, &bound_to).unwrap();
    let mut headers = raw::dial_headers(ticket, session).to_vec();
    headers.retain(|(name, _)| *name != header::PROTOCOL_VERSION);
    headers.extend(hint.map(|hint| (header::PROTOCOL_VERSION, hint.to_string())));
    raw::dial_with(ticket, &headers, message1).await
}

/// The frames that an end receives before its stream ends, orderly or not.
async fn received(mut end: RawStream) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = within(end.receive.message()).await {
        frames.push(frame);
    }
    frames
}

async fn accept_failed(stack: &mut Stack) -> String {
    let failed = |notice: &Notice| matches!(notice, Notice::AcceptFailed(_));
    match stack.server.until(failed).await {
        Notice::AcceptFailed(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_of_another_version_receives_the_exec_servers_version_and_the_owner_is_notified_of_both() {
    let mut stack = Stack::start(Mounted::echo()).await;
    let frames = received(dial(&stack, Some(9), false).await).await;
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!((frames[0].version, frames[0].noise.len()), (PROTOCOL_VERSION, 0));
    let told = accept_failed(&mut stack).await;
    for part in [
        "the client speaks protocol version 9",
        "this exec-server 2",
        "nothing authenticates",
        "upgrade the older",
    ] {
        assert!(told.contains(part), "{part:?}: {told}");
    }
    assert_eq!(within(stack.caller().echo("others")).await.unwrap(), "others");
}

/// Version 1 had another suite, with a shorter message 1.
#[tokio::test]
async fn a_client_of_version_1_is_told_apart_in_words() {
    let mut stack = Stack::start(Mounted::echo()).await;
    let ticket = &stack.server.ticket;
    let mut headers = raw::dial_headers(ticket, SessionId(rand::random())).to_vec();
    headers.retain(|(name, _)| *name != header::PROTOCOL_VERSION);
    headers.push((header::PROTOCOL_VERSION, "1".into()));
    let end = raw::dial_with(ticket, &headers, vec![7; 96].into()).await;
    let frames = received(end).await;
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!((frames[0].version, frames[0].noise.len()), (2, 0));
    let told = accept_failed(&mut stack).await;
    assert!(
        told.contains("the client speaks protocol version 1, this exec-server 2"),
        "{told}"
    );
}

#[tokio::test]
async fn without_a_hint_of_another_version_a_failed_handshake_sends_nothing() {
    let mut stack = Stack::start(Mounted::echo()).await;
    for hint in [None, Some(0), Some(PROTOCOL_VERSION)] {
        let frames = received(dial(&stack, hint, false).await).await;
        assert!(frames.is_empty(), "{hint:?}: {frames:?}");
        let told = accept_failed(&mut stack).await;
        assert!(told.contains("pins another key"), "{hint:?}: {told}");
    }
}

#[tokio::test]
async fn a_false_version_hint_does_not_stop_a_handshake_that_verifies() {
    let stack = Stack::start(Mounted::echo()).await;
    for hint in [None, Some(0), Some(1), Some(3), Some(u32::MAX)] {
        let mut end = dial(&stack, hint, true).await;
        let first = within(end.receive.message()).await.unwrap().unwrap();
        assert!(first.noise.len() > MESSAGE_2_LEN, "message 2: {first:?}");
    }
}

/// The error of a call to an exec-server that answers message 1 with this frame and ends the session.
async fn answered_by(answer: Frame) -> Status {
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    let channel = Channel::with_config(ticket, StaticKey::generate().unwrap(), waiting(Duration::ZERO));
    let answering = async {
        let incoming = server.incoming().await;
        assert_eq!(incoming.version, PROTOCOL_VERSION);
        let mut end = server.accept(&incoming).await;
        end.next().await;
        end.send.send(answer).await.unwrap();
        end
    };
    let caller = Caller::new(channel);
    let (failed, _end) = tokio::join!(within(caller.echo("x")), answering);
    failed.unwrap_err()
}

fn version(version: u32, noise: &'static [u8]) -> Frame {
    Frame {
        version,
        noise: noise.into(),
        ..Frame::default()
    }
}

#[tokio::test]
async fn a_client_reports_both_versions_and_which_end_to_upgrade() {
    let failed = answered_by(version(7, b"")).await;
    assert_eq!(failed.code(), Code::FailedPrecondition, "{failed:?}");
    let error = source::<ConnectError>(&failed);
    assert!(matches!(error, ConnectError::OtherVersion(7)), "{error:?}");
    assert!(!error.may_pass(), "waiting does not help");
    for part in [
        "the exec-server speaks protocol version 7",
        "this client 2",
        "upgrade this client",
        "nothing authenticates",
    ] {
        assert!(failed.message().contains(part), "{part:?}: {}", failed.message());
    }
    for older in [0, 1] {
        let text = ConnectError::OtherVersion(older).to_string();
        assert!(text.contains("upgrade the exec-server"), "{text}");
    }
}

#[tokio::test]
async fn a_version_that_matches_is_zero_or_comes_with_a_noise_message_is_ignored() {
    for answer in [
        version(PROTOCOL_VERSION, b""),
        version(7, &[7; MESSAGE_2_LEN]),
        version(0, b""),
    ] {
        let failed = answered_by(answer.clone()).await;
        let error = source::<ConnectError>(&failed);
        assert!(matches!(error, ConnectError::Handshake), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn each_end_knows_the_version_and_the_features_that_the_other_announces() {
    let stack = Stack::start(Mounted::echo()).await;
    let relay_url = &stack.server.ticket.relay_url;
    let (mut server, ticket) = RawServer::register(relay_url).await;
    // Newer than the client, with features that it does not have.
    (server.hello.version, server.hello.features) = (7, u64::MAX);
    let caller = Caller::new(Channel::new(ticket, stack.key()));
    let serve = async {
        let mut session = server.session().await;
        let id = session.opened().await;
        assert_eq!(session.mux.peer_version(), Some(PROTOCOL_VERSION));
        assert_eq!(session.mux.features(), Features::SUPPORTED);
        session.answer(id).await;
        session
    };
    let (answered, _session) = tokio::join!(within(caller.echo("x")), serve);
    assert_eq!(answered.unwrap(), "");
}

#[tokio::test]
async fn an_exec_server_without_a_version_in_message_2_is_refused() {
    let relay = RunningRelay::start().await;
    let (mut server, ticket) = RawServer::register(&relay.url()).await;
    server.hello.version = 0;
    let key = StaticKey::generate().unwrap();
    let caller = Caller::new(Channel::with_config(ticket, key, waiting(Duration::ZERO)));
    let (failed, _session) = tokio::join!(within(caller.echo("x")), server.session());
    let failed = failed.unwrap_err();
    assert!(matches!(source(&failed), ConnectError::Hello(_)), "{failed:?}");
    assert_eq!(failed.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_session_that_does_not_begin_with_hello_is_ended_with_the_reason() {
    let mut stack = Stack::start(Mounted::echo()).await;
    for first in [
        Vec::new(),
        frames::mux(kind::PING, 0, b""),
        frames::mux(kind::HEAD, 1, b""),
        // A rekey, in a message of its own.
        frames::mux(10, 0, &[7; MESSAGE_1_LEN]),
    ] {
        let mut client = RawSession::dial_without_hello(&stack.server.ticket, &stack.key()).await;
        client.send(&first).await;
        let (reason, said) = client.read_go_away().await.unwrap();
        assert_eq!(
            (reason, said.contains("not Hello")),
            (Reason::ProtocolError, true),
            "{said}"
        );
        let ended = |notice: &Notice| matches!(notice, Notice::SessionEnded(..));
        let Notice::SessionEnded(_, error, _) = stack.server.until(ended).await else {
            panic!()
        };
        assert!(
            matches!(error, SessionError::Mux(MuxError::Protocol(_))),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_optional_frame_is_skipped_and_an_unknown_required_one_is_named() {
    let stack = Stack::start(Mounted::echo()).await;
    let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
    client.send(&frames::mux(128, 0, &[7; 60_000])).await;
    client.send(&frames::mux(255, 9, b"")).await;
    client.send(&frames::mux(kind::PING, 0, &[8, 1])).await;
    let answer = client.receive_bytes().await;
    assert_eq!(answer[0], 7, "a Pong: {answer:?}");
    client.send(&frames::mux(127, 0, b"")).await;
    let (reason, said) = client.read_go_away().await.unwrap();
    assert_eq!(reason, Reason::ProtocolError);
    assert!(said.contains("unknown required type 127"), "{said}");
}

#[tokio::test]
async fn a_flood_of_optional_frames_ends_only_its_own_session() {
    let stack = Stack::start(Mounted::echo()).await;
    let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
    client
        .send(&Bytes::from(frames::mux(200, 0, b"").repeat(8_000)))
        .await;
    let (reason, said) = client.read_go_away().await.unwrap();
    assert_eq!(reason, Reason::LimitExceeded, "{said}");
    assert_eq!(within(stack.caller().echo("others")).await.unwrap(), "others");
}
