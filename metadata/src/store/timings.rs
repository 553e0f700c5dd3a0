//! Encoding of a call's stages: exact at first, and rounded to within a tenth once the record is old.
//!
//! Exact timings have for each stage its id, its attempt, its start relative to the first start, and its duration, as
//! variable-length integers. Rounded timings have start and duration in one byte each, on a scale of quarter octaves,
//! and the number of a list of stages that thousands of records share. The first byte of both is the format, so that
//! others can be added.

use baton_trace::stage::StageId;

use crate::limits::{STAGES_MAX, TIMINGS_BYTES};

/// One stage of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTime {
    /// The stage.
    pub stage: StageId,
    /// The attempt; 0 for the first.
    pub attempt: u8,
    /// Its start, in nanoseconds after the start of the call's first stage.
    pub start_ns: u64,
    /// Its duration, in nanoseconds.
    pub duration_ns: u64,
}

const EXACT: u8 = 1;
const ROUNDED: u8 = 2;

/// Encodes timings exactly. Stages beyond [`STAGES_MAX`], or that do not fit in [`TIMINGS_BYTES`], are omitted.
pub fn encode(stages: &[StageTime]) -> Vec<u8> {
    let mut out = vec![EXACT];
    for time in stages.iter().take(STAGES_MAX) {
        let before = out.len();
        out.extend([time.stage.0, time.attempt]);
        put_varint(&mut out, time.start_ns);
        put_varint(&mut out, time.duration_ns);
        if out.len() > TIMINGS_BYTES {
            out.truncate(before);
            break;
        }
    }
    out
}

/// Decodes exact timings; `None` for another format.
pub fn decode(encoded: &[u8]) -> Option<Vec<StageTime>> {
    let mut rest = encoded.strip_prefix(&[EXACT])?;
    let mut stages = Vec::new();
    while let [stage, attempt, after @ ..] = rest {
        rest = after;
        stages.push(StageTime {
            stage: StageId(*stage),
            attempt: *attempt,
            start_ns: take_varint(&mut rest)?,
            duration_ns: take_varint(&mut rest)?,
        });
        if stages.len() > STAGES_MAX {
            return None;
        }
    }
    rest.is_empty().then_some(stages)
}

/// The list of stages, two bytes each, which old records share.
pub(super) fn shape(stages: &[StageTime]) -> Vec<u8> {
    stages
        .iter()
        .flat_map(|time| [time.stage.0, time.attempt])
        .collect()
}

/// Encodes timings of this shape to within a tenth.
pub(super) fn encode_rounded(shape: u64, stages: &[StageTime]) -> Vec<u8> {
    let mut out = vec![ROUNDED];
    put_varint(&mut out, shape);
    out.extend(
        stages
            .iter()
            .flat_map(|time| [round(time.start_ns), round(time.duration_ns)]),
    );
    out
}

/// The shape of rounded timings; `None` for another format.
pub(super) fn rounded_shape(encoded: &[u8]) -> Option<u64> {
    take_varint(&mut encoded.strip_prefix(&[ROUNDED])?)
}

/// Decodes rounded timings of a shape.
pub(super) fn decode_rounded(encoded: &[u8], shape: &[u8]) -> Option<Vec<StageTime>> {
    let mut rest = encoded.strip_prefix(&[ROUNDED])?;
    take_varint(&mut rest)?;
    if rest.len() != shape.len() {
        return None;
    }
    let stages = shape.chunks_exact(2).zip(rest.chunks_exact(2));
    let time = |(shape, value): (&[u8], &[u8])| StageTime {
        stage: StageId(shape[0]),
        attempt: shape[1],
        start_ns: unround(value[0]),
        duration_ns: unround(value[1]),
    };
    Some(stages.map(time).collect())
}

/// Steps of an octave. A value is off by at most half a step, 2^(1/8), which is nine hundredths.
const STEPS: f64 = 4.0;

fn round(ns: u64) -> u8 {
    match ns {
        0 => 0,
        // At most 64 octaves, so 1 + 4 × 63.9 steps; the cast saturates.
        ns => (1.0 + ((ns as f64).log2() * STEPS).round()) as u8,
    }
}

fn unround(step: u8) -> u64 {
    match step {
        0 => 0,
        step => 2_f64.powf(f64::from(step - 1) / STEPS).round() as u64,
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7f);
        value |= bits
            .checked_shl(shift)
            .filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stages() -> impl Strategy<Value = Vec<StageTime>> {
        let time = (any::<u8>(), 0..3_u8, 0..1_u64 << 62, 0..1_u64 << 62);
        proptest::collection::vec(time, 0..STAGES_MAX).prop_map(|times| {
            let time = |(stage, attempt, start_ns, duration_ns)| StageTime {
                stage: StageId(stage),
                attempt,
                start_ns,
                duration_ns,
            };
            times.into_iter().map(time).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(stages in stages()) {
            let encoded = encode(&stages);
            prop_assert!(encoded.len() <= TIMINGS_BYTES);
            let read = decode(&encoded).unwrap();
            prop_assert_eq!(&read[..], &stages[..read.len()]);
        }

        #[test]
        fn rounding_is_off_by_a_tenth_at_most(stages in stages(), shape_id: u64) {
            let shape = shape(&stages);
            let encoded = encode_rounded(shape_id, &stages);
            prop_assert_eq!(rounded_shape(&encoded), Some(shape_id));
            let read = decode_rounded(&encoded, &shape).unwrap();
            prop_assert_eq!(read.len(), stages.len());
            let close = |a: u64, b: u64| (a as f64 - b as f64).abs() <= a as f64 * 0.1 + 1.0;
            for (exact, rounded) in stages.iter().zip(read) {
                prop_assert!(close(exact.start_ns, rounded.start_ns) && close(exact.duration_ns, rounded.duration_ns), "{:?} {:?}", exact, rounded);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, shape: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = rounded_shape(&bytes);
            let _ = decode_rounded(&bytes, &shape);
        }
    }

    #[test]
    fn the_exact_form_is_these_bytes() {
        let time = StageTime {
            stage: StageId(32),
            attempt: 0,
            start_ns: 0,
            duration_ns: 300,
        };
        assert_eq!(encode(&[time]), [1, 32, 0, 0, 0xac, 0x02]);
    }
}
