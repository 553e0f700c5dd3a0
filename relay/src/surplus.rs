//! Connections that were closed because of a limit. Anybody can cause them, so they are told now and then, with their number: a log
//! that a stranger can fill is a limit missing.

use std::time::Instant;

use crate::limits::SURPLUS_TOLD;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Surplus {
    told: Option<Instant>,
    untold: u64,
}

impl Surplus {
    /// One more was closed. How many there were since the last that was told, if it is time to tell.
    pub(crate) fn add(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        let waits = |told| now.saturating_duration_since(told) < SURPLUS_TOLD;
        if self.told.is_some_and(waits) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_surplus_connection_is_told_at_once_and_the_others_are_counted() {
        let start = Instant::now();
        let mut surplus = Surplus::default();
        assert_eq!(surplus.add(start), Some(1));
        for _ in 0..10_000 {
            assert_eq!(surplus.add(start + SURPLUS_TOLD / 2), None);
        }
        assert_eq!(surplus.add(start + SURPLUS_TOLD), Some(10_001));
        assert_eq!(surplus.add(start + SURPLUS_TOLD), None);
    }
}
