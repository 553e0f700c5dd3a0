//! Any payload of message 2 decodes or fails with a typed error, and the clock error that its stamps imply never
//! exceeds the duration of the exchange.

use baton_fuzz::{Input, Script, Target};
use baton_trace::clock::ClockOffsetEstimator;

use super::*;

/// The input: the client's own two stamps, and the payload of message 2.
pub(crate) const SERVER_HELLO: Target = Target {
    name: "server-hello",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (t0, t3) = (input.u64(), input.u64());
    let Ok((epoch, hello)) = read_hello(Bytes::copy_from_slice(input.rest())) else {
        return;
    };
    assert_eq!(hello.epoch[..], epoch.0);
    let mut clock = ClockOffsetEstimator::default();
    clock.add(ClockSample {
        t0,
        t1: hello.received_unix_ns,
        t2: hello.sent_unix_ns,
        t3,
    });
    if let Some(offset) = clock.offset() {
        assert!(offset.error_ns <= t3 - t0, "an error longer than the exchange");
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |payload: &[u8]| Script::default().u64(1_000).u64(9_000).raw(payload).done();
    let hello = |received_unix_ns, sent_unix_ns| {
        let hello = ServerHello {
            epoch: vec![5; 16].into(),
            received_unix_ns,
            sent_unix_ns,
            window: 0,
            retry_after_ms: 0,
            version: PROTOCOL_VERSION,
            features: 1 << 63,
        };
        of(&hello.encode_to_vec())
    };
    vec![
        ("hello", hello(2_000, 3_000)),
        ("backwards", hello(u64::MAX, 0)),
        ("no-version", of(&[&[0x0a, 16][..], &[5; 16]].concat())),
        ("short-epoch", of(&[0x0a, 1, 7])),
        ("other", of(b"\xff\xfe")),
    ]
}

#[cfg(test)]
#[test]
fn no_hello_claims_a_clock_better_than_the_exchange() {
    baton_fuzz::replay(&SERVER_HELLO);
}
