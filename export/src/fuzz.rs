//! This crate's fuzz targets: what a collector answers, and files of the spool.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[crate::collector::fuzz::ANSWER, crate::spool::fuzz::SPOOL_FILE];
