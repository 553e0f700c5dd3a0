//! The logs of processes that have ended, for clients that lost the last events with their session and attach again.
//!
//! A process is kept for its grace, or until its client has received all of it. A key that keeps more than its share of
//! processes, or of output, loses its oldest one. Time is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use baton_channel::key::PublicKey;
use baton_proto::ProcessId;

use super::super::shares::{ClientUsage, Resource, may_take};
use super::super::state::ProcessState;
use crate::limits::{FINISHED_FOR, KEPT_PROCESSES};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct KeptProcesses {
    /// Oldest first.
    by_client: HashMap<PublicKey, VecDeque<Kept>>,
    len: usize,
}

#[derive(Debug)]
struct Kept {
    id: ProcessId,
    state: Arc<ProcessState>,
    client: Arc<ClientUsage>,
    until: Instant,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.client.give_back(Resource::KeptProcesses, 1);
    }
}

impl KeptProcesses {
    /// Keeps a process that has ended, if its client may attach for its events.
    pub(super) fn insert(
        &mut self,
        (key, id): (PublicKey, ProcessId),
        state: Arc<ProcessState>,
        client: Arc<ClientUsage>,
        now: Instant,
    ) {
        let Some(kept_for) = state.kept_for() else { return };
        client.take(Resource::KeptProcesses, 1);
        let kept = self.by_client.entry(key).or_default();
        kept.push_back(Kept {
            id,
            state: Arc::clone(&state),
            client: Arc::clone(&client),
            until: now + kept_for.min(FINISHED_FOR),
        });
        self.len += 1;
        let is_over = |len| {
            !may_take(client.holds(Resource::KeptProcesses), len, KEPT_PROCESSES) || state.keeps_too_much()
        };
        while is_over(self.len) && kept.pop_front().is_some() {
            self.len -= 1;
        }
    }

    pub(super) fn find(&self, (key, id): &(PublicKey, ProcessId)) -> Option<&Arc<ProcessState>> {
        let kept = self.by_client.get(key)?;
        let found = kept.iter().rev().find(|kept| kept.id == *id)?;
        Some(&found.state)
    }

    /// Keeps this process no longer. The newest ones are found first: a client names those that have just ended.
    pub(super) fn remove(&mut self, key: &PublicKey, id: ProcessId) {
        let Some(kept) = self.by_client.get_mut(key) else {
            return;
        };
        if let Some(at) = kept.iter().rposition(|kept| kept.id == id) {
            kept.remove(at);
            self.len -= 1;
        }
    }

    /// Forgets what is not kept any more at `now`.
    pub(super) fn sweep(&mut self, now: Instant) {
        for kept in self.by_client.values_mut() {
            kept.retain(|kept| kept.until > now);
        }
        self.by_client.retain(|_, kept| !kept.is_empty());
        self.len = self.by_client.values().map(VecDeque::len).sum();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}
