//! Features: optional parts of the protocol. Each end announces its own in the handshake; a session uses those of both.

/// A set of features. Feature n is bit n; `docs/PROTOCOL.md` section 5 lists the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u64);

impl Features {
    /// Feature 0: the exec-server takes `MarkerReached` in a `Run`.
    pub const MARKERS: u32 = 0;

    /// The features of this version of Baton.
    pub const SUPPORTED: Self = Self(1 << Self::MARKERS);

    /// The set that a peer announced. Unknown bits stay in it; [`common`](Self::common) removes them.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as it is announced.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The features in both sets.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set has feature `number`. No set has a number above 63.
    pub const fn has(self, number: u32) -> bool {
        number < u64::BITS && self.0 >> number & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_uses_the_features_that_both_ends_announce() {
        let (ours, theirs) = (Features::from_bits(0b0110), Features::from_bits(0b1100));
        assert_eq!(ours.common(theirs), theirs.common(ours));
        let used: Vec<u32> = (0..100)
            .filter(|number| ours.common(theirs).has(*number))
            .collect();
        assert_eq!(used, [2]);
    }

    #[test]
    fn feature_n_is_bit_n() {
        assert!(Features::from_bits(1).has(0) && Features::from_bits(1 << 63).has(63));
        assert!(!Features::from_bits(u64::MAX).has(64));
    }
}
