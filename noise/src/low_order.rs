//! Low-order points: X25519 with one of them gives zero for every private key, so a peer that sends one would fix the
//! shared secret.
//!
//! Every agreement refuses a result of zero, so none gets through. In a ticket or an allow-list, such a key is refused
//! before it is used, because it can only be deliberate.

/// The u-coordinates below 2^255 of the points whose order divides 8, on the curve and on its twist, with p = 2^255 −
/// 19 (<https://cr.yp.to/ecdh.html#validate>). Some have two names below 2^255, as 0 and p.
const POINTS: [[u8; 32]; 7] = [
    near_zero(0),
    near_zero(1),
    // Order 8: 325606250916557431795983626356110631294008115727848805560023387167927233504 and
    // 39382357235489614581723060781553021112529911719440698176882885853963445705823.
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    // p − 1, p and p + 1.
    near_p(0xec),
    near_p(0xed),
    near_p(0xee),
];

const fn near_zero(first: u8) -> [u8; 32] {
    let mut point = [0; 32];
    point[0] = first;
    point
}

const fn near_p(first: u8) -> [u8; 32] {
    let mut point = [0xff; 32];
    point[0] = first;
    point[31] = 0x7f;
    point
}

/// Whether X25519 takes these bytes for a point of low order. The top bit does not count (RFC 7748 section 5).
pub(crate) fn is_low_order(point: &[u8; 32]) -> bool {
    let mut point = *point;
    point[31] &= 0x7f;
    POINTS.contains(&point)
}

/// All 14 strings of bytes for which [`is_low_order`] holds.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn strings() -> impl Iterator<Item = [u8; 32]> {
    POINTS.into_iter().flat_map(|point| {
        let mut with_top_bit = point;
        with_top_bit[31] |= 0x80;
        [point, with_top_bit]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourteen_strings_are_of_low_order_and_their_neighbours_are_not() {
        let all: std::collections::HashSet<_> = strings().collect();
        assert_eq!(all.len(), 14);
        assert!(all.iter().all(is_low_order));
        for other in [near_zero(2), near_zero(9), near_p(0xeb), near_p(0xef), [0xff; 32]] {
            assert!(!is_low_order(&other), "{other:02x?}");
        }
    }
}
