//! TLS 1.3 to a relay.
//!
//! TLS hides from the network what the relay sees: ids, the dial token, sizes. The content of a session does not depend
//! on TLS: Noise encrypts it end to end. The cryptography is that of [`baton_tls`].
//!
//! * [`roots`]: the trust roots for a relay's certificate;
//! * [`connector`]: a TLS connection for HTTP/2.

pub(crate) mod connector;
pub(crate) mod roots;

/// The ALPN protocol id of HTTP/2 (RFC 9113 section 3.2).
const ALPN: &[u8] = b"h2";
