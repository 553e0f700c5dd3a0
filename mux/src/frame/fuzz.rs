//! Frames have one encoding: a decoded frame encodes to the same bytes.

use baton_fuzz::Target;

use super::*;

/// The input: a decrypted message.
pub(crate) const FRAMES: Target = Target {
    name: "inner-frames",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let mut message = Bytes::copy_from_slice(bytes);
    let mut out = Vec::new();
    loop {
        let before = message.clone();
        let Ok(Some(frame)) = next(&mut message) else {
            break;
        };
        if frame.kind == Kind::Optional {
            // It is skipped without being decoded, so any bytes are valid.
            out.extend_from_slice(&before[..before.len() - message.len()]);
            continue;
        }
        let len = frame.body.len();
        put_header(&mut out, frame.kind, frame.end, frame.stream, len);
        out.extend_from_slice(&frame.body);
    }
    assert!(bytes.starts_with(&out), "a frame with two encodings");
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |kind, end, stream, body: &[u8]| {
        let mut out = Vec::new();
        put_header(&mut out, kind, end, stream, body.len());
        out.extend_from_slice(body);
        out
    };
    vec![
        (
            "call",
            [
                frame(Kind::Head, false, 1, b"\x0a\x06/a.B/C"),
                frame(Kind::Data, true, 1, b"data"),
            ]
            .concat(),
        ),
        (
            "control",
            [
                frame(Kind::Ping, false, 0, b"\x08\x01"),
                frame(Kind::Credit, false, 1, &[0, 0, 1, 0]),
            ]
            .concat(),
        ),
        ("rekey-request", frame(Kind::Rekey, false, 0, b"")),
        ("rekey-start", frame(Kind::Rekey, false, 0, &[7; 1296])),
        (
            "rekey-answer",
            [
                frame(Kind::Rekey, false, 0, &[7; 1152]),
                frame(Kind::Switch, false, 0, b""),
            ]
            .concat(),
        ),
        ("switch", frame(Kind::Switch, false, 0, b"")),
        ("switch-twice", frame(Kind::Switch, false, 0, b"").repeat(2)),
        ("hello", frame(Kind::Hello, false, 0, b"\x08\x02")),
        ("optional", vec![200, 0xff, 0, 2, 0, 0, 0, 9, 1, 2]),
        ("optional-truncated", vec![255, 0, 0, 9, 0, 0, 0, 0, 1]),
        ("required", vec![127, 0, 0, 0, 0, 0, 0, 0]),
        ("flag", vec![1, 1, 0, 0, 0, 0, 0, 1]),
        ("truncated", vec![2, 0, 0xff, 0xff, 0, 0, 0, 1, 1]),
    ]
}

#[cfg(test)]
#[test]
fn no_frame_of_a_message_has_two_spellings() {
    baton_fuzz::replay(&FRAMES);
}
