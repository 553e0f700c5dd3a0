//! This crate's fuzz targets: handshake and transport messages, and the texts of keys.

use baton_fuzz::Target;

/// All of them.
pub const TARGETS: &[Target] = &[crate::handshake::fuzz::HANDSHAKE, crate::key::fuzz::KEYS];

/// For tests of the crates above: every spelling of a public key of low order.
pub fn low_order_points() -> impl Iterator<Item = [u8; 32]> {
    crate::low_order::strings()
}
