//! This crate's fuzz targets: carriers, trace files, what a collector answers, and files of the spool. In-band timings are the channel's.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    crate::w3c::fuzz::HEADERS,
    crate::w3c::fuzz::CARRIER,
    crate::export::read::fuzz::TRACE_FILE,
    crate::export::COLLECTOR_ANSWER,
    crate::export::SPOOL_FILE,
];
