//! The client's fuzz targets: decoders of an exec-server's responses.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[crate::run::fuzz::EVENTS];
