//! This crate's fuzz targets: segments.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[crate::segment::fuzz::SEGMENT];
