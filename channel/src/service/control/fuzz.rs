//! A key-exchange message has exactly one encoding, and is distinguished from messages of the multiplexer.

use baton_fuzz::Target;
use baton_noise::{MESSAGE_1_LEN, MESSAGE_2_LEN};

use super::*;

/// The input: a decrypted message.
pub(crate) const KEY_FRAMES: Target = Target {
    name: "key-frames",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let read = take(Bytes::copy_from_slice(bytes));
    assert!(
        read.is_err() || is_control(bytes),
        "a key-exchange message that `is_control` does not recognize"
    );
    if let Ok(control) = read {
        let mut out = Vec::new();
        put(&control, &mut out);
        assert_eq!(out, bytes, "a key-exchange message with two encodings");
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |control: Control| {
        let mut out = Vec::new();
        put(&control, &mut out);
        out
    };
    vec![
        ("request", of(Control::Request)),
        ("start", of(Control::Start(vec![7; MESSAGE_1_LEN].into()))),
        ("answer", of(Control::Answer(vec![7; MESSAGE_2_LEN].into()))),
        ("switch", of(Control::Switch)),
        ("switch-twice", of(Control::Switch).repeat(2)),
        (
            "switch-first",
            [of(Control::Switch), of(Control::Request)].concat(),
        ),
        ("call", vec![2, 1, 0, 1, 0, 0, 0, 1, 9]),
        ("truncated", vec![10, 0, 0, 2, 0, 0, 0, 0, 1]),
    ]
}

#[cfg(test)]
#[test]
fn no_key_exchange_message_has_two_encodings() {
    baton_fuzz::replay(&KEY_FRAMES);
}
