//! `docs/vectors/stamps.json`: the bytes that the relay appends to a frame.

use baton_proto::relay::Frame;
use baton_vectors::{Case, Vector, check};
use prost::Message;

use super::*;

fn stamped(queue_ns: u64, forward_ns: u64) -> [u8; STAMP_LEN] {
    stamp(Duration::from_nanos(queue_ns), Duration::from_nanos(forward_ns))
}

fn case(name: &str, queue_ns: u64, forward_ns: u64) -> Case {
    let bytes = stamped(queue_ns, forward_ns);
    let read = Frame::decode(&bytes[..]).unwrap();
    Case::new("stamp", name)
        .with("measured_queue_ns", queue_ns)
        .with("measured_forward_ns", forward_ns)
        .bytes("bytes", bytes)
        .with("queue_ns", read.queue_ns)
        .with("forward_ns", read.forward_ns)
}

fn cases() -> Vec<Case> {
    let most = (1 << 42) - 1;
    vec![
        case("no time", 0, 0),
        case("small numbers are padded", 1, 300),
        case("one millisecond in the queue", 1_000_000, 0),
        case("every bit", 0x155_5555_5555, 0x2aa_aaaa_aaaa),
        case("the longest", most, most),
        case("longer ones saturate", most + 1, u64::MAX),
    ]
}

fn decode(vector: Vector<'_>) {
    match vector.kind() {
        "stamp" => {
            let bytes = vector.bytes("bytes");
            let [queue_ns, forward_ns] =
                ["measured_queue_ns", "measured_forward_ns"].map(|member| vector.number(member));
            assert_eq!(&stamped(queue_ns, forward_ns)[..], bytes);
            let read = Frame::decode(&bytes[..]).unwrap();
            assert_eq!(read.queue_ns, vector.number("queue_ns"));
            assert_eq!(read.forward_ns, vector.number("forward_ns"));
            assert!(read.noise.is_empty());
        }
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_stamps_hold() {
    check(
        "stamps.json",
        "The relay's stamp, section 3: what the relay appends to each Frame. `queue_ns` and `forward_ns` are what a protobuf decoder \
         reads.",
        &cases(),
        decode,
    );
}
