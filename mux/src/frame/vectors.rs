//! `docs/vectors/frames.json`: every type of frame, and frames that end the session.

use std::time::Instant;

use baton_proto::channel::{ClientHello, GoAway, Head, Metadata, Ping, Pong, Trailers, go_away};
use baton_trace::record::Anchor;
use baton_vectors::{Case, Json, Vector, check, hex, list, object};
use bytes::BytesMut;
use prost::Message;

use super::*;
use crate::{Mux, RelayStamp, Role};

fn encoded(kind: Kind, end: bool, stream: StreamId, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, kind, end, stream, body.len());
    out.extend_from_slice(body);
    out
}

fn entry(key: &str, value: &str) -> Metadata {
    Metadata {
        key: key.into(),
        value: value.as_bytes().to_vec().into(),
    }
}

fn metadata_json(metadata: &[Metadata]) -> Json {
    list(metadata.iter().map(|entry| {
        let value = std::str::from_utf8(&entry.value).unwrap();
        object([("key", entry.key.as_str().into()), ("value", value.into())])
    }))
}

fn metadata_of(fields: &Vector<'_>) -> Vec<Metadata> {
    let entries = fields.list("metadata");
    let entries = entries
        .iter()
        .map(|read| entry(read.text("key"), read.text("value")));
    entries.collect()
}

/// The fields of a body, as the vector file writes them.
fn fields_json(frame: &Frame) -> Json {
    let body = || frame.body.clone();
    let number = || u32::from_be_bytes(frame.body[..].try_into().unwrap());
    match frame.kind {
        Kind::Head => {
            let head = Head::decode(body()).unwrap();
            object([
                ("path", head.path.into()),
                ("metadata", metadata_json(&head.metadata)),
                ("timeout_ns", head.timeout_ns.into()),
                ("timings", head.timings.into()),
                ("window", head.window.into()),
                ("call_id", hex(head.call_id.to_be_bytes())),
            ])
        }
        Kind::Data => object([("data", hex(body()))]),
        Kind::Trailers => {
            let trailers = Trailers::decode(body()).unwrap();
            object([
                ("metadata", metadata_json(&trailers.metadata)),
                ("timings", hex(&trailers.timings)),
            ])
        }
        Kind::Reset => object([("code", number().into())]),
        Kind::Credit => object([("bytes", number().into())]),
        Kind::Ping => {
            let ping = Ping::decode(body()).unwrap();
            object([("id", ping.id.into()), ("sent_unix_ns", ping.sent_unix_ns.into())])
        }
        Kind::Pong => {
            let pong = Pong::decode(body()).unwrap();
            object([
                ("id", pong.id.into()),
                ("ping_sent_unix_ns", pong.ping_sent_unix_ns.into()),
                ("received_unix_ns", pong.received_unix_ns.into()),
                ("sent_unix_ns", pong.sent_unix_ns.into()),
            ])
        }
        Kind::GoAway => {
            let away = GoAway::decode(body()).unwrap();
            object([
                ("reason", away.reason.into()),
                ("reason_name", away.reason().as_str_name().into()),
                ("last_stream", away.last_stream.into()),
                ("detail", away.detail.into()),
            ])
        }
        Kind::Switch => object([]),
        Kind::Rekey => object([("message", hex(body()))]),
        Kind::Hello => {
            let hello = ClientHello::decode(body()).unwrap();
            object([
                ("version", hello.version.into()),
                ("features", hello.features.into()),
            ])
        }
        Kind::Optional => object([("body", hex(body()))]),
    }
}

/// Encodes a body from its fields.
fn body_of(kind: Kind, fields: &Vector<'_>) -> Vec<u8> {
    let small = |member| u32::try_from(fields.number(member)).unwrap();
    match kind {
        Kind::Head => Head {
            path: fields.text("path").into(),
            metadata: metadata_of(fields),
            timeout_ns: fields.number("timeout_ns"),
            timings: fields.flag("timings"),
            window: small("window"),
            call_id: u64::from_be_bytes(fields.array("call_id")),
        }
        .encode_to_vec(),
        Kind::Data => fields.bytes("data"),
        Kind::Trailers => Trailers {
            metadata: metadata_of(fields),
            timings: fields.bytes("timings").into(),
            ..Trailers::default()
        }
        .encode_to_vec(),
        Kind::Reset => small("code").to_be_bytes().to_vec(),
        Kind::Credit => small("bytes").to_be_bytes().to_vec(),
        Kind::Ping => Ping {
            id: fields.number("id"),
            sent_unix_ns: fields.number("sent_unix_ns"),
        }
        .encode_to_vec(),
        Kind::Pong => Pong {
            id: fields.number("id"),
            ping_sent_unix_ns: fields.number("ping_sent_unix_ns"),
            received_unix_ns: fields.number("received_unix_ns"),
            sent_unix_ns: fields.number("sent_unix_ns"),
        }
        .encode_to_vec(),
        Kind::GoAway => {
            let reason = go_away::Reason::from_str_name(fields.text("reason_name")).unwrap();
            assert_eq!(i64::from(i32::from(reason)), fields.signed("reason"));
            GoAway {
                reason: reason.into(),
                last_stream: small("last_stream"),
                detail: fields.text("detail").into(),
            }
            .encode_to_vec()
        }
        Kind::Switch => Vec::new(),
        Kind::Rekey => fields.bytes("message"),
        Kind::Hello => ClientHello {
            version: small("version"),
            features: fields.number("features"),
        }
        .encode_to_vec(),
        Kind::Optional => fields.bytes("body"),
    }
}

fn frame_json(frame: &Frame) -> Json {
    object([
        ("type", (frame.kind as u8).into()),
        ("type_name", format!("{:?}", frame.kind).into()),
        ("end_stream", frame.end.into()),
        ("stream", frame.stream.into()),
        ("fields", fields_json(frame)),
    ])
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut message = Bytes::copy_from_slice(bytes);
    std::iter::from_fn(|| next(&mut message).unwrap()).collect()
}

fn message(name: &str, frames_of: &[Vec<u8>]) -> Case {
    let bytes = frames_of.concat();
    Case::new("message", name)
        .with("frames", list(frames(&bytes).iter().map(frame_json)))
        .bytes("bytes", bytes)
}

fn head(stream: StreamId, head: Head) -> Vec<u8> {
    encoded(Kind::Head, false, stream, &head.encode_to_vec())
}

fn request() -> Head {
    Head {
        path: "/a.B/C".into(),
        ..Head::default()
    }
}

fn ping(id: u64) -> Vec<u8> {
    let ping = Ping {
        id,
        sent_unix_ns: 1_000_000_000,
    };
    encoded(Kind::Ping, false, 0, &ping.encode_to_vec())
}

fn hello(version: u32, features: u64) -> Vec<u8> {
    let hello = ClientHello { version, features };
    encoded(Kind::Hello, false, 0, &hello.encode_to_vec())
}

fn go_away(reason: go_away::Reason, last_stream: StreamId, detail: &str) -> Vec<u8> {
    let away = GoAway {
        reason: reason.into(),
        last_stream,
        detail: detail.into(),
    };
    encoded(Kind::GoAway, false, 0, &away.encode_to_vec())
}

fn messages() -> Vec<Case> {
    let full = Head {
        path: "/baton.exec.v1.Exec/Run".into(),
        metadata: vec![
            entry(
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
            ),
            entry("tracestate", "vendor=1"),
        ],
        timeout_ns: 30_000_000_000,
        timings: true,
        window: 1_835_008,
        call_id: 0x00f0_67aa_0ba9_02b7,
    };
    let timed = Head {
        timeout_ns: 1_000_000_000,
        timings: true,
        call_id: 0x00f0_67aa_0ba9_02b7,
        ..request()
    };
    let refused = Head {
        metadata: vec![
            entry("grpc-status", "12"),
            entry("grpc-message", "no such method"),
        ],
        ..Head::default()
    };
    let pong = Pong {
        id: 1,
        ping_sent_unix_ns: 1_000_000_000,
        received_unix_ns: 1_000_400_000,
        sent_unix_ns: 1_000_450_000,
    };
    let trailers = Trailers {
        metadata: vec![entry("grpc-status", "0")],
        timings: vec![0xe8, 7, 3, 13, 0xac, 2, 5].into(),
        ..Trailers::default()
    };
    let trailers = encoded(Kind::Trailers, false, 1, &trailers.encode_to_vec());
    let mut cases = vec![
        message("Head: every field", &[head(1, full)]),
        message("Head: one second, timings and a call id", &[head(1, timed)]),
        message("Head: an answer without metadata", &[head(1, Head::default())]),
        message("Head: a trailers-only response", &[head(1, refused)]),
        message("Data", &[encoded(Kind::Data, false, 0x0102_0304, b"body")]),
        message("Data: END_STREAM", &[encoded(Kind::Data, true, 1, b"last")]),
        message(
            "Data: empty, END_STREAM",
            &[encoded(Kind::Data, true, 0xffff_ffff, b"")],
        ),
        message(
            "Data: 1,286 bytes",
            &[encoded(Kind::Data, false, 1, &[0x5a; 1_286])],
        ),
        message(
            "Reset: CANCELLED",
            &[encoded(Kind::Reset, false, 3, &1u32.to_be_bytes())],
        ),
        message(
            "Credit: 131,072",
            &[encoded(Kind::Credit, false, 1, &131_072u32.to_be_bytes())],
        ),
        message("Ping", &[ping(1)]),
        message("Pong", &[encoded(Kind::Pong, false, 0, &pong.encode_to_vec())]),
        message("Switch", &[encoded(Kind::Switch, false, 0, b"")]),
        message("Rekey: Request", &[encoded(Kind::Rekey, false, 0, b"")]),
        message(
            "Rekey: Start around `abc`",
            &[encoded(Kind::Rekey, false, 0, b"abc")],
        ),
        message(
            "Rekey: Answer around `abc`",
            &[
                encoded(Kind::Rekey, false, 0, b"abc"),
                encoded(Kind::Switch, false, 0, b""),
            ],
        ),
        message("an empty message", &[]),
        message(
            "a client's first message: Hello, Ping, Head, Data",
            &[
                hello(2, 0),
                ping(1),
                head(1, request()),
                encoded(Kind::Data, true, 1, b"\0\0\0\0\0"),
            ],
        ),
        message("Trailers", &[trailers]),
        message("Hello: version 3, features 0 and 40", &[hello(3, 1 << 40 | 1)]),
        message(
            "an optional type, to be skipped, and a Ping",
            &[encoded(Kind::Optional, false, 9, b"abc"), ping(1)],
        ),
    ];
    let mut reason = 1;
    while let Ok(known) = go_away::Reason::try_from(reason) {
        let name = format!("GoAway: {}", known.as_str_name());
        cases.push(message(&name, &[go_away(known, 7, "for people")]));
        reason += 1;
    }
    cases
}

const CLIENT: &str = "client";
const SERVER: &str = "exec-server";

/// The exec-server of a client that has sent `Hello`, or a client that has opened stream 1, after the other end sent
/// `before`.
fn receiver(from: &str, before: &[Vec<u8>]) -> (Mux, Anchor) {
    let now = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let mut mux = match from {
        CLIENT => {
            let mut mux = Mux::new(Role::Server, now.instant);
            take(&mut mux, now, &hello(2, 0)).unwrap();
            mux
        }
        SERVER => {
            let mut mux = Mux::new(Role::Client, now.instant);
            mux.open(now.instant, &request(), None).unwrap();
            mux
        }
        other => panic!("an unknown end `{other}`"),
    };
    for message in before {
        take(&mut mux, now, message).unwrap();
    }
    (mux, now)
}

fn take(mux: &mut Mux, now: Anchor, message: &[u8]) -> Result<(), crate::MuxError> {
    let message = Bytes::copy_from_slice(message);
    mux.handle(now, now.instant, RelayStamp::default(), message)
}

/// The reason of the `GoAway` that this message causes.
fn refusal(from: &str, before: &[Vec<u8>], bytes: &[u8]) -> &'static str {
    let (mux, now) = receiver(from, before);
    go_away_after(mux, now, bytes)
}

/// The reason of the `GoAway` that this message causes as the client's first message.
fn first_refusal(bytes: &[u8]) -> &'static str {
    let now = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    go_away_after(Mux::new(Role::Server, now.instant), now, bytes)
}

fn go_away_after(mut mux: Mux, now: Anchor, bytes: &[u8]) -> &'static str {
    let error = take(&mut mux, now, bytes).expect_err("it ends the session");
    let (reason, detail) = error.go_away();
    mux.give_up(reason, &detail);
    let mut answer = BytesMut::new();
    mux.transmit(now, &mut answer);
    let last = frames(&answer).pop().expect("a frame");
    assert_eq!(last.kind, Kind::GoAway);
    GoAway::decode(last.body).unwrap().reason().as_str_name()
}

fn refused(name: &str, from: &'static str, before: &[Vec<u8>], bytes: &[u8]) -> Case {
    Case::new("refused message", name)
        .with("from", from)
        .with("before", list(before.iter().map(hex)))
        .bytes("bytes", bytes)
        .with("go_away", refusal(from, before, bytes))
}

fn first_refused(name: &str, bytes: &[u8]) -> Case {
    Case::new("refused first message", name)
        .bytes("bytes", bytes)
        .with("go_away", first_refusal(bytes))
}

fn refusals() -> Vec<Case> {
    let open = [head(1, request())];
    let answered = [head(1, Head::default())];
    let ended = [head(1, request()), encoded(Kind::Data, true, 1, b"x")];
    let data = |stream| encoded(Kind::Data, false, stream, b"x");
    let trailers = encoded(Kind::Trailers, false, 1, b"");
    let reset = |len: usize| encoded(Kind::Reset, false, 1, &vec![0; len]);
    let credit = |bytes: &[u8]| encoded(Kind::Credit, false, 1, bytes);
    let pong = encoded(Kind::Pong, false, 0, b"\x08\x09");
    vec![
        refused("a cut header", CLIENT, &[], &ping(1)[..7]),
        refused("a cut body", CLIENT, &[], &ping(1)[..12]),
        refused("type 0", CLIENT, &[], &[0; 8]),
        refused(
            "an unknown required type",
            CLIENT,
            &[],
            &[127, 0, 0, 0, 0, 0, 0, 0],
        ),
        refused(
            "17 frames of optional types",
            CLIENT,
            &[],
            &encoded(Kind::Optional, false, 0, b"").repeat(17),
        ),
        refused("a second Hello", CLIENT, &[], &hello(2, 0)),
        refused("Hello of an exec-server", SERVER, &[], &hello(2, 0)),
        first_refused("a Ping before Hello", &[ping(1), hello(2, 0)].concat()),
        first_refused("an empty message", b""),
        first_refused("Hello with version 0", &hello(0, 0)),
        first_refused("Hello with version 1", &hello(1, 0)),
        refused(
            "an undefined flag of Data",
            CLIENT,
            &open,
            &[2, 2, 0, 0, 0, 0, 0, 1],
        ),
        refused("END_STREAM on Head", CLIENT, &[], &[1, 1, 0, 0, 0, 0, 0, 1]),
        refused("Data on stream 0", CLIENT, &[], &data(0)),
        refused("Ping on stream 1", CLIENT, &open, &[6, 0, 0, 0, 0, 0, 0, 1]),
        refused(
            "a Head that does not decode",
            CLIENT,
            &[],
            &encoded(Kind::Head, false, 1, b"\x0a\xff"),
        ),
        refused(
            "a Ping that does not decode",
            CLIENT,
            &[],
            &encoded(Kind::Ping, false, 0, b"\x08"),
        ),
        refused("a Reset of 3 bytes", CLIENT, &open, &reset(3)),
        refused("a Credit of 5 bytes", CLIENT, &open, &credit(&[0; 5])),
        refused("Trailers of a client", CLIENT, &open, &trailers),
        refused("a stream number twice", CLIENT, &open, &open[0]),
        refused(
            "a stream number that is lower",
            CLIENT,
            &[head(5, request())],
            &head(3, request()),
        ),
        refused("Data on a stream that was never opened", CLIENT, &open, &data(3)),
        refused("Data after END_STREAM", CLIENT, &ended, &data(1)),
        refused(
            "Switch among other frames",
            CLIENT,
            &[],
            &[ping(1), encoded(Kind::Switch, false, 0, b"")].concat(),
        ),
        refused("a Pong to no Ping", CLIENT, &[], &pong),
        refused(
            "END_STREAM of an exec-server",
            SERVER,
            &answered,
            &encoded(Kind::Data, true, 1, b""),
        ),
        refused("a second Head of an answer", SERVER, &answered, &answered[0]),
        refused("Data before Head", SERVER, &[], &data(1)),
        refused("Trailers before Head", SERVER, &[], &trailers),
        refused(
            "an answer on a stream that was never opened",
            SERVER,
            &[],
            &head(3, Head::default()),
        ),
        refused(
            "a 65th empty Data",
            CLIENT,
            &open,
            &encoded(Kind::Data, false, 1, b"").repeat(65),
        ),
        refused(
            "Credit beyond the window",
            SERVER,
            &answered,
            &credit(&u32::MAX.to_be_bytes()),
        ),
        refused(
            "a 17th unanswered Ping",
            CLIENT,
            &[],
            &(1..=17).flat_map(ping).collect::<Vec<_>>(),
        ),
    ]
}

fn kind_of(number: u64, name: &str) -> Kind {
    let mut header = Bytes::from(vec![number as u8, 0, 0, 0, 0, 0, 0, u8::from(number <= 5)]);
    let kind = next(&mut header).unwrap().unwrap().kind;
    assert_eq!(format!("{kind:?}"), name);
    kind
}

fn decode(vector: Vector<'_>) {
    let bytes = vector.bytes("bytes");
    match vector.kind() {
        "message" => {
            let expected = vector.list("frames");
            let mut again = Vec::new();
            for wanted in &expected {
                let kind = kind_of(wanted.number("type"), wanted.text("type_name"));
                let body = body_of(kind, &wanted.object("fields"));
                let stream = StreamId::try_from(wanted.number("stream")).unwrap();
                again.extend(encoded(kind, wanted.flag("end_stream"), stream, &body));
            }
            assert_eq!(again, bytes);
            assert_eq!(frames(&bytes).len(), expected.len());
        }
        "refused message" => {
            let before = vector.byte_strings("before");
            assert_eq!(
                refusal(vector.text("from"), &before, &bytes),
                vector.text("go_away")
            );
        }
        "refused first message" => assert_eq!(first_refusal(&bytes), vector.text("go_away")),
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_frames_hold() {
    let cases = [messages(), refusals()].concat();
    check(
        "frames.json",
        "Section 5: plaintexts of messages and their inner frames. A `refused message` ends the session with a GoAway of this reason. \
         `from` says which end sends it, after the messages in `before`; the client has sent Hello, and has opened stream 1 \
         where `from` is the exec-server. Before a `refused first message` the client has sent nothing.",
        &cases,
        decode,
    );
}
