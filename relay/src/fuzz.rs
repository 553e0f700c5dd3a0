//! The relay's fuzz targets: everything that peers send and it decodes. HTTP/2 is hyper's, TLS is rustls's.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    crate::frames::FRAMES,
    crate::headers::fuzz::HEADERS,
    crate::register::fuzz::REGISTER,
];
