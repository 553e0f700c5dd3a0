//! Every process of this server, by client and id, from before its spawn until it is reaped; and the ids of those that
//! finished recently, so that a repeated start never runs a command twice.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use baton_channel::key::PublicKey;
use baton_proto::ProcessId;
use baton_trace::clock;
use tokio::sync::Notify;

use super::shared::Shared;
use super::ticker::Ticker;
use crate::error::StartError;
use crate::limits::{FINISHED_FOR, FINISHED_MAX, SHUTDOWN_TIMEOUT, STARTED_DELAY};

/// A process id, in its client's scope.
type Key = (PublicKey, ProcessId);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ProcessTable {
    entries: Mutex<Entries>,
    emptied: Notify,
    /// What `Started` waits with for company.
    patience: Ticker,
}

impl ProcessTable {
    pub(crate) fn new(max_processes: usize) -> Self {
        Self {
            entries: Mutex::new(Entries {
                live: HashMap::new(),
                finished: Finished::default(),
                max_processes,
                closing: false,
            }),
            emptied: Notify::new(),
            patience: Ticker::new(STARTED_DELAY / 2),
        }
    }

    /// Takes an id and a place for a process about to be spawned.
    pub(super) fn register(self: &Arc<Self>, key: Key, now: Instant) -> Result<Registration, StartError> {
        let shared = Arc::new(Shared::new());
        self.lock().register(key, shared.clone(), now)?;
        Ok(Registration {
            table: self.clone(),
            key,
            shared,
            started: false,
            released: false,
        })
    }

    pub(super) fn patience(&self) -> &Ticker {
        &self.patience
    }

    /// Processes alive, those being killed included.
    pub(crate) fn len(&self) -> usize {
        self.lock().live.len()
    }

    /// Refuses new processes, kills all there are, and waits for them to be reaped, at most [`SHUTDOWN_TIMEOUT`].
    /// Returns how many are left: 0 unless the kernel cannot end one.
    pub(crate) async fn shutdown(&self) -> usize {
        let live: Vec<_> = {
            let mut entries = self.lock();
            entries.closing = true;
            entries.live.values().cloned().collect()
        };
        for process in live {
            process.stop();
        }
        let emptied = async {
            loop {
                let emptied = self.emptied.notified();
                if self.len() == 0 {
                    break;
                }
                emptied.await;
            }
        };
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, emptied).await;
        self.len()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one process. Dropping it frees the place; the id stays taken for a while if the process was started.
#[derive(Debug)]
pub(super) struct Registration {
    table: Arc<ProcessTable>,
    key: Key,
    shared: Arc<Shared>,
    started: bool,
    released: bool,
}

impl Registration {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The process runs: its id is used up.
    pub(super) fn started(&mut self) {
        self.started = true;
    }

    /// The process is reaped.
    pub(super) fn release(&mut self) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        let mut entries = self.table.lock();
        entries.live.remove(&self.key);
        if self.started {
            entries.finished.insert(self.key, clock::now());
        }
        if entries.live.is_empty() {
            self.table.emptied.notify_waiters();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.release();
    }
}

#[derive(Debug)]
struct Entries {
    live: HashMap<Key, Arc<Shared>>,
    finished: Finished,
    max_processes: usize,
    closing: bool,
}

impl Entries {
    fn register(&mut self, key: Key, shared: Arc<Shared>, now: Instant) -> Result<(), StartError> {
        if self.closing {
            return Err(StartError::ShuttingDown);
        }
        if self.live.contains_key(&key) || self.finished.contains(&key, now) {
            return Err(StartError::Conflict);
        }
        if self.live.len() >= self.max_processes {
            return Err(StartError::TooManyProcesses(self.max_processes));
        }
        self.live.insert(key, shared);
        Ok(())
    }
}

/// Ids of processes that have ended, for [`FINISHED_FOR`], the last [`FINISHED_MAX`] of them. No clock of its own.
#[derive(Debug, Default)]
struct Finished {
    ids: HashSet<Key>,
    /// Oldest first.
    ages: VecDeque<(Instant, Key)>,
}

impl Finished {
    fn insert(&mut self, key: Key, now: Instant) {
        self.expire(now);
        if self.ages.len() >= FINISHED_MAX {
            self.pop();
        }
        if self.ids.insert(key) {
            self.ages.push_back((now, key));
        }
    }

    fn contains(&mut self, key: &Key, now: Instant) -> bool {
        self.expire(now);
        self.ids.contains(key)
    }

    fn expire(&mut self, now: Instant) {
        while self
            .ages
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= FINISHED_FOR)
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, key)) = self.ages.pop_front() {
            self.ids.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(client: u8, process: u32) -> Key {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&process.to_be_bytes());
        (PublicKey::from_bytes([client; 32]), ProcessId(id))
    }

    #[test]
    fn an_id_is_taken_while_it_runs_and_after_but_only_for_its_own_client() {
        let table = Arc::new(ProcessTable::new(10));
        let now = Instant::now();
        let mut first = table.register(key(1, 1), now).unwrap();
        first.started();
        assert!(matches!(
            table.register(key(1, 1), now),
            Err(StartError::Conflict)
        ));
        assert!(table.register(key(2, 1), now).is_ok());
        first.release();
        assert!(matches!(
            table.register(key(1, 1), now),
            Err(StartError::Conflict)
        ));
        let later = Instant::now() + FINISHED_FOR;
        assert!(table.register(key(1, 1), later).is_ok());
    }

    #[test]
    fn an_id_whose_process_never_started_is_free_again() {
        let table = Arc::new(ProcessTable::new(10));
        drop(table.register(key(1, 1), Instant::now()).unwrap());
        assert!(table.register(key(1, 1), Instant::now()).is_ok());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let table = Arc::new(ProcessTable::new(1));
        let one = table.register(key(1, 1), Instant::now()).unwrap();
        let refused = table.register(key(1, 2), Instant::now());
        assert!(matches!(refused, Err(StartError::TooManyProcesses(1))));
        drop(one);
        assert!(table.register(key(1, 2), Instant::now()).is_ok());
    }

    #[test]
    fn finished_ids_are_bounded_and_the_oldest_goes_first() {
        let mut finished = Finished::default();
        let now = Instant::now();
        for process in 0..=FINISHED_MAX as u32 {
            finished.insert(key(1, process), now);
        }
        assert_eq!(finished.ids.len(), FINISHED_MAX);
        assert!(!finished.contains(&key(1, 0), now));
        assert!(finished.contains(&key(1, 1), now));
        let later = now + FINISHED_FOR + Duration::from_secs(1);
        assert!(!finished.contains(&key(1, 1), later));
        assert!(finished.ids.is_empty() && finished.ages.is_empty());
    }
}
