//! Counted slots per key: taken up to a limit, and released on drop, so that no code path leaks one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Slots per key. Only keys with a taken slot use memory.
pub(crate) struct Slots<K: Hash + Eq + Copy> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    limit: usize,
}

/// One taken slot.
pub(crate) struct Slot<K: Hash + Eq + Copy> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

impl<K: Hash + Eq + Copy> Slots<K> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            taken: Arc::default(),
            limit,
        }
    }

    /// Takes a slot; `None` when all slots of this key are taken.
    pub(crate) fn take(&self, key: K) -> Option<Slot<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&key).copied().unwrap_or(0);
        if count >= self.limit {
            return None;
        }
        taken.insert(key, count + 1);
        Some(Slot {
            taken: self.taken.clone(),
            key,
        })
    }
}

impl<K: Hash + Eq + Copy> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_per_key_and_come_back() {
        let slots = Slots::new(2);
        let first = slots.take('a').unwrap();
        let _second = slots.take('a').unwrap();
        assert!(slots.take('a').is_none());
        assert!(slots.take('b').is_some());
        drop(first);
        assert!(slots.take('a').is_some());
    }

    #[test]
    fn a_key_without_a_taken_place_uses_no_memory() {
        let slots = Slots::new(2);
        drop(slots.take('a'));
        assert!(slots.taken.lock().unwrap().is_empty());
    }
}
