//! Why the relay closes a connection that it does not serve. Written to the log only: the peer sees that its connection
//! is closed.

use std::time::Duration;

use crate::proxy_header::ProxyHeaderError;

/// Why a connection is closed before it is served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Limit(#[from] ConnectionLimit),
    #[error("no range of --proxy-protocol contains the address")]
    NotABalancer,
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// The limit that a connection exceeds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionLimit {
    #[error("connection limit ({0}) of this relay reached")]
    Relay(usize),
    #[error("connection limit ({0}) of this address reached")]
    Address(usize),
    #[error("limit ({0}) of connections whose PROXY header has not arrived reached")]
    MissingHeaders(usize),
    #[error("the address's share of the relay's memory is used up")]
    Memory,
}

/// Why no PROXY header was read. Caused by the balancer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error(transparent)]
    Malformed(#[from] ProxyHeaderError),
    #[error("the header did not arrive within {0:?}")]
    Slow(Duration),
    #[error("the connection ended inside the header")]
    Truncated,
    #[error("the connection ended before a header; let the balancer's health checks send one")]
    Unused,
}
