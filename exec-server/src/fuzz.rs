//! The exec-server's fuzz targets: the requests of an authenticated client.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    crate::files::fuzz::REQUESTS,
    crate::service::fuzz::REQUESTS,
    crate::warm::fuzz::STATES,
];
