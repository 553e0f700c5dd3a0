//! The stamp that the relay appends to every frame: `Frame.queue_ns` and `Frame.forward_ns`.
//!
//! Its length is fixed, so that the gRPC length prefix can be written before the durations are known: varints of six
//! bytes, padded with continuation bits, which every protobuf decoder accepts. The stamp comes last, so it overrides
//! the values that an endpoint wrote into these fields (in protobuf the last value of a scalar field counts).

use std::time::Duration;

/// Bytes of a varint in a stamp: 42 bits, 73 minutes in nanoseconds; longer durations saturate.
const VARINT_LEN: usize = 6;

/// Bytes of a stamp: two tags, two varints.
pub(crate) const STAMP_LEN: usize = 2 * (1 + VARINT_LEN);

/// Field 2, varint.
const QUEUE_TAG: u8 = 2 << 3;
/// Field 3, varint.
const FORWARD_TAG: u8 = 3 << 3;

/// Encodes a stamp.
pub(crate) fn stamp(queue: Duration, forward: Duration) -> [u8; STAMP_LEN] {
    let mut bytes = [0; STAMP_LEN];
    let (first, second) = bytes.split_at_mut(1 + VARINT_LEN);
    put(first, QUEUE_TAG, queue);
    put(second, FORWARD_TAG, forward);
    bytes
}

fn put(out: &mut [u8], tag: u8, duration: Duration) {
    const MAX: u128 = (1 << (7 * VARINT_LEN)) - 1;
    let mut value = duration.as_nanos().min(MAX);
    out[0] = tag;
    for byte in &mut out[1..] {
        *byte = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
    }
    out[VARINT_LEN] &= 0x7f;
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use baton_proto::relay::Frame;
    use prost::Message;

    use super::*;

    #[test]
    fn the_bytes_are_stable() {
        assert_eq!(
            stamp(Duration::from_nanos(1), Duration::from_nanos(300)),
            [
                0x10, 0x81, 0x80, 0x80, 0x80, 0x80, 0x00, 0x18, 0xac, 0x82, 0x80, 0x80, 0x80, 0x00
            ]
        );
    }

    #[test]
    fn a_protobuf_decoder_reads_it_and_long_durations_saturate() {
        for (queue, forward) in [(0, 0), (1, u64::MAX), (4_398_046_511_103, 4_398_046_511_104)] {
            let bytes = stamp(Duration::from_nanos(queue), Duration::from_nanos(forward));
            let frame = Frame::decode(&bytes[..]).unwrap();
            assert_eq!(frame.queue_ns, queue.min((1 << 42) - 1));
            assert_eq!(frame.forward_ns, forward.min((1 << 42) - 1));
        }
    }
}
