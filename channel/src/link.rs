//! The link to a relay: connects, dials, registers and accepts.
//!
//! * [`endpoint`]: connections to a relay;
//! * [`network`]: a network other than TCP;
//! * [`tcp`]: a TCP connection, which tries each address of a relay in turn;
//! * [`tls`]: TLS over it, for `https` URLs;
//! * [`stream`]: one outer stream, `Dial` or `Accept`;
//! * [`dial`]: from a ticket to an established session;
//! * [`retry`]: when a client repeats a failed dial;
//! * [`register`]: an exec-server's registration;
//! * [`health`]: checks that a relay answers, and that an exec-server is registered;
//! * [`pool`]: the connections over which an exec-server accepts;
//! * [`accept`]: from an `Incoming` to an established session.

pub(crate) mod accept;
pub(crate) mod dial;
pub(crate) mod endpoint;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub(crate) mod health;
pub(crate) mod network;
pub(crate) mod pool;
pub(crate) mod register;
pub(crate) mod retry;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod tls;
