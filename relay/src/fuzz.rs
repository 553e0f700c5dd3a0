//! The relay's fuzz targets: every decoder of bytes from peers. The crates h2 and rustls decode HTTP/2 and TLS.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    crate::frames::FRAMES,
    crate::headers::fuzz::HEADERS,
    crate::proxy_header::fuzz::PROXY_HEADER,
    crate::register::fuzz::REGISTER,
];
