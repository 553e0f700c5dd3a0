//! TLS 1.3 to a relay.
//!
//! TLS hides from the network what the relay sees: ids, the dial token, sizes. The content of a session does not depend
//! on TLS: Noise encrypts it end to end.
//!
//! * [`roots`]: the trust roots for a relay's certificate;
//! * [`provider`]: rustls's cryptography from aws-lc-rs, with the operating system's randomness;
//! * [`connector`]: a TLS connection for HTTP/2.

pub(crate) mod connector;
mod provider;
pub(crate) mod roots;

/// The ALPN protocol id of HTTP/2 (RFC 9113 section 3.2).
const ALPN: &[u8] = b"h2";
