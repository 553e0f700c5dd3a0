//! This crate's fuzz targets: carriers, and the detector of families. In-band timings are the channel's.

use baton_fuzz::Target;

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    crate::w3c::fuzz::HEADERS,
    crate::w3c::fuzz::CARRIER,
    crate::family::fuzz::DETECTOR,
];
