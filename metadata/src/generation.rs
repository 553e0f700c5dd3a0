//! The order that a barrier speaks of.

/// What was accepted between two barriers has one generation. A barrier closes the one that is open, and waits for it and all before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub(crate) u64);

impl Generation {
    pub(crate) const FIRST: Self = Self(1);

    /// As a number that grows by one a barrier, from 1 in each life of the server.
    pub fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn next(self) -> Self {
        // One a barrier: 2^64 of them do not happen.
        Self(self.0 + 1)
    }
}
