//! This crate's fuzz targets: trace files, what a collector answers, and files of the spool.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    crate::read::fuzz::TRACE_FILE,
    crate::collector::fuzz::ANSWER,
    crate::spool::fuzz::SPOOL_FILE,
];
