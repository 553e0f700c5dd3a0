//! How clients share the limited resources of an exec-server: process slots, finished ids, bytes of output that waits,
//! and output and finished processes that are kept for a client that attaches again.
//!
//! One rule applies to all of them: a client's key may take one more unit while it holds less than [`SHARE_OF_FREE`]
//! times the free units. One key alone gets three quarters. Each further key gets a share of the rest, without knowing
//! the number of keys. A key never loses what it holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_channel::key::PublicKey;

use crate::limits::SHARE_OF_FREE;

/// Whether a key that holds `own` of the `taken` out of `total` may take one more.
pub(super) fn may_take(own: usize, taken: usize, total: usize) -> bool {
    own < total.saturating_sub(taken).saturating_mul(SHARE_OF_FREE)
}

/// The number of units that have to become free first: an upper bound, since fewer suffice if they are the key's own.
pub(super) fn shortfall(own: usize, taken: usize, total: usize) -> usize {
    let allowed = total.saturating_sub(taken).saturating_mul(SHARE_OF_FREE);
    (own + 1).saturating_sub(allowed).div_ceil(SHARE_OF_FREE)
}

/// The resources that one client's key holds, over all of its sessions.
#[derive(Debug, Default)]
pub(super) struct ClientUsage {
    /// Processes that have not been reaped.
    processes: AtomicUsize,
    /// Ids of processes that have not been reaped, and of remembered finished ones.
    process_ids: AtomicUsize,
    /// Bytes of retained output.
    retained_bytes: AtomicUsize,
    /// Bytes of output that is kept after it was handed over.
    kept_bytes: AtomicUsize,
    /// Of `kept_bytes`, those of live processes that the client has not consumed.
    unconsumed_bytes: AtomicUsize,
    /// Finished processes that are kept.
    kept_processes: AtomicUsize,
}

/// One of the counts of a [`Client`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Resource {
    Processes,
    ProcessIds,
    RetainedBytes,
    KeptBytes,
    UnconsumedBytes,
    KeptProcesses,
}

impl ClientUsage {
    fn count(&self, what: Resource) -> &AtomicUsize {
        match what {
            Resource::Processes => &self.processes,
            Resource::ProcessIds => &self.process_ids,
            Resource::RetainedBytes => &self.retained_bytes,
            Resource::KeptBytes => &self.kept_bytes,
            Resource::UnconsumedBytes => &self.unconsumed_bytes,
            Resource::KeptProcesses => &self.kept_processes,
        }
    }

    pub(super) fn holds(&self, what: Resource) -> usize {
        self.count(what).load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, what: Resource, count: usize) {
        self.count(what).fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, what: Resource, count: usize) {
        self.count(what).fetch_sub(count, Ordering::Relaxed);
    }
}

/// All clients that hold a resource, by key.
#[derive(Debug, Default)]
pub(super) struct Clients {
    clients: HashMap<PublicKey, Arc<ClientUsage>>,
    /// The number of clients at which those that hold nothing are removed.
    sweep_at: usize,
}

impl Clients {
    pub(super) fn client(&mut self, key: &PublicKey) -> Arc<ClientUsage> {
        if let Some(client) = self.clients.get(key) {
            return Arc::clone(client);
        }
        if self.clients.len() >= self.sweep_at {
            // A client that holds a resource has another reference.
            self.clients.retain(|_, client| Arc::strong_count(client) > 1);
            self.sweep_at = (2 * self.clients.len()).max(64);
        }
        let client = Arc::new(ClientUsage::default());
        self.clients.insert(*key, Arc::clone(&client));
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The units of each key if one after the other takes all that it may.
    fn greedy(keys: usize, total: usize) -> Vec<usize> {
        let mut taken = 0;
        let mut shares = Vec::new();
        for _ in 0..keys {
            let mut own = 0;
            while may_take(own, taken, total) {
                own += 1;
                taken += 1;
            }
            shares.push(own);
        }
        shares
    }

    #[test]
    fn the_shortfall_is_what_has_to_become_free() {
        for (own, taken) in [(768, 768), (768, 1000), (1024, 1024), (10, 1023), (0, 1024)] {
            let shortfall = shortfall(own, taken, 1024);
            assert!(
                !may_take(own, taken, 1024) && may_take(own, taken - shortfall, 1024),
                "{own} of {taken}"
            );
            assert!(!may_take(own, taken - shortfall + 1, 1024), "{own} of {taken}");
        }
    }

    #[test]
    fn a_key_that_takes_all_it_can_leaves_a_quarter_to_others() {
        assert_eq!(greedy(3, 1024), [768, 192, 48]);
        assert_eq!(greedy(1, 480_000), [360_000]);
        assert_eq!(greedy(2, 1), [1, 0]);
        assert_eq!(greedy(2, 4), [3, 1]);
    }

    #[test]
    fn keys_that_come_and_go_at_once_get_equal_shares() {
        // Four keys take turns until none may take more.
        let (mut own, mut taken) = ([0; 4], 0);
        while (0..4).any(|key| may_take(own[key], taken, 1024)) {
            for key in &mut own {
                if may_take(*key, taken, 1024) {
                    *key += 1;
                    taken += 1;
                }
            }
        }
        assert!(own.iter().all(|own| (235..=238).contains(own)), "{own:?}");
        assert!(taken < 1024);
    }

    #[test]
    fn clients_that_hold_nothing_are_forgotten() {
        let mut clients = Clients::default();
        let held = clients.client(&PublicKey::from_bytes([255; 32]));
        held.take(Resource::Processes, 1);
        for n in 0..10_000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            clients.client(&PublicKey::from_bytes(key));
        }
        assert!(clients.clients.len() <= 65, "{}", clients.clients.len());
        let same = clients.client(&PublicKey::from_bytes([255; 32]));
        assert_eq!(same.holds(Resource::Processes), 1);
    }
}
