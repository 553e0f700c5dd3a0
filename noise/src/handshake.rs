//! The IKhfs handshake: two messages, one round trip.
//!
//! | message | tokens | length in bytes |
//! |---|---|---|
//! | 1 | `e, es, e1, s, ss` | [`MESSAGE_1_LEN`] |
//! | 2 | `e, ee, ekem1, se` | [`MESSAGE_2_LEN`] and the payload |
//!
//! `e1` is the initiator's ephemeral ML-KEM key, `ekem1` the ciphertext for it. snow panics if a buffer is a
//! little shorter than its message, so buffers have exactly these lengths.

use baton_kem::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN};
use baton_proto::limits::{NOISE_MESSAGE_MAX, NOISE_TAG};
use bytes::{Bytes, BytesMut};
use snow::resolvers::BoxedCryptoResolver;
use snow::{Builder, HandshakeState};
use zeroize::Zeroize as _;

use crate::key::{PublicKey, StaticKey};
use crate::resolver::Resolver;
#[cfg(test)]
use crate::resolver::hostile::HostileResolver;
use crate::resolver::kem::KemRandomness;
use crate::suite;
use crate::transport::{Keys, Transport};

const DH_KEY: usize = 32;

/// Length of message 1, whose payload is empty.
pub const MESSAGE_1_LEN: usize =
    DH_KEY + (ENCAPSULATION_KEY_LEN + NOISE_TAG) + (DH_KEY + NOISE_TAG) + NOISE_TAG;

/// Length of message 2 without its payload.
pub const MESSAGE_2_LEN: usize = DH_KEY + (CIPHERTEXT_LEN + NOISE_TAG) + NOISE_TAG;

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer has a different key or prologue, or the message was altered.
    #[error("the handshake message does not verify")]
    Verify,
    /// The peer's fault: its message 1 verifies, but no conforming end generates the ML-KEM key in it.
    #[error("the peer sent an invalid ML-KEM key")]
    KemKey,
    /// An unusable local or pinned key, or no randomness from the operating system. No fault of the peer.
    #[error("the handshake could not be started: bad local key or no system randomness")]
    Local,
}

/// The client's side, waiting for message 2.
pub struct Initiator {
    /// Boxed, because it is large: snow reserves 4 KiB for a KEM's key.
    state: Box<HandshakeState>,
}

/// The exec-server's side, about to write message 2.
pub struct Responder {
    state: Box<HandshakeState>,
    remote: PublicKey,
}

fn builder<'a>(key: &'a StaticKey, prologue: &'a [u8]) -> Result<Builder<'a>, HandshakeError> {
    let randomness = KemRandomness::draw().map_err(|_| HandshakeError::Local)?;
    builder_with(key, prologue, randomness)
}

fn builder_with<'a>(
    key: &'a StaticKey,
    prologue: &'a [u8],
    randomness: KemRandomness,
) -> Result<Builder<'a>, HandshakeError> {
    resolved(key, prologue, Box::new(Resolver::new(randomness)))
}

fn resolved<'a>(
    key: &'a StaticKey,
    prologue: &'a [u8],
    resolver: BoxedCryptoResolver,
) -> Result<Builder<'a>, HandshakeError> {
    // Cannot fail: snow supports the suite, which is a constant.
    let params = suite::params().map_err(|_| HandshakeError::Local)?;
    Builder::with_resolver(params, resolver)
        .local_private_key(key.expose())
        .and_then(|builder| builder.prologue(prologue))
        .map_err(|_| HandshakeError::Local)
}

/// The keys of a handshake that is finished. snow's own transport mode is not used, because it does not seal in place.
fn into_keys(mut state: Box<HandshakeState>) -> Result<Keys, HandshakeError> {
    if !state.is_handshake_finished() {
        return Err(HandshakeError::Verify);
    }
    let hash = state.get_handshake_hash().try_into();
    let hash = hash.map_err(|_| HandshakeError::Local)?;
    let (mut of_initiator, mut of_responder) = state.dangerously_get_raw_split();
    let keys = match state.is_initiator() {
        true => Keys::new(&of_initiator, &of_responder, hash),
        false => Keys::new(&of_responder, &of_initiator, hash),
    };
    of_initiator.zeroize();
    of_responder.zeroize();
    Ok(keys)
}

impl Initiator {
    /// Writes message 1 (`e, es, e1, s, ss`, empty payload) to a responder whose key is pinned.
    pub fn start(
        local: &StaticKey,
        remote: &PublicKey,
        prologue: &[u8],
    ) -> Result<(Self, Bytes), HandshakeError> {
        let state = builder(local, prologue)?
            .remote_public_key(remote.as_bytes())
            .and_then(Builder::build_initiator)
            .map_err(|_| HandshakeError::Local)?;
        Self::write(state)
    }

    fn write(mut state: HandshakeState) -> Result<(Self, Bytes), HandshakeError> {
        let mut message = BytesMut::zeroed(MESSAGE_1_LEN);
        let len = state
            .write_message(&[], &mut message)
            .map_err(|_| HandshakeError::Local)?;
        // snow lets a KEM fail to generate a key, and sends what there is.
        if len != MESSAGE_1_LEN {
            return Err(HandshakeError::Local);
        }
        let state = Box::new(state);
        Ok((Self { state }, message.freeze()))
    }

    /// Reads message 2 (`e, ee, ekem1, se`), which proves that the responder holds the pinned key. Returns its payload.
    pub fn finish(self, message: &[u8]) -> Result<(Transport, Bytes), HandshakeError> {
        let (keys, payload) = self.finish_keys(message)?;
        Ok((Transport::new(&keys), payload))
    }

    pub(crate) fn finish_keys(mut self, message: &[u8]) -> Result<(Keys, Bytes), HandshakeError> {
        let mut payload = BytesMut::zeroed(message.len().min(NOISE_MESSAGE_MAX));
        let len = self
            .state
            .read_message(message, &mut payload)
            .map_err(|_| HandshakeError::Verify)?;
        payload.truncate(len);
        Ok((into_keys(self.state)?, payload.freeze()))
    }
}

/// A message with the length of message 1. Its payload must be empty: it has no forward secrecy and can be replayed.
fn message_1(message: &[u8]) -> Result<&[u8; MESSAGE_1_LEN], HandshakeError> {
    message.try_into().map_err(|_| HandshakeError::Verify)
}

impl Responder {
    /// Reads message 1. The initiator's static key is now known, but the message may be a replay: only the first
    /// transport message proves the initiator.
    pub fn read(local: &StaticKey, prologue: &[u8], message: &[u8]) -> Result<Self, HandshakeError> {
        // Before any key is used, so that messages of other lengths cost nothing.
        let message = message_1(message)?;
        let state = builder(local, prologue)?
            .build_responder()
            .map_err(|_| HandshakeError::Local)?;
        Self::accept(state, message)
    }

    fn accept(mut state: HandshakeState, message: &[u8; MESSAGE_1_LEN]) -> Result<Self, HandshakeError> {
        let mut payload = [0; MESSAGE_1_LEN];
        state
            .read_message(message, &mut payload)
            .map_err(|_| HandshakeError::Verify)?;
        let remote = state
            .get_remote_static()
            .and_then(|key| <[u8; 32]>::try_from(key).ok())
            .ok_or(HandshakeError::Verify)?;
        Ok(Self {
            state: Box::new(state),
            remote: PublicKey::from_bytes(remote),
        })
    }

    /// The initiator's static key.
    pub fn remote(&self) -> &PublicKey {
        &self.remote
    }

    /// Writes message 2 with `payload`. Fails with [`HandshakeError::KemKey`] if the key in message 1 is invalid.
    pub fn finish(self, payload: &[u8]) -> Result<(Transport, Bytes), HandshakeError> {
        let (keys, message) = self.finish_keys(payload)?;
        Ok((Transport::new(&keys), message))
    }

    pub(crate) fn finish_keys(mut self, payload: &[u8]) -> Result<(Keys, Bytes), HandshakeError> {
        let mut message = BytesMut::zeroed(MESSAGE_2_LEN + payload.len());
        let len = self
            .state
            .write_message(payload, &mut message)
            .map_err(|error| match error {
                snow::Error::Kem => HandshakeError::KemKey,
                _ => HandshakeError::Local,
            })?;
        message.truncate(len);
        Ok((into_keys(self.state)?, message.freeze()))
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

/// Message 1 of a hostile client: it verifies, and its ML-KEM key is invalid.
#[cfg(test)]
pub(crate) fn start_with_invalid_kem_key(key: &StaticKey, remote: &PublicKey, prologue: &[u8]) -> Bytes {
    let resolver = HostileResolver(Resolver::without_kem_randomness());
    let state = resolved(key, prologue, Box::new(resolver))
        .unwrap()
        .remote_public_key(remote.as_bytes())
        .and_then(Builder::build_initiator)
        .unwrap();
    Initiator::write(state).unwrap().1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::ephemeral;
    use crate::transport::TransportError;

    fn pair(
        initiator_prologue: &[u8],
        responder_prologue: &[u8],
    ) -> Result<(Transport, Transport), HandshakeError> {
        let client = StaticKey::generate().unwrap();
        let server = StaticKey::generate().unwrap();
        let (initiator, message1) = Initiator::start(&client, server.public(), initiator_prologue)?;
        let responder = Responder::read(&server, responder_prologue, &message1)?;
        assert_eq!(responder.remote(), client.public());
        let (server_side, message2) = responder.finish(b"hello")?;
        let (client_side, payload) = initiator.finish(&message2)?;
        assert_eq!(payload, "hello");
        Ok((client_side, server_side))
    }

    #[test]
    fn both_sides_exchange_messages_after_the_handshake() {
        let (mut client, mut server) = pair(b"p", b"p").unwrap();
        for text in ["", "one", "two"] {
            let mut sealed = BytesMut::from(text);
            client.seal(&mut sealed).unwrap();
            assert_eq!(server.open(&sealed).unwrap(), text);
            let mut sealed = BytesMut::from(text);
            server.seal(&mut sealed).unwrap();
            assert_eq!(client.open(&sealed).unwrap(), text);
        }
    }

    #[test]
    fn another_prologue_does_not_verify() {
        assert_eq!(pair(b"p", b"q").err(), Some(HandshakeError::Verify));
    }

    #[test]
    fn another_responder_key_does_not_verify() {
        let client = StaticKey::generate().unwrap();
        let pinned = StaticKey::generate().unwrap();
        let other = StaticKey::generate().unwrap();
        let (_, message1) = Initiator::start(&client, pinned.public(), b"").unwrap();
        assert_eq!(
            Responder::read(&other, b"", &message1).err(),
            Some(HandshakeError::Verify)
        );
    }

    #[test]
    fn no_handshake_begins_with_a_key_of_low_order() {
        let client = StaticKey::generate().unwrap();
        for point in crate::low_order::strings() {
            let started = Initiator::start(&client, &PublicKey::from_bytes(point), b"");
            assert_eq!(started.err(), Some(HandshakeError::Local), "{point:02x?}");
        }
    }

    #[test]
    fn any_flipped_bit_of_either_message_fails_the_handshake() {
        let client = StaticKey::generate().unwrap();
        let server = StaticKey::generate().unwrap();
        let (_, message1) = Initiator::start(&client, server.public(), b"").unwrap();
        for byte in 0..message1.len() {
            let mut altered = message1.to_vec();
            altered[byte] ^= 1;
            let accepted = Responder::read(&server, b"", &altered);
            assert!(accepted.is_err(), "byte {byte} of message 1");
        }
        let responder = || Responder::read(&server, b"", &message1).unwrap();
        let len = responder().finish(b"x").unwrap().1.len();
        for byte in 0..len {
            let (initiator, message1) = Initiator::start(&client, server.public(), b"").unwrap();
            let responder = Responder::read(&server, b"", &message1).unwrap();
            let mut altered = responder.finish(b"x").unwrap().1.to_vec();
            altered[byte] ^= 1;
            assert!(initiator.finish(&altered).is_err(), "byte {byte} of message 2");
        }
    }

    #[test]
    fn messages_have_the_documented_lengths_and_no_other_is_read() {
        let (client, server) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
        let start = || Initiator::start(&client, server.public(), b"").unwrap();
        let (_, message1) = start();
        assert_eq!(message1.len(), 1296);
        let (_, message2) = Responder::read(&server, b"", &message1)
            .unwrap()
            .finish(b"hello")
            .unwrap();
        assert_eq!(message2.len(), 1152 + 5);
        // A valid message that was cut, or has bytes behind it, on both sides of each of its fields.
        for len in (0..=1400).chain([NOISE_MESSAGE_MAX, NOISE_MESSAGE_MAX + 1]) {
            let resized = |message: &Bytes| {
                let mut message = message.to_vec();
                message.resize(len, 0);
                message
            };
            if len != message1.len() {
                let read = Responder::read(&server, b"", &resized(&message1));
                assert_eq!(
                    read.err(),
                    Some(HandshakeError::Verify),
                    "message 1 of {len} bytes"
                );
            }
            let (initiator, message1) = start();
            let responder = Responder::read(&server, b"", &message1).unwrap();
            let (_, message2) = responder.finish(b"hello").unwrap();
            if len != message2.len() {
                let finished = initiator.finish(&resized(&message2));
                assert_eq!(
                    finished.err(),
                    Some(HandshakeError::Verify),
                    "message 2 of {len} bytes"
                );
            }
        }
    }

    #[test]
    fn without_randomness_nothing_is_sent_and_the_fault_is_local() {
        let (client, server) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
        let start = || Initiator::start(&client, server.public(), b"");
        let (_, message1) = start().unwrap();
        let read = || Responder::read(&server, b"", &message1);

        // The draw of the KEM, then that of X25519.
        ephemeral::fail();
        assert_eq!(start().err(), Some(HandshakeError::Local));
        ephemeral::fix_kem([1; 64]);
        ephemeral::fail();
        assert_eq!(start().err(), Some(HandshakeError::Local));
        ephemeral::fail();
        assert_eq!(read().err(), Some(HandshakeError::Local));
        let responder = read().unwrap();
        ephemeral::fail();
        assert_eq!(responder.finish(b"").err(), Some(HandshakeError::Local));
        assert!(ephemeral::all_drawn());
    }

    #[test]
    fn a_message_1_without_a_kem_key_is_not_sent() {
        let (client, server) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
        let state = resolved(&client, b"", Box::new(Resolver::without_kem_randomness()))
            .unwrap()
            .remote_public_key(server.public().as_bytes())
            .and_then(Builder::build_initiator)
            .unwrap();
        assert_eq!(Initiator::write(state).err(), Some(HandshakeError::Local));
    }

    #[test]
    fn an_invalid_kem_key_is_the_fault_of_the_peer() {
        let (client, server) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
        let message1 = start_with_invalid_kem_key(&client, server.public(), b"");
        let responder = Responder::read(&server, b"", &message1).unwrap();
        assert_eq!(responder.remote(), client.public());
        assert_eq!(responder.finish(b"").err(), Some(HandshakeError::KemKey));
    }

    #[test]
    fn a_lost_repeated_or_altered_transport_message_is_fatal() {
        let (mut client, mut server) = pair(b"", b"").unwrap();
        let mut seal = |text: &[u8]| {
            let mut out = BytesMut::from(text);
            client.seal(&mut out).unwrap();
            out
        };
        let (first, second) = (seal(b"1"), seal(b"2"));
        assert_eq!(server.open(&second).err(), Some(TransportError::Decrypt));
        server.open(&first).unwrap();
        assert_eq!(server.open(&first).err(), Some(TransportError::Decrypt));
        let mut altered = second.clone();
        altered[0] ^= 1;
        assert_eq!(server.open(&altered).err(), Some(TransportError::Decrypt));
        assert_eq!(server.open(&[]).err(), Some(TransportError::Decrypt));
        server.open(&second).unwrap();
    }

    /// The cacophony set has no vector of the suite. Its vector without `hfs` has all other primitives and tokens.
    #[test]
    fn the_noise_vector_of_the_suite_without_its_kem_holds() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let prologue = hex("4a6f686e2047616c74");
        let init_static = hex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1");
        let init_ephemeral = hex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a");
        let remote = hex("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62");
        let resp_static = hex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893");
        let resp_ephemeral = hex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
        let build = |key: &'static [u8], ephemeral: &'static [u8]| {
            let params = "Noise_IK_25519_AESGCM_SHA256".parse().unwrap();
            Builder::with_resolver(params, Box::new(Resolver::without_kem_randomness()))
                .local_private_key(key)
                .unwrap()
                .prologue(Box::leak(prologue.clone().into_boxed_slice()))
                .unwrap()
                .fixed_ephemeral_key_for_testing_only(ephemeral)
        };
        let leak = |bytes: Vec<u8>| -> &'static [u8] { Box::leak(bytes.into_boxed_slice()) };
        let mut initiator = build(leak(init_static), leak(init_ephemeral))
            .remote_public_key(&remote)
            .unwrap()
            .build_initiator()
            .unwrap();
        let mut responder = build(leak(resp_static), leak(resp_ephemeral))
            .build_responder()
            .unwrap();

        let mut buffer = [0; 1024];
        let mut opened = [0; 1024];
        let len = initiator
            .write_message(&hex("4c756477696720766f6e204d69736573"), &mut buffer)
            .unwrap();
        assert_eq!(
            buffer[..len],
            hex(
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444e417bc55c7a8166c993356c1be41e\
                 f67818a292426f301556c7f26b21d25ddb097153891a9a956cff47b83e63ad8d701c1342c209cff1ca5ecd43402762\
                 ac249e3bd3a4c0a145fe07cb5dae28ea13a3"
            )
        );
        responder.read_message(&buffer[..len], &mut opened).unwrap();
        let len = responder
            .write_message(&hex("4d757272617920526f746862617264"), &mut buffer)
            .unwrap();
        assert_eq!(
            buffer[..len],
            hex(
                "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843af2ccf9972e22afc67aeafcd25162f\
                 7f98c363b7762e3e4cb7d272e39f27a5"
            )
        );
        initiator.read_message(&buffer[..len], &mut opened).unwrap();
        assert_eq!(
            initiator.get_handshake_hash(),
            hex("669c8640d9e42a3cda2f232f78597ceefb01daa6e3df81181ccce6fc6b5026bf")
        );
        let mut initiator = Transport::new(&into_keys(Box::new(initiator)).unwrap());
        let mut sealed = BytesMut::from(&hex("462e20412e20486179656b")[..]);
        initiator.seal(&mut sealed).unwrap();
        assert_eq!(
            sealed,
            hex("66acfc92e3197de166809e6d4d5d003dcc819a84bc3522ca53c9d9")
        );
    }
}
