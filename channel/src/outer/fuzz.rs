//! Any stream of a relay, cut at any offsets, yields the same messages or a typed error. At most one frame is buffered.

use baton_fuzz::{Input, Script, Target};

use super::*;

/// The input: a number of cuts, their lengths, the stream.
pub(crate) const FRAMES: Target = Target {
    name: "outer-frames",
    run,
    seeds,
};

type Messages = Vec<(Bytes, RelayStamp)>;

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cuts: Vec<usize> = (0..input.u8() % 8)
        .map(|_| 1 + usize::from(input.u16()) % 8192)
        .collect();
    let body = input.rest();
    let cut = read(body, &cuts);
    assert_eq!(cut, read(body, &[]), "where the stream is cut makes a difference");
    let mut again = BytesMut::new();
    for (noise, _) in &cut.0 {
        assert!(noise.len() <= NOISE_MESSAGE_MAX);
        put_frame(&mut again, noise);
    }
    let (written, end) = read(&again, &[]);
    let noise = |messages: &Messages| {
        messages
            .iter()
            .map(|(noise, _)| noise.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (noise(&written), end),
        (noise(&cut.0), Ok(())),
        "what we write, we read"
    );
}

fn read(body: &[u8], cuts: &[usize]) -> (Messages, Result<(), OuterError>) {
    let mut body = Bytes::copy_from_slice(body);
    let mut deframer = Deframer::default();
    let mut messages = Vec::new();
    let mut cuts = cuts.iter().cycle();
    while !body.is_empty() {
        let cut = cuts.next().map_or(body.len(), |cut| (*cut).min(body.len()));
        deframer.push(body.split_to(cut));
        loop {
            match deframer.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
        assert!(
            deframer.chunk.is_empty(),
            "a chunk is held beside what is left of it"
        );
        assert!(
            deframer.partial.len() < PREFIX_LEN + FRAME_MAX,
            "more than one frame is held"
        );
    }
    let end = deframer.finish();
    (messages, end)
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let framed = |message: &[u8]| [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
    let frame = |len: usize, queue_ns| {
        let frame = Frame {
            noise: vec![5; len].into(),
            queue_ns,
            forward_ns: 3,
            version: 0,
        };
        framed(&frame.encode_to_vec())
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
        (
            "frames",
            cut(&[], &[frame(1296, 0), frame(1152, 1 << 41), frame(0, 0)].concat()),
        ),
        ("cut", cut(&[0, 6], &[frame(40, 5), frame(2_000, 5)].concat())),
        // As a relay writes it: the stamp follows, in padded varints.
        (
            "stamped",
            cut(
                &[9],
                &framed(&[
                    0x0a, 1, 7, 0x10, 0x81, 0x80, 0x80, 0x80, 0x80, 0, 0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0,
                ]),
            ),
        ),
        (
            "stamped-twice",
            cut(&[], &framed(&[0x10, 1, 0x0a, 1, 7, 0x0a, 1, 8, 0x10, 2, 0x18, 3])),
        ),
        ("other-version", cut(&[], &framed(&[0x20, 7]))),
        ("version-beside-noise", cut(&[], &framed(&[0x0a, 1, 7, 0x20, 7]))),
        ("malformed", cut(&[], &framed(&[0x0a, 9, 1]))),
        ("compressed", cut(&[], &[1, 0, 0, 0, 0])),
        ("too-long", cut(&[2], &[0, 0xff, 0, 0, 0])),
        ("truncated", cut(&[3], &[0, 0, 0, 0, 9, 1])),
    ]
}

#[cfg(test)]
#[test]
fn no_cut_of_a_relays_stream_changes_what_is_read_or_holds_more_than_a_frame() {
    baton_fuzz::replay(&FRAMES);
}
