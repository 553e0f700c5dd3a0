//! Whatever is in a segment: blocks and gaps cover it without a hole, and each trace that can be read is the same after
//! being written and read once more.

use baton_fuzz::Target;

use super::*;
use crate::block;
use crate::body;
use crate::dictionary::{FrameReader, FrameWriter};
use crate::samples::{Names, Samples};

/// The input: a segment. Where its first byte is 0, the rest is a document without compression and check, which a
/// fuzzer cannot make.
pub(crate) const SEGMENT: Target = Target {
    name: "trace-segment",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    if let Some((0, document)) = bytes.split_first() {
        return run_document(document);
    }
    let mut reader = SegmentReader::new(bytes);
    let (mut frames, mut content) = (FrameReader::default(), Vec::new());
    let mut at = 0;
    while let Some(item) = reader.next_item().expect("a slice has no errors") {
        let offset = match item {
            Item::Block(block) => {
                // What is damaged inside of a frame is an error.
                let _ = block.parts(&mut frames, &mut content, |part| drop(part));
                block.offset
            }
            Item::Gap(gap) => {
                assert!(gap.len > 0);
                gap.offset
            }
        };
        assert_eq!(offset, at);
        at = reader.offset();
    }
    assert_eq!(at, bytes.len() as u64);
}

fn run_document(document: &[u8]) {
    let Ok(part) = body::decode(42, document) else {
        return;
    };
    let mut again = Vec::new();
    body::encode(&part, &mut again);
    let read = body::decode(42, &again).expect("what was written is readable");
    // Not equal to itself where a value is not a number.
    assert_eq!(format!("{read:?}"), format!("{part:?}"));
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    const NAMES: Names = Names {
        programs: &["make"],
        labels: &["build"],
        threads: &["t"],
        hosts: &["laptop"],
    };
    let mut samples = Samples::new(NAMES, 7);
    let parts: Vec<_> = (0..3)
        .map(|_| {
            let record = samples.record();
            samples.part(&record)
        })
        .collect();
    let block_of = |parts: &[crate::part::TracePart<'_>]| {
        let mut content = Vec::new();
        parts
            .iter()
            .for_each(|part| body::append_document(part, &mut content));
        let frame = FrameWriter::new(3).and_then(|mut frames| frames.compress(&content));
        let ids: Vec<_> = parts.iter().map(|part| part.trace_id).collect();
        block::encoded(&ids, &frame.expect("it is short"), parts.len() > 1)
    };
    let singles: Vec<_> = parts
        .iter()
        .map(|part| block_of(std::slice::from_ref(part)))
        .collect();
    let mut document = vec![0];
    body::encode(&parts[0], &mut document);
    let mut torn = singles.concat();
    torn.truncate(torn.len() - 20);
    let mut newer = singles[0].clone();
    newer[11] = 2;
    vec![
        ("three", singles.concat()),
        ("together", block_of(&parts)),
        ("torn", torn),
        ("newer", [newer, singles[1].clone()].concat()),
        ("document", document),
        ("empty", Vec::new()),
    ]
}

#[cfg(test)]
#[test]
fn no_segment_breaks_its_reader() {
    baton_fuzz::replay(&SEGMENT);
}
