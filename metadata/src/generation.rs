//! Generations: the order that barriers use.

/// The updates accepted between two barriers have one generation. A barrier closes the open generation, and waits for
/// it and all earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub(crate) u64);

impl Generation {
    pub(crate) const FIRST: Self = Self(1);

    /// A number that grows by one with each barrier, from 1 in each epoch.
    pub fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn next(self) -> Self {
        // One for each barrier, so 2^64 is out of reach.
        Self(self.0 + 1)
    }
}
