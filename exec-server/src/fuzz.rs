//! The exec-server's fuzz targets: what a client sends once it is let in.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[crate::service::fuzz::REQUESTS];
