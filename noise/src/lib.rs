//! Noise, sans-IO: bytes in, bytes out, no clock and no socket. It also has the keys and their files.
//!
//! One fixed suite, [`SUITE`]. `handshake` runs IK (Noise section 7.5) with the `hfs` modifier, whose KEM is
//! ML-KEM-768: the initiator pins the responder's static key,
//! and learns in message 2 that the responder holds it; the responder learns the initiator's key from message 1 and
//! must act on nothing until the first transport message opens (message 1 can be replayed). `transport` seals and opens
//! transport messages with implicit nonces, so a lost, repeated or reordered message is fatal. `rekey` renews the keys
//! while calls are open, by handshakes inside the session; `policy` decides when.
//!
//! [`key`] derives every key from one seed, and stores the seed in a file that no other user can read ([`access`]).
//! `low_order` refuses public keys with which the shared secret would be zero.
//!
//! Only this crate uses snow; `resolver` provides it with primitives from aws-lc-rs and `baton-kem`.

pub mod access;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod handshake;
pub mod key;
pub mod limits;
mod low_order;
mod policy;
mod prologue;
mod rekey;
mod resolver;
mod suite;
mod transport;
#[cfg(test)]
mod vectors;

pub use handshake::{HandshakeError, Initiator, MESSAGE_1_LEN, MESSAGE_2_LEN, Responder};
pub use policy::{KeyLimit, RekeyPolicy};
pub use prologue::prologue;
pub use rekey::{Answer, Control, Endpoint, RekeyError, Session};
pub use suite::SUITE;
pub use transport::{Transport, TransportError};
