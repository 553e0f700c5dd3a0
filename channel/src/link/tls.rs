//! TLS 1.3 to a relay.
//!
//! It hides from the network what the relay sees anyway: ids, the dial token, sizes. What a session carries is sealed end to
//! end below it, whoever holds the relay's certificate.
//!
//! * [`roots`]: whose word counts for a relay's certificate;
//! * [`provider`]: rustls on aws-lc-rs, with the operating system's randomness;
//! * [`connector`]: a TCP connection, shaken hands on, for HTTP/2.

pub(crate) mod connector;
mod provider;
pub(crate) mod roots;

/// What follows is HTTP/2 (RFC 7540 section 3.3).
const ALPN: &[u8] = b"h2";
