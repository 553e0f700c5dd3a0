//! For any body, in any chunks: frames are forwarded unmodified with a stamp, or the body ends with a typed error.

use baton_fuzz::{Input, Script, Target};
use baton_proto::relay::Frame;
use prost::Message as _;

use super::*;

/// The input: the number of chunks, their lengths, the body.
pub(crate) const FRAMES: Target = Target {
    name: "relay-frames",
    run,
    seeds,
};

/// The longest chunk.
const CUT: usize = 8 * 1024;

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cuts: Vec<usize> = (0..input.u8() % 8)
        .map(|_| 1 + usize::from(input.u16()) % CUT)
        .collect();
    let body = input.rest();
    let (expected, error) = read(body);
    let (spliced, got) = splice(Bytes::copy_from_slice(body), &cuts);
    assert_eq!(got, error, "another result than that of an independent decoder");
    assert_eq!(spliced.len(), expected.len(), "frames were lost or added");
    for (frame, message) in spliced.iter().zip(expected) {
        let (prefix, rest) = frame.split_at(PREFIX_LEN);
        let (passed, stamp) = rest.split_at(message.len());
        assert_eq!(prefix[0], 0);
        assert_eq!(
            u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize,
            rest.len()
        );
        assert_eq!(passed, message, "a payload was changed");
        assert_eq!(stamp.len(), STAMP_LEN);
        assert!(rest.len() <= FRAME_MAX, "longer than the receiver accepts");
        if let Ok(sent) = Frame::decode(message) {
            let received = Frame::decode(rest).expect("a stamp keeps a frame decodable");
            assert_eq!(received.noise, sent.noise);
            assert_eq!(
                received.queue_ns, 1_000_000,
                "the relay's stamp overrides the sender's"
            );
        }
    }
}

/// An independent decoder that reads the whole body at once.
fn read(mut body: &[u8]) -> (Vec<&[u8]>, Result<(), DeframeError>) {
    let mut messages = Vec::new();
    while let Some((prefix, rest)) = body.split_first_chunk::<PREFIX_LEN>() {
        if prefix[0] != 0 {
            return (messages, Err(DeframeError::Compressed));
        }
        let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        if len as usize > MESSAGE_MAX {
            return (messages, Err(DeframeError::TooLong(len)));
        }
        let Some((message, rest)) = rest.split_at_checked(len as usize) else {
            return (messages, Err(DeframeError::Truncated));
        };
        messages.push(message);
        body = rest;
    }
    let end = if body.is_empty() {
        Ok(())
    } else {
        Err(DeframeError::Truncated)
    };
    (messages, end)
}

/// Feeds the body in chunks, and checks after each chunk that at most one frame is buffered.
fn splice(mut body: Bytes, cuts: &[usize]) -> (Vec<Vec<u8>>, Result<(), DeframeError>) {
    let mut deframer = Deframer::default();
    let mut frames = Vec::new();
    let mut cuts = cuts.iter().cycle();
    let now = Instant::now();
    while !body.is_empty() {
        let cut = cuts.next().map_or(body.len(), |cut| (*cut).min(body.len()));
        deframer.feed(body.split_to(cut), now);
        loop {
            match deframer.next_frame() {
                Ok(Some(frame)) => {
                    let mut out = RopeBuilder::default();
                    frame.emit(now + Duration::from_millis(1), &mut out);
                    let mut rope = out.finish();
                    frames.push(rope.copy_to_bytes(rope.remaining()).to_vec());
                }
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        held(&deframer);
    }
    let end = deframer.finish();
    (frames, end)
}

fn held(deframer: &Deframer) {
    let DeframerState::Message { partial, .. } = &deframer.state else {
        return;
    };
    let pieces: usize = partial.pieces.iter().map(Bytes::len).sum();
    assert_eq!(partial.len, pieces + partial.small.len());
    assert!(partial.len <= MESSAGE_MAX, "more than one frame is buffered");
    // At least every other piece is large.
    assert!(
        partial.pieces.len() <= 2 * MESSAGE_MAX / COPY_BYTES + 1,
        "small pieces are not joined"
    );
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let body = |frames: &[Frame]| {
        let mut body = Vec::new();
        for frame in frames {
            let message = frame.encode_to_vec();
            body.push(0);
            body.extend_from_slice(&(message.len() as u32).to_be_bytes());
            body.extend_from_slice(&message);
        }
        body
    };
    let frame = |len: usize| Frame {
        noise: vec![7; len].into(),
        ..Frame::default()
    };
    let stamped = Frame {
        queue_ns: u64::MAX,
        forward_ns: u64::MAX,
        ..frame(20)
    };
    let cut = |cuts: &[u16], body: &[u8]| {
        let script = cuts
            .iter()
            .fold(Script::default().u8(cuts.len() as u8), |script, cut| {
                script.u16(*cut)
            });
        script.raw(body).done()
    };
    vec![
        ("frames", cut(&[], &body(&[frame(1296), frame(1152), frame(0)]))),
        ("single-bytes", cut(&[0], &body(&[frame(30), stamped]))),
        ("large", cut(&[4999, 99], &body(&[frame(9_000), frame(3)]))),
        ("truncated", cut(&[2], &[0, 0, 0, 0, 9, 1, 2])),
        ("too-long", cut(&[], &[0, 0, 1, 0, 0x40])),
        ("huge", cut(&[3], &[0, 0xff, 0xff, 0xff, 0xff])),
        ("compressed", cut(&[], &[1, 0, 0, 0, 0])),
    ]
}

#[cfg(test)]
#[test]
fn no_body_makes_the_relay_change_a_payload_or_hold_more_than_a_frame() {
    baton_fuzz::replay(&FRAMES);
}
