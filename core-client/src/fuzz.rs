//! The client's fuzz targets: what an exec-server answers.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[crate::run::fuzz::EVENTS];
