//! For any messages of a relay on a registration: the exec-server signs only for the relay that it dialled, answers
//! each probe, waits a bounded time for the next, and ends with a typed error.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use baton_export::response_guard::guard_frame;
use baton_fuzz::{Input, Script, Target};
use baton_noise::key::Seed;
use baton_proto::relay::{Challenge, Ping, Registered};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tonic::codec::Codec as _;

use super::*;

/// The input: the end of the stream (status, message, details), then its messages (see [`body`]).
pub(crate) const REGISTRATION: Target = Target {
    name: "registration",
    run,
    seeds,
};

const AUTHORITY: &str = "relay.example:7700";

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let keys = Seed::from_bytes([5; 32])
        .server_keys()
        .expect("any seed is a key");
    let mut trailers = HeaderMap::new();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        if let Ok(value) = HeaderValue::from_bytes(input.chunk()) {
            trailers.insert(name, value);
        }
    }
    let body = body(&mut input, &keys);
    let frames = [
        Ok::<_, Infallible>(http_body::Frame::data(body)),
        Ok(http_body::Frame::trailers(trailers)),
    ];
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames)).map_frame(guard_frame);
    let decoder = tonic_prost::ProstCodec::<RegisterRequest, RegisterResponse>::default().decoder();
    let (outbox, mut sent) = mpsc::channel(limits::REGISTER_OUTBOX);
    let answers = Streaming::new_response(decoder, body, http::StatusCode::OK, None, None);
    let mut registration = Registration::over(answers, outbox);
    let mut conversation = pin!(async {
        registration.prove(&keys, AUTHORITY).await?;
        let (least, greatest) = limits::PING_PATIENCE_RANGE;
        let is_bounded = |patience| (least..=greatest).contains(&patience);
        assert!(registration.patience().is_none_or(is_bounded));
        loop {
            registration.receive().await?;
        }
    });
    let mut cx = Context::from_waker(Waker::noop());
    let mut said = Vec::new();
    let error: RegisterError = loop {
        let polled: Poll<Result<Infallible, _>> = Pin::as_mut(&mut conversation).poll(&mut cx);
        let before = said.len();
        while let Ok(request) = sent.try_recv() {
            said.push(request);
        }
        match polled {
            Poll::Ready(Err(error)) => break error,
            Poll::Pending => assert!(
                said.len() > before,
                "it waits although the relay's stream has ended"
            ),
        }
    };
    let shown = error.to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(shown.chars().count() <= baton_trace::limits::HINT_CHARS + 200);
    for (at, request) in said.into_iter().enumerate() {
        match request.kind {
            Some(register_request::Kind::Proof(proof)) => {
                assert_eq!(at, 0, "a second proof");
                check(&proof, &keys, bytes);
            }
            Some(register_request::Kind::Pong(_)) => assert_ne!(at, 0, "an answer before the proof"),
            Some(register_request::Kind::Decline(_)) => panic!("an unrequested decline"),
            None => panic!("an empty request"),
        }
    }
}

/// Checks that the proof covers the relay's challenge and the authority that was dialled.
fn check(proof: &Proof, keys: &ServerKeys, bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let _ = (input.chunk(), input.chunk(), input.chunk());
    let body = body(&mut input, keys);
    let (prefix, rest) = body.split_first_chunk::<5>().expect("a first message");
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    let first = RegisterResponse::decode(&rest[..len]).expect("the message that was answered");
    let Some(register_response::Kind::Challenge(challenge)) = first.kind else {
        panic!("a proof without a challenge");
    };
    let message = registration::signed_message(&challenge.nonce, AUTHORITY, &proof.dial_token_hash);
    UnparsedPublicKey::new(&ED25519, keys.registration.public())
        .verify(&message, &proof.signature)
        .expect("signed for the relay that was dialled");
}

/// Decodes the relay's messages from the input.
fn body(input: &mut Input<'_>, keys: &ServerKeys) -> Bytes {
    let mut body = Vec::new();
    while !input.is_empty() {
        let kind = match input.u8() % 6 {
            0 => {
                body.extend_from_slice(input.chunk());
                continue;
            }
            1 => register_response::Kind::Challenge(Challenge {
                nonce: input.chunk().to_vec().into(),
            }),
            2 => {
                let number = input.u32();
                register_response::Kind::Registered(Registered {
                    exec_server_id: exec_server_id(keys).0.to_vec().into(),
                    max_sessions: number,
                    ping_interval_ms: number,
                })
            }
            3 => register_response::Kind::Registered(Registered {
                exec_server_id: input.chunk().to_vec().into(),
                max_sessions: 1,
                ping_interval_ms: 0,
            }),
            4 => register_response::Kind::Ping(Ping { nonce: input.u64() }),
            _ => register_response::Kind::Incoming(Incoming {
                session_id: input.chunk().to_vec().into(),
                accept_token: input.chunk().to_vec().into(),
                origin: Vec::new().into(),
                version: input.u32(),
            }),
        };
        let message = RegisterResponse { kind: Some(kind) }.encode_to_vec();
        body.push(0);
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(&message);
    }
    body.into()
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let end = |status: &[u8], message: &[u8]| Script::default().chunk(status).chunk(message).chunk(b"");
    let challenge = |script: Script| script.u8(1).chunk(&[7; 32]);
    let registered = |script: Script| challenge(script).u8(2).u32(64);
    let incoming = |script: Script| script.u8(5).chunk(&[1; 16]).chunk(&[2; 32]).u32(2);
    let pings = |script: Script| (0..9).fold(script, |script, nonce| script.u8(4).u64(nonce));
    vec![
        (
            "registered",
            incoming(pings(registered(end(
                b"14",
                b"the relay is shutting down; reconnect",
            ))))
            .done(),
        ),
        ("pings", pings(pings(registered(end(b"0", b"")))).done()),
        ("other-id", challenge(end(b"0", b"")).u8(3).chunk(&[1; 16]).done()),
        ("no-challenge", end(b"0", b"").u8(2).u32(1).done()),
        ("two-challenges", challenge(challenge(end(b"0", b""))).done()),
        (
            "endless-nonce",
            end(b"0", b"").u8(1).chunk(&vec![9; 3_000]).u8(2).u32(0).done(),
        ),
        (
            "in-use",
            challenge(end(b"6", b"exec-server%20is%0A%1b[2Jregistered")).done(),
        ),
        ("refused", challenge(end(b"9", b"no name of mine")).done()),
        (
            "short-incoming",
            registered(end(b"1", b""))
                .u8(5)
                .chunk(&[])
                .chunk(&[1; 900])
                .u32(0)
                .done(),
        ),
        (
            "bad-details",
            challenge(Script::default().chunk(b"13").chunk(b"no").chunk(b"!")).done(),
        ),
        (
            "raw",
            registered(end(b"x", b""))
                .u8(0)
                .chunk(&[0, 0, 0, 0, 2, 0x1a, 9])
                .done(),
        ),
    ]
}

#[cfg(test)]
#[test]
fn no_relay_gets_another_signature_than_for_the_name_it_was_dialled_by() {
    baton_fuzz::replay(&REGISTRATION);
}
