//! Hostile peers that hold a key: a client on the allow-list, and the server that the ticket names.
//!
//! The tests of the multiplexer check what it refuses. These tests check that both ends of a real session receive the
//! error, and that other sessions continue.

use std::time::Instant;

use baton_channel::key::StaticKey;
use baton_channel::limits::{CLOSE_TIMEOUT, MAX_HALF_OPEN};
use baton_channel::{Channel, Notice, RecordTo, SessionError};
use baton_mux::limits::RECEIVE_WINDOW;
use baton_mux::{Event, MuxError, Received, StreamId};
use baton_proto::channel::{GoAway, Head, Metadata, Trailers, go_away};
use baton_proto::limits::{MAX_STREAMS, TIMINGS_MAX};
use baton_support::frames::{self, kind};
use baton_trace::stage::Component;
use baton_trace::stage::transport::CALL;
use bytes::Bytes;
use go_away::Reason;
use prost::Message;
use prost::encoding::encode_varint;
use tonic::{Code, Request};

use crate::support::raw::{self, RawServer, RawSession};
use crate::support::service::{Caller, Mounted};
use crate::support::{Stack, source, within};

fn head(path: &str) -> Head {
    Head {
        path: path.into(),
        ..Head::default()
    }
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_or_a_limit_is_told_which_and_the_owner_too() {
    // This handler does not read its request.
    let service = Mounted::echo().on("/test/Hang", |_| std::future::pending());
    let mut stack = Stack::start(service).await;
    let over_credit: Vec<_> = (0..=RECEIVE_WINDOW / 32_768)
        .map(|_| frames::mux(kind::DATA, 1, &[0; 32_768]))
        .collect();
    let cases = [
        ("no frame", Reason::ProtocolError, vec![vec![0xff; 3]]),
        (
            "data on no stream",
            Reason::ProtocolError,
            vec![frames::mux(kind::DATA, 9, b"x")],
        ),
        (
            "pings",
            Reason::LimitExceeded,
            vec![frames::mux(kind::PING, 0, b"").repeat(1_000)],
        ),
        ("data beyond its credit", Reason::LimitExceeded, over_credit),
        (
            "credit beyond the window",
            Reason::LimitExceeded,
            vec![frames::mux(kind::CREDIT, 1, &[0xff; 4])],
        ),
    ];
    for (name, reason, messages) in cases {
        let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
        client
            .mux
            .open(Instant::now(), &head("/test/Hang"), None)
            .unwrap();
        client.flush().await;
        for message in messages {
            client.send(&message).await;
        }
        let (told, said) = client
            .read_go_away()
            .await
            .unwrap_or_else(|| panic!("{name}: no GoAway"));
        assert_eq!(told, reason, "{name}");
        let ended = stack
            .server
            .until(|notice| matches!(notice, Notice::SessionEnded(..)))
            .await;
        let Notice::SessionEnded(_, SessionError::Mux(error), _) = ended else {
            panic!("{name}: {ended:?}")
        };
        assert!(
            matches!(error, MuxError::Limit(_)) == (reason == Reason::LimitExceeded),
            "{name}"
        );
        assert!(
            error.to_string().contains(said.trim_start_matches("a frame: ")),
            "{name}: {said}"
        );
        assert_eq!(within(stack.caller().echo("others")).await.unwrap(), "others");
    }
}

#[tokio::test]
async fn a_session_of_a_client_that_breaks_the_protocol_and_does_not_read_ends_in_time() {
    let mut stack = Stack::start(Mounted::echo()).await;
    let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
    client.send(&frames::mux(kind::DATA, 9, b"x")).await;
    let started = Instant::now();
    stack
        .server
        .until(|notice| matches!(notice, Notice::SessionEnded(_, SessionError::Mux(_), _)))
        .await;
    assert!(started.elapsed() < CLOSE_TIMEOUT * 3);
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_or_a_limit_is_told_which_and_the_caller_too() {
    let stack = Stack::start(Mounted::echo()).await;
    let cases = [
        (
            "data before head",
            Reason::ProtocolError,
            frames::mux(kind::DATA, 1, b"x"),
        ),
        (
            "unsolicited head",
            Reason::ProtocolError,
            frames::mux(kind::HEAD, 7, b""),
        ),
        (
            "pings",
            Reason::LimitExceeded,
            frames::mux(kind::PING, 0, b"").repeat(1_000),
        ),
    ];
    for (name, reason, message) in cases {
        let (mut hostile, ticket) = RawServer::register(&stack.relay.url()).await;
        let caller = Caller::new(Channel::new(ticket, stack.key()));
        let serve = async {
            let mut session = hostile.session().await;
            session.opened().await;
            session.send(&message).await;
            session.read_go_away().await
        };
        let (failed, told) = tokio::join!(within(caller.echo("x")), serve);
        let failed = failed.unwrap_err();
        assert_eq!(failed.code(), Code::Internal, "{name}");
        assert!(
            matches!(source(&failed), SessionError::Mux(_)),
            "{name}: {failed:?}"
        );
        assert_eq!(told.map(|(reason, _)| reason), Some(reason), "{name}");
        assert_eq!(within(stack.caller().echo("others")).await.unwrap(), "others");
    }
}

#[tokio::test]
async fn an_end_that_receives_a_goaway_for_a_violation_reports_it_as_rejected() {
    let mut stack = Stack::start(Mounted::echo()).await;
    for reason in [Reason::ProtocolError, Reason::LimitExceeded] {
        let told = frames::mux(
            kind::GO_AWAY,
            0,
            &GoAway {
                reason: reason.into(),
                last_stream: 0,
                detail: "bad\u{1b}[2J manners".into(),
            }
            .encode_to_vec(),
        );
        let (mut hostile, ticket) = RawServer::register(&stack.relay.url()).await;
        let caller = Caller::new(Channel::new(ticket, stack.key()));
        let serve = async {
            let mut session = hostile.session().await;
            session.opened().await;
            session.send(&told).await;
            session
        };
        let (failed, _held) = tokio::join!(within(caller.echo("x")), serve);
        let failed = failed.unwrap_err();
        let SessionError::Rejected { reason: got, said } = source(&failed) else {
            panic!("{failed:?}")
        };
        assert_eq!(*got, reason);
        assert!(said.contains("manners") && !said.contains('\u{1b}'), "{said:?}");

        let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
        client.send(&told).await;
        stack
            .server
            .until(|notice| {
                matches!(notice, Notice::SessionEnded(_, SessionError::Rejected { reason: got, .. }, _) if *got == reason)
            })
            .await;
    }
}

/// A `GoAway` whose sender missed messages: the receiver's calls fail with its reason, and the session ends in order.
#[tokio::test]
async fn calls_fail_with_the_reason_of_a_goaway_for_missed_messages() {
    let stack = Stack::start(Mounted::echo()).await;
    for reason in [Reason::Timeout, Reason::Damaged] {
        let go_away = GoAway {
            reason: reason.into(),
            last_stream: 0,
            detail: "no message for 35 s".into(),
        };
        let told = frames::mux(kind::GO_AWAY, 0, &go_away.encode_to_vec());
        let (mut server, ticket) = RawServer::register(&stack.relay.url()).await;
        let caller = Caller::new(Channel::new(ticket, stack.key()));
        let serve = async {
            let mut session = server.session().await;
            session.opened().await;
            session.send(&told).await;
            session.end_in_order().await
        };
        let (failed, ended) = tokio::join!(within(caller.echo("x")), serve);
        let failed = failed.unwrap_err();
        assert_eq!(failed.code(), tonic::Code::Unavailable);
        let said = "no message for 35 s".into();
        assert_eq!(
            source::<SessionError>(&failed),
            &SessionError::Interrupted { reason, said }
        );
        ended.expect("END_STREAM answers END_STREAM");
    }
}

/// Invalid messages, at either end: the sender receives the reason in an encrypted `GoAway`, then END_STREAM.
#[tokio::test]
async fn undecryptable_and_invalid_key_exchange_messages_are_answered_with_a_reason() {
    let stack = Stack::start(Mounted::echo()).await;
    let rekey = |body: &[u8]| frames::mux(kind::REKEY, 0, body);
    let sealed = [
        (
            rekey(&[1; baton_noise::MESSAGE_1_LEN]),
            "the handshake of a rekey failed",
        ),
        (frames::mux(kind::SWITCH, 0, b""), "a new key without a rekey"),
    ];
    for (plaintext, detail) in sealed {
        let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
        client.send(&plaintext).await;
        assert_eq!(
            client.read_go_away().await,
            Some((Reason::ProtocolError, detail.into()))
        );
    }
    // A garbage message, and one that is longer than a Noise message.
    for len in [100, 65_540] {
        let client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
        client.send_raw(vec![7; len]).await;
        let (reason, _) = client.read_go_away().await.expect("a GoAway");
        assert_eq!(reason, Reason::Damaged, "{len}");

        let (mut server, ticket) = RawServer::register(&stack.relay.url()).await;
        let caller = Caller::new(Channel::new(ticket, stack.key()));
        let serve = async {
            let mut session = server.session().await;
            session.opened().await;
            session.send_raw(vec![7; len]).await;
            session.read_go_away().await
        };
        let (failed, told) = tokio::join!(within(caller.echo("x")), serve);
        assert!(failed.is_err());
        assert_eq!(told.map(|(reason, _)| reason), Some(Reason::Damaged), "{len}");
    }
}

#[tokio::test]
async fn ten_thousand_streams_start_no_more_handlers_than_the_limit_and_the_rest_is_reset() {
    let (hang, mut started) = tokio::sync::mpsc::unbounded_channel();
    let service = Mounted::echo().on("/test/Hang", move |_| {
        hang.send(()).unwrap();
        std::future::pending()
    });
    let stack = Stack::start(service).await;
    let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
    const STREAMS: u32 = 10_000;
    let body = head("/test/Hang").encode_to_vec();
    let ids: Vec<StreamId> = (1..=STREAMS).collect();
    let mut refused = 0;
    // Sends one message of heads, then reads the resets: a client that never reads would be stopped.
    for some in ids.chunks(500) {
        let heads: Vec<u8> = some
            .iter()
            .flat_map(|id| frames::mux(kind::HEAD, *id, &body))
            .collect();
        client.send(&heads).await;
        let in_limit = some.iter().filter(|id| **id <= MAX_STREAMS as u32).count();
        let wanted = refused + some.len() - in_limit;
        while refused < wanted {
            refused += client.resets().await;
        }
    }
    assert_eq!(refused, STREAMS as usize - MAX_STREAMS);
    assert_eq!(within(stack.caller().echo("others")).await.unwrap(), "others");
    for _ in 0..MAX_STREAMS {
        within(started.recv()).await.unwrap();
    }
    assert!(started.try_recv().is_err());
}

#[tokio::test]
async fn empty_messages_do_not_end_the_session_or_block_others() {
    let stack = Stack::start(Mounted::echo()).await;
    let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
    for _ in 0..20_000 {
        client.send(b"").await;
    }
    assert_eq!(within(stack.caller().echo("others")).await.unwrap(), "others");
    let id = client
        .mux
        .open(Instant::now(), &head("/test/Unknown"), None)
        .unwrap();
    client.flush().await;
    within(client.response(id)).await;
}

#[tokio::test]
async fn clients_that_say_nothing_after_the_handshake_keep_nobody_out_and_are_cut() {
    const MUTE: usize = 200;
    let mut stack = Stack::start(Mounted::echo()).await;
    let told = RawSession::dial_without_hello(&stack.server.ticket, &stack.key()).await;
    let mut mute = Vec::new();
    for _ in 1..MUTE {
        mute.push(raw::dial(&stack.server.ticket, &stack.key()).await);
    }
    assert_eq!(within(stack.caller().echo("x")).await.unwrap(), "x");
    for _ in 0..MUTE {
        stack
            .server
            .until(|notice| matches!(notice, Notice::AcceptFailed(why) if why.contains("sent nothing after the handshake")))
            .await;
    }
    let said = told.read_go_away().await.expect("a GoAway");
    assert_eq!(said.0, Reason::Timeout, "{}", said.1);
}

/// A refused client that does not read its refusal does not occupy a handshake slot.
#[tokio::test]
async fn strangers_who_do_not_leave_keep_nobody_out() {
    let stack = Stack::start(Mounted::echo()).await;
    let mut strangers = Vec::new();
    for _ in 0..MAX_HALF_OPEN {
        let key = StaticKey::generate().unwrap();
        strangers.push(raw::dial(&stack.server.ticket, &key).await);
    }
    let started = Instant::now();
    assert_eq!(within(stack.caller().echo("x")).await.unwrap(), "x");
    assert!(started.elapsed() < CLOSE_TIMEOUT, "{:?}", started.elapsed());
}

/// Encodes rows of four numbers (docs/PROTOCOL.md).
fn timings(received_unix_ns: u64, rows: &[[u64; 4]]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for number in [received_unix_ns, 4].iter().chain(rows.as_flattened()) {
        encode_varint(*number, &mut encoded);
    }
    encoded
}

/// Forged timings: impossible values are dropped or clamped, and the call succeeds.
#[tokio::test]
async fn a_server_that_lies_in_its_trailers_stays_inside_the_envelope() {
    let stack = Stack::start(Mounted::echo()).await;
    // Stage, start, duration, attempt.
    let lie = |stage: u32, start_ns: u64, duration_ns: u64| [stage.into(), start_ns, duration_ns, u64::MAX];
    let every_stage = |start_ns, duration_ns| {
        (0..=u32::from(u8::MAX))
            .step_by(9)
            .map(move |stage| lie(stage, start_ns, duration_ns))
    };
    let cases: [(&str, Vec<[u64; 4]>); 5] = [
        ("endless", every_stage(0, u64::MAX).collect()),
        ("far away", every_stage(u64::MAX, 1).collect()),
        (
            "overflowing",
            vec![lie(13, u64::MAX, u64::MAX), lie(32, u64::MAX, u64::MAX)],
        ),
        (
            "unregistered ids",
            vec![
                lie(200, 0, 1),
                lie(256 + 13, 0, 1),
                lie(u32::MAX, 0, 1),
                lie(0, 0, 1),
            ],
        ),
        ("the client's own", vec![lie(1, 0, 1), lie(2, 0, 1), lie(8, 0, 1)]),
    ];
    let too_long = (0..200).map(|at| lie(13, at, 1)).collect::<Vec<_>>();
    for (name, stages) in cases.into_iter().chain([("too long", too_long)]) {
        for received_unix_ns in [0, u64::MAX] {
            let timings = timings(received_unix_ns, &stages);
            let is_dropped = timings.len() > TIMINGS_MAX;
            assert!(is_dropped || name != "too long");
            let trailers = Trailers {
                metadata: vec![Metadata {
                    key: "grpc-status".into(),
                    value: "0".into(),
                }],
                timings: timings.into(),
                // No call of the client.
                call_id: 9,
            };
            let (mut hostile, ticket) = RawServer::register(&stack.relay.url()).await;
            let caller = Caller::new(Channel::new(ticket, stack.key()));
            let serve = async {
                let mut session = hostile.session().await;
                let id = session.opened().await;
                let mut answer = frames::mux(kind::HEAD, id, b"");
                answer.extend(frames::mux(kind::DATA, id, &[0; 5]));
                answer.extend(frames::mux(kind::TRAILERS, id, &trailers.encode_to_vec()));
                session.send(&answer).await;
                session
            };
            let (to, record) = RecordTo::channel();
            let mut request = Request::new(Bytes::new());
            request.extensions_mut().insert(to);
            let (answered, _held) = tokio::join!(within(caller.unary("/test/Echo", request)), serve);
            answered.unwrap();
            let record = within(record).await.unwrap();
            let call = record.stage(CALL).unwrap();
            for stage in &record.stages {
                let inside = call.start_ns <= stage.start_ns
                    && stage.start_ns <= stage.end_ns
                    && stage.end_ns <= call.end_ns;
                assert!(inside, "{name}: {stage:?} {call:?}");
                assert!(!matches!(stage.stage.0, 0 | u8::MAX), "{name}: {stage:?}");
            }
            let by_server = |stage: &&baton_trace::record::StageRecord| {
                stage
                    .stage
                    .def()
                    .is_some_and(|def| def.exporter == Component::Server)
            };
            let told = record.stages.iter().filter(by_server).count();
            let is_none = is_dropped || ["unregistered ids", "the client's own"].contains(&name);
            assert_eq!(told == 0, is_none, "{name}: {:?}", record.stages);
        }
    }
}

#[tokio::test]
async fn resets_and_credits_for_streams_long_gone_are_ignored() {
    let stack = Stack::start(Mounted::echo()).await;
    let mut client = RawSession::dial(&stack.server.ticket, &stack.key()).await;
    let id = client
        .mux
        .open(Instant::now(), &head("/test/Unknown"), None)
        .unwrap();
    client.flush().await;
    within(client.response(id)).await;
    while !matches!(client.mux.receive(id), Received::Trailers(_)) {
        client.receive().await;
    }
    client.mux.release(id);
    let late: Vec<u8> = [
        frames::mux(kind::RESET, id, &[0; 4]),
        frames::mux(kind::CREDIT, id, &[0xff; 4]),
        frames::mux(kind::DATA, id, b"x"),
    ]
    .concat();
    for _ in 0..1_000 {
        client.send(&late).await;
    }
    let id = client
        .mux
        .open(Instant::now(), &head("/test/Unknown"), None)
        .unwrap();
    client.flush().await;
    within(client.response(id)).await;
    assert!(!std::iter::from_fn(|| client.mux.poll_event()).any(|event| matches!(event, Event::GoAway(_))));
}
