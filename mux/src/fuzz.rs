//! This crate's fuzz targets: the frame decoder, and the multiplexer against a hostile peer.

use baton_fuzz::Target;

/// All fuzz targets of this crate.
pub const TARGETS: &[Target] = &[
    crate::frame::fuzz::FRAMES,
    crate::mux::fuzz::CLIENT,
    crate::mux::fuzz::SERVER,
];
