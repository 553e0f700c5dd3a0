//! `docs/vectors/outer-frames.json`: the gRPC messages of `Dial` and `Accept`.

use baton_vectors::{Case, Vector, check};

use super::*;

/// Reads the first frame of a stream that ends after `bytes`.
fn read(bytes: &[u8]) -> Result<Option<(Bytes, RelayStamp)>, OuterError> {
    let mut deframer = Deframer::default();
    deframer.push(Bytes::copy_from_slice(bytes));
    let frame = deframer.next()?;
    deframer.finish()?;
    Ok(frame)
}

fn written(noise: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_frame(&mut out, noise);
    out.to_vec()
}

fn stamped(noise: &[u8], queue_ns: u64, forward_ns: u64) -> Vec<u8> {
    let mut message = written(noise);
    for (tag, mut value) in [(0x10, queue_ns), (0x18, forward_ns)] {
        message.push(tag);
        for more in [0x80, 0x80, 0x80, 0x80, 0x80, 0] {
            message.push((value & 0x7f) as u8 | more);
            value >>= 7;
        }
    }
    let len = (message.len() - PREFIX_LEN) as u32;
    message[1..PREFIX_LEN].copy_from_slice(&len.to_be_bytes());
    message
}

fn case(kind: &'static str, name: &str, bytes: &[u8]) -> Case {
    let (noise, stamp) = read(bytes).unwrap().unwrap();
    Case::new(kind, name)
        .bytes("noise", noise)
        .with("queue_ns", stamp.queue_ns)
        .with("forward_ns", stamp.forward_ns)
        .bytes("bytes", bytes)
}

fn refusal(bytes: &[u8]) -> &'static str {
    match read(bytes).unwrap_err() {
        OuterError::Compressed => "compressed",
        OuterError::TooLong(_) => "too long",
        OuterError::Malformed => "malformed",
        OuterError::OtherVersion(_) => "other version",
        OuterError::Truncated => "truncated",
    }
}

fn refused(name: &str, bytes: &[u8]) -> Case {
    Case::new("refused frame", name)
        .bytes("bytes", bytes)
        .with("error", refusal(bytes))
}

fn cases() -> Vec<Case> {
    // An endpoint's own stamp, and the relay's after it: the last value counts.
    let own = [&[0, 0, 0, 0, 4 + 1 + 4][..], b"\x0a\x03abc\x10\x63\x18\x63"].concat();
    let appended = stamped(b"", 1, 300)[PREFIX_LEN + 2..].to_vec();
    let mut overridden = [&own[..], &appended].concat();
    overridden[4] += 14;
    vec![
        case("frame", "the Noise message `abc`", &written(b"abc")),
        case("frame", "200 bytes", &written(&[0x5a; 200])),
        case("frame", "an empty Noise message", &written(b"")),
        case(
            "forwarded frame",
            "`aa bb`, 1 ms in the queue",
            &stamped(&[0xaa, 0xbb], 1_000_000, 0),
        ),
        case(
            "forwarded frame",
            "the longest stamp",
            &stamped(b"abc", (1 << 42) - 1, (1 << 42) - 1),
        ),
        case(
            "frame to read",
            "an endpoint's stamp, overridden by the relay's",
            &overridden,
        ),
        refused("compressed", &[1, 0, 0, 0, 0]),
        refused("65,600 bytes", &[0, 0, 1, 0, 0x40]),
        refused("no protobuf", &[0, 0, 0, 0, 1, 0xff]),
        refused("version 1 in place of a Noise message", &[0, 0, 0, 0, 2, 0x20, 1]),
        refused("a cut prefix", &[0, 0, 0]),
        refused("a cut message", &written(b"abc")[..9]),
    ]
}

fn decode(vector: Vector<'_>) {
    let bytes = vector.bytes("bytes");
    let kind = vector.kind();
    match kind {
        "frame" | "forwarded frame" | "frame to read" => {
            let noise = vector.bytes("noise");
            let (queue_ns, forward_ns) = (vector.number("queue_ns"), vector.number("forward_ns"));
            let (read, stamp) = read(&bytes).unwrap().unwrap();
            assert_eq!(read, noise);
            assert_eq!(stamp, RelayStamp { queue_ns, forward_ns });
            match kind {
                "frame" => assert_eq!(written(&noise), bytes),
                "forwarded frame" => assert_eq!(stamped(&noise, queue_ns, forward_ns), bytes),
                _ => {}
            }
        }
        "refused frame" => assert_eq!(refusal(&bytes), vector.text("error")),
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_outer_frames_hold() {
    check(
        "outer-frames.json",
        "Section 3: the gRPC messages of Dial and Accept, each a Frame around one Noise message. `frame` is what an endpoint sends, \
         `forwarded frame` what it receives from a relay. A stream that ends behind the bytes of a `refused frame` broke the framing.",
        &cases(),
        decode,
    );
}
