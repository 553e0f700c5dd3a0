//! Only the genuine messages complete a handshake. The payloads of a peer with a key, and its transport messages, are
//! read or refused.

use baton_fuzz::{Input, Script, Target};
use baton_proto::limits::NOISE_PLAINTEXT_MAX;

use super::*;
use crate::key::Seed;
use crate::transport::TransportError;

/// The input: the kind of test (see [`run`]), and its data.
pub(crate) const HANDSHAKE: Target = Target {
    name: "handshake",
    run,
    seeds,
};

const PROLOGUE: &[u8] = b"prologue";

/// The static keys. The ephemeral keys and the KEM's randomness are fixed too, so that genuine messages can be committed as seeds.
struct Keys {
    client: StaticKey,
    server: StaticKey,
}

impl Keys {
    fn new() -> Self {
        let key = |byte| {
            Seed::from_bytes([byte; 32])
                .client_key()
                .expect("any seed is a key")
        };
        Self {
            client: key(1),
            server: key(2),
        }
    }

    fn initiator(&self) -> HandshakeState {
        builder_with(&self.client, PROLOGUE, KemRandomness::fixed([5; 64]))
            .expect("a builder")
            .fixed_ephemeral_key_for_testing_only(&[3; 32])
            .remote_public_key(self.server.public().as_bytes())
            .and_then(Builder::build_initiator)
            .expect("an initiator")
    }

    fn start(&self) -> (Initiator, Bytes) {
        Initiator::write(self.initiator()).expect("message 1")
    }

    fn responder(&self) -> HandshakeState {
        builder_with(&self.server, PROLOGUE, KemRandomness::fixed([6; 64]))
            .expect("a builder")
            .fixed_ephemeral_key_for_testing_only(&[4; 32])
            .build_responder()
            .expect("a responder")
    }

    fn accept(&self, message: &[u8]) -> Result<Responder, HandshakeError> {
        Responder::accept(self.responder(), message_1(message)?)
    }

    /// The genuine message 2 with a payload.
    fn answer(&self, payload: &[u8]) -> (Transport, Bytes) {
        let responder = self.accept(&self.start().1).expect("the genuine message 1");
        assert_eq!(responder.remote(), self.client.public());
        responder.finish(payload).expect("message 2")
    }
}

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let keys = Keys::new();
    match input.u8() % 6 {
        // Bytes as message 1.
        0 => {
            let message = input.rest();
            let genuine = keys.start().1;
            assert_eq!(keys.accept(message).is_ok(), message == genuine);
        }
        // Bytes as message 2.
        1 => {
            let message = input.rest();
            if let Ok((_, payload)) = keys.start().0.finish(message) {
                assert_eq!(
                    keys.answer(&payload).1,
                    message,
                    "a forged message 2 was accepted"
                );
            }
        }
        // A payload of the client in message 1.
        2 => {
            let payload = input.chunk();
            let mut message = vec![0; MESSAGE_1_LEN + payload.len()];
            let written = keys.initiator().write_message(payload, &mut message);
            if let Ok(len) = written {
                let accepted = keys.accept(&message[..len]);
                assert_eq!(accepted.is_ok(), payload.is_empty(), "message 1 has no payload");
            }
        }
        // A payload of the server in message 2.
        3 => {
            let payload = input.chunk();
            let (_, message) = keys.answer(payload);
            let (_, said) = keys.start().0.finish(&message).expect("the genuine message 2");
            assert_eq!(said, payload);
        }
        // A genuine message with one altered byte.
        4 => {
            let (is_first, at, by) = (input.bool(), usize::from(input.u16()), input.u8());
            let (initiator, first) = keys.start();
            let mut message = if is_first { first } else { keys.answer(b"hello").1 }.to_vec();
            let at = at % message.len();
            message[at] ^= by;
            let done = if is_first {
                keys.accept(&message).is_ok()
            } else {
                initiator.finish(&message).is_ok()
            };
            assert_eq!(done, by == 0, "altered in byte {at}");
        }
        // Bytes as a transport message, before a genuine one.
        _ => {
            let (forged, plaintext) = (input.chunk(), input.rest());
            let (mut server, message) = keys.answer(b"");
            let (mut client, _) = keys.start().0.finish(&message).expect("the genuine message 2");
            assert!(matches!(
                client.open(forged),
                Err(TransportError::Decrypt | TransportError::TooLong)
            ));
            let plaintext = &plaintext[..plaintext.len().min(NOISE_PLAINTEXT_MAX)];
            let mut sealed = BytesMut::from(plaintext);
            server.seal(&mut sealed).expect("it fits");
            assert_eq!(client.open(&sealed).expect("genuine"), plaintext);
        }
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let keys = Keys::new();
    let raw = |kind, bytes: &[u8]| Script::default().u8(kind).raw(bytes).done();
    let altered = |is_first, at, by| Script::default().u8(4).u8(is_first).u16(at).u8(by).done();
    vec![
        ("message-1", raw(0, &keys.start().1)),
        ("message-1-short", raw(0, &keys.start().1[..MESSAGE_1_LEN - 1])),
        ("message-2", raw(1, &keys.answer(b"hello").1)),
        ("message-2-other", raw(1, &keys.answer(b"hallo").1)),
        ("payload-1", Script::default().u8(2).chunk(b"early").done()),
        ("payload-1-empty", Script::default().u8(2).chunk(b"").done()),
        ("payload-2", Script::default().u8(3).chunk(b"hello").done()),
        ("altered-1", altered(1, 40, 1)),
        ("altered-2", altered(0, 0, 0x80)),
        ("altered-ciphertext", altered(0, 32, 1)),
        (
            "transport",
            Script::default().u8(5).chunk(&[9; 20]).raw(b"plaintext").done(),
        ),
    ]
}

#[cfg(test)]
#[test]
fn nothing_but_the_genuine_messages_completes_a_handshake() {
    baton_fuzz::replay(&HANDSHAKE);
}
