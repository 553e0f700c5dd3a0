//! Encodes the key-exchange messages of a rekey as frames. Such a message holds no other frames.
//!
//! | control | plaintext |
//! |---|---|
//! | [`Control::Request`] | `Rekey`, empty |
//! | [`Control::Start`] | `Rekey`, Noise message 1 |
//! | [`Control::Answer`] | `Rekey`, Noise message 2; `Switch` |
//! | [`Control::Switch`] | `Switch` |

use bytes::{BufMut, Bytes};

use baton_mux::frame::{self, Frame, FrameError, Kind};
use baton_noise::Control;

/// Appends the frames of `control`.
pub(super) fn put(control: &Control, out: &mut impl BufMut) {
    match control {
        Control::Request => put_frame(out, Kind::Rekey, &[]),
        Control::Start(message) => put_frame(out, Kind::Rekey, message),
        Control::Answer(message) => {
            put_frame(out, Kind::Rekey, message);
            put_frame(out, Kind::Switch, &[]);
        }
        Control::Switch => put_frame(out, Kind::Switch, &[]),
    }
}

fn put_frame(out: &mut impl BufMut, kind: Kind, body: &[u8]) {
    frame::put_header(out, kind, false, 0, body.len());
    out.put_slice(body);
}

/// Whether a message is a key-exchange message. The multiplexer does not handle those.
pub(super) fn is_control(message: &[u8]) -> bool {
    message.first().is_some_and(|kind| Kind::is_of_keys(*kind))
}

/// Decodes a key-exchange message.
pub(super) fn take(mut message: Bytes) -> Result<Control, FrameError> {
    let first = frame::next(&mut message)?.ok_or(FrameError::Truncated)?;
    let second = frame::next(&mut message)?;
    let odd = Err(FrameError::Body("rekey"));
    if !message.is_empty() {
        return odd;
    }
    match (first, second) {
        (rekey, None) if rekey.kind == Kind::Rekey && rekey.body.is_empty() => Ok(Control::Request),
        (rekey, None) if rekey.kind == Kind::Rekey => Ok(Control::Start(rekey.body)),
        (rekey, Some(switch)) if rekey.kind == Kind::Rekey && is_switch(&switch) => {
            Ok(Control::Answer(rekey.body))
        }
        (switch, None) if is_switch(&switch) => Ok(Control::Switch),
        _ => odd,
    }
}

fn is_switch(frame: &Frame) -> bool {
    frame.kind == Kind::Switch && frame.body.is_empty()
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(control: &Control) -> Vec<u8> {
        let mut out = Vec::new();
        put(control, &mut out);
        out
    }

    #[test]
    fn the_frames_of_a_rekey_are_stable() {
        assert_eq!(written(&Control::Request), [10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            written(&Control::Start(Bytes::from_static(b"abc"))),
            *b"\x0a\x00\x00\x03\x00\x00\x00\x00abc"
        );
        assert_eq!(
            written(&Control::Answer(Bytes::from_static(b"de"))),
            *b"\x0a\x00\x00\x02\x00\x00\x00\x00de\x09\x00\x00\x00\x00\x00\x00\x00"
        );
        assert_eq!(written(&Control::Switch), [9, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_key_exchange_message_with_other_frames_is_refused() {
        let ping = [6, 0, 0, 0, 0, 0, 0, 0];
        let with = |control: Control, more: &[u8]| [&written(&control)[..], more].concat();
        let start = Control::Start(Bytes::from_static(b"abc"));
        let answer = Control::Answer(Bytes::from_static(b"abc"));
        for (odd, name) in [
            (with(Control::Request, &ping), "a ping behind"),
            (with(start.clone(), &written(&Control::Request)), "two rekeys"),
            (with(answer, &ping), "a ping behind both"),
            (with(Control::Switch, &written(&Control::Switch)), "two switches"),
            (with(Control::Switch, &written(&start)), "switch first"),
            (b"\x09\0\0\x01\0\0\0\0x".to_vec(), "a switch with a body"),
            (b"\x09\x01\0\0\0\0\0\0".to_vec(), "a flag"),
            (b"\x0a\0\0\0\0\0\0\x01".to_vec(), "on a stream"),
            (b"\x0a\0\0\x02\0\0\0\0x".to_vec(), "a short body"),
            (b"\x0a\0\0".to_vec(), "a short header"),
        ] {
            assert!(is_control(&odd), "{name}");
            assert!(take(odd.into()).is_err(), "{name}");
        }
        assert!(!is_control(&ping) && !is_control(&[]));
    }

    proptest! {
        #[test]
        fn controls_round_trip(which in 0..4, body in prop::collection::vec(any::<u8>(), 1..200)) {
            let control = match which {
                0 => Control::Request,
                1 => Control::Start(body.into()),
                2 => Control::Answer(body.into()),
                _ => Control::Switch,
            };
            let message = written(&control);
            prop_assert!(is_control(&message));
            prop_assert_eq!(take(message.into()), Ok(control));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = take(bytes.into());
        }
    }
}
