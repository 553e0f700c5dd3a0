//! This crate's fuzz targets: trace files.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[crate::record::fuzz::TRACE_FILE];
