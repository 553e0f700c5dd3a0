//! This crate's fuzz targets: frames, and what a peer does with them.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    crate::frame::fuzz::FRAMES,
    crate::mux::fuzz::CLIENT,
    crate::mux::fuzz::SERVER,
];
