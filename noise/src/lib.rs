//! The Noise session, sans-IO: bytes in, bytes out, no clock and no socket.
//!
//! One fixed suite, [`SUITE`]. `handshake` runs IK (Noise section 7.5): the initiator pins the responder's static
//! key, and learns in message 2 that the responder holds it; the responder learns the initiator's key from message 1
//! and must act on nothing until the first transport message opens (message 1 can be replayed). `transport` seals
//! and opens transport messages with implicit nonces, so a lost, repeated or reordered message is fatal. `rekey` renews
//! the keys under open calls by handshakes that travel inside, when `policy` says so.
//!
//! snow stays behind this module; `resolver` gives it aws-lc-rs.

mod handshake;
mod policy;
mod prologue;
mod rekey;
mod resolver;
mod transport;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use handshake::HANDSHAKE;
pub use handshake::{HandshakeError, Initiator, Responder};
pub use policy::{KeyLimit, RekeyPolicy};
pub use prologue::prologue;
pub use rekey::{Answer, Control, End, RekeyError, Session};
pub use transport::{Transport, TransportError};

/// The one Noise suite of this protocol version.
pub const SUITE: &str = "Noise_IK_25519_AESGCM_SHA256";
