//! Every process of this server, by client and id, from before its spawn until it is reaped; and the ends of those that
//! finished recently, so that a repeated start never runs a command twice.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use baton_channel::key::PublicKey;
use baton_proto::ProcessId;
use baton_trace::clock;
use tokio::sync::Notify;

use super::ends::Ended;
use super::shared::Shared;
use super::ticker::Ticker;
use crate::error::StartError;
use crate::limits::{
    FINISHED_FOR, FINISHED_MAX, PROGRESS_EVERY, SHUTDOWN_TIMEOUT, STARTED_DELAY, STARTED_DELAY_STDIN,
};
use crate::records::ProcessKey;

/// A process id, in its client's scope.
type Key = (PublicKey, ProcessId);

/// Tells a start from another one of the same id.
type Parameters = [u8; 32];

/// What a start finds in the table.
#[derive(Debug)]
pub(super) enum Place {
    /// Room for it.
    New(Registration),
    /// The process that it means, which runs or ran.
    Taken(Ended),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ProcessTable {
    entries: Mutex<Entries>,
    emptied: Notify,
    /// What `Started` waits with for company.
    patience: Ticker,
    /// The same for a client that may wait for it.
    haste: Ticker,
    /// What the record of how far a process has come waits with for more.
    progress: Ticker,
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
            haste: Ticker::new(STARTED_DELAY_STDIN / 2),
            progress: Ticker::new(PROGRESS_EVERY / 2),
        }
    }

    /// Takes an id and a place for a process about to be spawned, unless this very one was started before.
    pub(super) fn register(
        self: &Arc<Self>,
        key: Key,
        parameters: Parameters,
        now: Instant,
    ) -> Result<Place, StartError> {
        let mut entries = self.lock();
        if let Some(ended) = entries.find(&key, &parameters, now)? {
            return Ok(Place::Taken(ended));
        }
        entries.check_room()?;
        let shared = Arc::new(Shared::new());
        let live = Live {
            shared: shared.clone(),
            parameters,
        };
        entries.live.insert(key, live);
        Ok(Place::New(Registration {
            table: self.clone(),
            key,
            shared,
            started: false,
            released: false,
        }))
    }

    /// How long `Started` may wait for company.
    pub(super) fn patience(&self, has_stdin: bool) -> &Ticker {
        match has_stdin {
            true => &self.haste,
            false => &self.patience,
        }
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
            entries.live.values().map(|live| live.shared.clone()).collect()
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
    /// How long what a process printed waits to be told.
    pub(super) fn progress(&self) -> &Ticker {
        &self.table.progress
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whose place it is.
    pub(super) fn key(&self) -> ProcessKey {
        let (client, process) = self.key;
        ProcessKey { client, process }
    }

    /// Whether there is a process, and its id so used up.
    pub(super) fn set_started(&mut self, started: bool) {
        self.started = started;
    }

    /// The process is reaped.
    pub(super) fn release(&mut self) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        let mut entries = self.table.lock();
        let live = entries.live.remove(&self.key);
        if self.started
            && let Some(live) = live
        {
            entries.finished.insert(self.key, live.past(), clock::now());
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
    live: HashMap<Key, Live>,
    finished: Finished,
    max_processes: usize,
    closing: bool,
}

#[derive(Debug)]
struct Live {
    shared: Arc<Shared>,
    parameters: Parameters,
}

impl Live {
    /// What stays of it.
    fn past(&self) -> Past {
        Past {
            ended: self.shared.ended(),
            parameters: self.parameters,
        }
    }
}

#[derive(Debug, Clone)]
struct Past {
    ended: Ended,
    parameters: Parameters,
}

impl Entries {
    /// The process of this id, if it is the one that is meant.
    fn find(
        &mut self,
        key: &Key,
        parameters: &Parameters,
        now: Instant,
    ) -> Result<Option<Ended>, StartError> {
        let past = match self.live.get(key) {
            Some(live) => Some(live.past()),
            None => self.finished.find(key, now),
        };
        match past {
            Some(past) if past.parameters == *parameters => Ok(Some(past.ended)),
            Some(_) => Err(StartError::Conflict),
            None => Ok(None),
        }
    }

    fn check_room(&self) -> Result<(), StartError> {
        if self.closing {
            return Err(StartError::ShuttingDown);
        }
        if self.live.len() >= self.max_processes {
            return Err(StartError::TooManyProcesses(self.max_processes));
        }
        Ok(())
    }
}

/// Processes that have ended, for [`FINISHED_FOR`], the last [`FINISHED_MAX`] of them. No clock of its own.
#[derive(Debug, Default)]
struct Finished {
    ids: HashMap<Key, Past>,
    /// Oldest first.
    ages: VecDeque<(Instant, Key)>,
}

impl Finished {
    fn insert(&mut self, key: Key, past: Past, now: Instant) {
        self.expire(now);
        if self.ages.len() >= FINISHED_MAX {
            self.pop();
        }
        if self.ids.insert(key, past).is_none() {
            self.ages.push_back((now, key));
        }
    }

    fn find(&mut self, key: &Key, now: Instant) -> Option<Past> {
        self.expire(now);
        self.ids.get(key).cloned()
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

    const ONE: Parameters = [1; 32];
    const OTHER: Parameters = [2; 32];

    fn new(table: &Arc<ProcessTable>, key: Key, parameters: Parameters, now: Instant) -> Registration {
        match table.register(key, parameters, now).unwrap() {
            Place::New(registration) => registration,
            Place::Taken(_) => panic!("taken"),
        }
    }

    #[test]
    fn an_id_is_taken_while_it_runs_and_after_but_only_for_its_own_client() {
        let table = Arc::new(ProcessTable::new(10));
        let now = Instant::now();
        let is_the_same = |parameters| table.register(key(1, 1), parameters, now);
        let mut first = new(&table, key(1, 1), ONE, now);
        first.set_started(true);
        assert!(matches!(is_the_same(ONE), Ok(Place::Taken(_))));
        assert!(matches!(is_the_same(OTHER), Err(StartError::Conflict)));
        new(&table, key(2, 1), OTHER, now);
        first.release();
        assert!(matches!(is_the_same(ONE), Ok(Place::Taken(_))));
        assert!(matches!(is_the_same(OTHER), Err(StartError::Conflict)));
        let later = Instant::now() + FINISHED_FOR;
        new(&table, key(1, 1), OTHER, later);
    }

    #[test]
    fn an_id_whose_process_never_started_is_free_again() {
        let table = Arc::new(ProcessTable::new(10));
        drop(new(&table, key(1, 1), ONE, Instant::now()));
        new(&table, key(1, 1), OTHER, Instant::now());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn places_are_limited_and_come_back_and_a_repeated_start_needs_none() {
        let table = Arc::new(ProcessTable::new(1));
        let now = Instant::now();
        let one = new(&table, key(1, 1), ONE, now);
        let refused = table.register(key(1, 2), ONE, now);
        assert!(matches!(refused, Err(StartError::TooManyProcesses(1))));
        let again = table.register(key(1, 1), ONE, now);
        assert!(matches!(again, Ok(Place::Taken(_))));
        drop(one);
        new(&table, key(1, 2), ONE, now);
    }

    #[test]
    fn finished_ids_are_bounded_and_the_oldest_goes_first() {
        let mut finished = Finished::default();
        let now = Instant::now();
        let past = Past {
            ended: Shared::new().ended(),
            parameters: ONE,
        };
        for process in 0..=FINISHED_MAX as u32 {
            finished.insert(key(1, process), past.clone(), now);
        }
        assert_eq!(finished.ids.len(), FINISHED_MAX);
        assert!(finished.find(&key(1, 0), now).is_none());
        assert!(finished.find(&key(1, 1), now).is_some());
        let later = now + FINISHED_FOR + Duration::from_secs(1);
        assert!(finished.find(&key(1, 1), later).is_none());
        assert!(finished.ids.is_empty() && finished.ages.is_empty());
    }
}
