//! Transport messages: one key and one message counter per direction (Noise section 5.1).
//!
//! The directions are separate, because a rekey ([`rekey`](crate::rekey)) renews one before the other.

use std::sync::Arc;

use baton_proto::limits::{NOISE_MESSAGE_MAX, NOISE_PLAINTEXT_MAX, NOISE_TAG};
use bytes::BytesMut;

use crate::policy::{KeyLimit, RekeyPolicy};
use crate::resolver::AesGcm;

/// Why a transport message could not be sealed or opened. Each ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Altered, lost, repeated or reordered by the relay.
    #[error("a message did not decrypt: the relay altered, dropped or reordered it")]
    Decrypt,
    /// The message is longer than a Noise message can be.
    #[error("a message is longer than a Noise message can be")]
    TooLong,
    /// The key has reached its limit, and the peer has not completed a rekey.
    #[error(
        "the session's key reached its limit and the peer did not complete a rekey; a new session is needed"
    )]
    Exhausted,
}

/// The result of a handshake: a key for each direction, and the handshake hash (Noise section 5.2).
#[derive(Clone)]
pub(crate) struct Keys {
    send: Arc<AesGcm>,
    receive: Arc<AesGcm>,
    pub(crate) hash: [u8; 32],
}

impl Keys {
    /// `send` and `receive`: the two keys of `Split()`, in the order of this end.
    pub(crate) fn new(send: &[u8; 32], receive: &[u8; 32], hash: [u8; 32]) -> Self {
        Self {
            send: Arc::new(AesGcm::new(send)),
            receive: Arc::new(AesGcm::new(receive)),
            hash,
        }
    }
}

/// Both directions of an established session.
pub struct Transport {
    send: Direction,
    receive: Direction,
    hash: [u8; 32],
    limit: KeyLimit,
}

/// One direction: its key, and the traffic under that key. The nonce is the number of messages, so a new key starts at
/// 0.
struct Direction {
    key: Arc<AesGcm>,
    carried: KeyLimit,
}

impl Direction {
    fn new(key: &Arc<AesGcm>) -> Self {
        Self {
            key: Arc::clone(key),
            carried: KeyLimit::default(),
        }
    }

    /// The nonce of the next message, if the key's limit allows the message.
    fn next(&self, len: usize, limit: &KeyLimit) -> Result<u64, TransportError> {
        let bytes = self.carried.bytes.saturating_add(len as u64);
        if self.carried.messages >= limit.messages || bytes > limit.bytes {
            return Err(TransportError::Exhausted);
        }
        Ok(self.carried.messages)
    }

    fn advance(&mut self, len: usize) {
        self.carried.messages += 1;
        self.carried.bytes += len as u64;
    }
}

impl Transport {
    pub(crate) fn new(keys: &Keys) -> Self {
        Self {
            send: Direction::new(&keys.send),
            receive: Direction::new(&keys.receive),
            hash: keys.hash,
            limit: RekeyPolicy::default().end,
        }
    }

    /// Replaces the protocol's limits.
    pub(crate) fn limit(&mut self, limit: KeyLimit) {
        self.limit = limit;
    }

    /// The handshake hash of the newest keys.
    pub(crate) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Whether the traffic of either direction has reached this limit.
    pub(crate) fn has_carried(&self, limit: &KeyLimit) -> bool {
        [&self.send, &self.receive].into_iter().any(|direction| {
            let carried = &direction.carried;
            carried.messages >= limit.messages || carried.bytes >= limit.bytes
        })
    }

    /// Seals with a new key from the next message on.
    pub(crate) fn switch_send(&mut self, keys: &Keys) {
        self.send = Direction::new(&keys.send);
        self.hash = keys.hash;
    }

    /// Opens with a new key from the next message on.
    pub(crate) fn switch_receive(&mut self, keys: &Keys) {
        self.receive = Direction::new(&keys.receive);
        self.hash = keys.hash;
    }

    /// Seals a message in place, which makes it exactly [`NOISE_TAG`] bytes longer. After an error it is unchanged.
    pub fn seal(&mut self, message: &mut BytesMut) -> Result<(), TransportError> {
        let len = message.len();
        if len > NOISE_PLAINTEXT_MAX {
            return Err(TransportError::TooLong);
        }
        let nonce = self.send.next(len, &self.limit)?;
        let tag = self
            .send
            .key
            .seal(nonce, message)
            .ok_or(TransportError::Exhausted)?;
        message.extend_from_slice(tag.as_ref());
        self.send.advance(len);
        Ok(())
    }

    /// Opens the next message into a buffer of its own.
    pub fn open(&mut self, message: &[u8]) -> Result<BytesMut, TransportError> {
        if message.len() > NOISE_MESSAGE_MAX {
            return Err(TransportError::TooLong);
        }
        let len = message
            .len()
            .checked_sub(NOISE_TAG)
            .ok_or(TransportError::Decrypt)?;
        let nonce = self.receive.next(len, &self.limit)?;
        let mut plaintext = BytesMut::zeroed(len);
        self.receive
            .key
            .open(nonce, &[], message, &mut plaintext)
            .ok_or(TransportError::Decrypt)?;
        self.receive.advance(len);
        Ok(plaintext)
    }
}
