//! This crate's fuzz targets: handshake and transport messages, and the texts of keys.

use baton_fuzz::Target;

/// All fuzz targets of this crate.
pub const TARGETS: &[Target] = &[crate::handshake::fuzz::HANDSHAKE, crate::key::fuzz::KEYS];

/// For tests of other crates: every encoding of a low-order public key.
pub fn low_order_points() -> impl Iterator<Item = [u8; 32]> {
    crate::low_order::strings()
}
