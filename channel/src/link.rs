//! The link to a relay: framing of the outer streams, dialling, registering, accepting.
//!
//! * [`endpoint`]: connections to a relay;
//! * [`network`]: another network than TCP;
//! * [`tcp`] (TCP): each address of a relay in turn;
//! * [`tls`]: the same under TLS, for `https` URLs;
//! * [`stream`]: one outer stream, `Dial` or `Accept`;
//! * [`dial`]: from a ticket to an established session;
//! * [`retry`]: when a dial that failed is repeated;
//! * [`register`]: an exec-server's standing registration;
//! * [`health`]: asks a relay whether it answers, and whether an exec-server is registered;
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
