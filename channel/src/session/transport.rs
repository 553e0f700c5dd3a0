//! Transport messages: one key and one message counter per direction (Noise section 5.1).

use baton_proto::limits::{NOISE_MESSAGE_MAX, NOISE_PLAINTEXT_MAX, NOISE_TAG};
use bytes::BytesMut;
use snow::StatelessTransportState;

/// Messages after which a key is used up, per direction. Far under AES-GCM's and Noise's own limits.
const MAX_MESSAGES: u64 = 1 << 32;

/// Bytes after which a key is used up, per direction.
const MAX_BYTES: u64 = 64 << 30;

/// Why a transport message could not be sealed or opened. Each ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Tampered with, lost, repeated or reordered on the way.
    #[error("a message did not decrypt: the relay altered, dropped or reordered it")]
    Decrypt,
    /// The peer or the relay sent more than a Noise message can hold.
    #[error("a message is longer than a Noise message can be")]
    TooLong,
    /// The key's message or byte limit is reached; a new session has a new key.
    #[error("the session's key is used up; a new session is needed")]
    Exhausted,
}

/// Both directions of an established session.
pub struct Transport {
    noise: StatelessTransportState,
    send: Counter,
    receive: Counter,
}

#[derive(Default)]
struct Counter {
    messages: u64,
    bytes: u64,
}

impl Counter {
    fn check(&self, len: usize) -> Result<(), TransportError> {
        if self.messages >= MAX_MESSAGES || self.bytes.saturating_add(len as u64) > MAX_BYTES {
            return Err(TransportError::Exhausted);
        }
        Ok(())
    }

    fn advance(&mut self, len: usize) {
        self.messages += 1;
        self.bytes += len as u64;
    }
}

impl Transport {
    pub(super) fn new(noise: StatelessTransportState) -> Self {
        Self {
            noise,
            send: Counter::default(),
            receive: Counter::default(),
        }
    }

    /// Appends the sealed `plaintext` to `out`: exactly [`NOISE_TAG`] bytes longer.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut BytesMut) -> Result<(), TransportError> {
        if plaintext.len() > NOISE_PLAINTEXT_MAX {
            return Err(TransportError::TooLong);
        }
        self.send.check(plaintext.len())?;
        let start = out.len();
        out.resize(start + plaintext.len() + NOISE_TAG, 0);
        self.noise
            .write_message(self.send.messages, plaintext, &mut out[start..])
            .map_err(|_| TransportError::Exhausted)?;
        self.send.advance(plaintext.len());
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
        self.receive.check(len)?;
        let mut plaintext = BytesMut::zeroed(len);
        self.noise
            .read_message(self.receive.messages, message, &mut plaintext)
            .map_err(|_| TransportError::Decrypt)?;
        self.receive.advance(len);
        Ok(plaintext)
    }
}
