//! Random ids, straight from the operating system.
//!
//! Random bytes are fetched in blocks, so that most ids need no system call. A userspace generator would first detect
//! the features of the processor, which in a virtual machine takes longer than fetching all ids of a short program.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// Bytes per fetch: within the size that getrandom(2) returns without interruption.
const BLOCK: usize = 256;

thread_local! {
    static DRAWN: RefCell<RandomPool> = const { RefCell::new(RandomPool { bytes: [0; BLOCK], used: BLOCK }) };
}

struct RandomPool {
    bytes: [u8; BLOCK],
    used: usize,
}

impl RandomPool {
    fn take(&mut self) -> u64 {
        if self.used + size_of::<u64>() > BLOCK {
            if getrandom::fill(&mut self.bytes).is_err() {
                // `getrandom` cannot fail on Linux. The fallback is the random state of a hash map, which is enough to
                // distinguish ids.
                return RandomState::new().hash_one(self.used);
            }
            self.used = 0;
        }
        let mut id = [0; size_of::<u64>()];
        id.copy_from_slice(&self.bytes[self.used..][..size_of::<u64>()]);
        self.used += size_of::<u64>();
        u64::from_ne_bytes(id)
    }
}

/// 64 random bits, not for secrets.
pub fn random_u64() -> u64 {
    DRAWN.with_borrow_mut(RandomPool::take)
}

/// 128 random bits, not for secrets.
pub fn random_u128() -> u128 {
    u128::from(random_u64()) << 64 | u128::from(random_u64())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_ids_are_alike_on_any_thread() {
        let draw = || (0..1_000).map(|_| random_u128()).collect::<Vec<_>>();
        let threads = [(); 4].map(|()| std::thread::spawn(draw));
        let ids: HashSet<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(ids.len(), 4_000);
    }

    #[test]
    fn every_bit_is_sometimes_set_and_sometimes_not() {
        let ids: Vec<_> = (0..200).map(|_| random_u128()).collect();
        assert_eq!(ids.iter().fold(0, |any, id| any | id), u128::MAX);
        assert_eq!(ids.iter().fold(u128::MAX, |all, id| all & id), 0);
    }
}
