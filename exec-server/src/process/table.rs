//! All processes of this server, by client and id, from before their spawn until they are reaped, the terminations of
//! those that [`finished`] recently, so that a repeated start never runs a command twice, and the logs that are [`kept`]
//! of some of these. `shares` limits what one client may have of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use baton_channel::key::PublicKey;
use baton_export::clock;
use baton_proto::ProcessId;
use baton_proto::exec::{Process, Repeated};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::sleep;

use self::finished::{Digest, FinishedProcess, FinishedProcesses};
use self::kept::KeptProcesses;
use super::repeated::RepeatedStart;
use super::retention::{KeepBudget, KeptBytes, RetainedBytes, RetentionBudget};
use super::shares::{ClientUsage, Clients, Resource, may_take, shortfall};
use super::signal::ClientSignal;
use super::state::ProcessState;
use super::ticker::Ticker;
use crate::error::{SignalError, StartError};
use crate::limits::{
    FINISHED_AT_LEAST, FINISHED_MAX, KEPT_SWEEP, PROGRESS_EVERY, SHUTDOWN_TIMEOUT, STARTED_DELAY,
    STARTED_DELAY_STDIN,
};
use crate::records::ProcessKey;

mod finished;
mod kept;

/// A process id, in its client's scope.
type Key = (PublicKey, ProcessId);

/// Distinguishes a start from another one with the same id.
type Parameters = [u8; 32];

/// The result of a registration.
#[derive(Debug)]
pub(super) enum StartEntry {
    /// Room for it.
    New(Registration),
    /// The start repeats this one, whose process runs or ran.
    Existing(RepeatedStart, Repeated),
}

/// A process that a call asks for.
#[derive(Debug)]
pub(super) enum Known {
    /// It runs, or its log is kept.
    State(Arc<ProcessState>),
    /// It has ended, and its log is not kept any more.
    Finished(RepeatedStart),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ProcessTable {
    entries: Mutex<Entries>,
    retention: Arc<RetentionBudget>,
    keeping: Arc<KeepBudget>,
    emptied: Notify,
    /// The delay of `Started`, to share a message with further events.
    started_delay: Ticker,
    /// The delay of `Started` for a client that sends stdin.
    started_delay_stdin: Ticker,
    /// The delay of a report of the last `seq`, to include further events.
    progress: Ticker,
}

impl ProcessTable {
    pub(crate) fn new(max_processes: usize) -> Self {
        Self {
            entries: Mutex::new(Entries {
                live: HashMap::new(),
                finished: FinishedProcesses::default(),
                kept: KeptProcesses::default(),
                is_swept: false,
                clients: Clients::default(),
                max_processes,
                closing: false,
            }),
            retention: Arc::default(),
            keeping: Arc::default(),
            emptied: Notify::new(),
            started_delay: Ticker::new(STARTED_DELAY / 2),
            started_delay_stdin: Ticker::new(STARTED_DELAY_STDIN / 2),
            progress: Ticker::new(PROGRESS_EVERY / 2),
        }
    }

    /// As [`ExecService::kept_bytes`](crate::ExecService::kept_bytes).
    pub(crate) fn set_kept_bytes(&self, bytes: usize) {
        self.keeping.set_limit(bytes);
    }

    /// Takes an id and a slot for a process that is about to be spawned, unless this start repeats an earlier one. `user`
    /// is the one that the process runs as, where it is not the server's own.
    pub(super) fn register(
        self: &Arc<Self>,
        key: Key,
        user: Option<Arc<str>>,
        parameters: Parameters,
        now: Instant,
    ) -> Result<StartEntry, StartError> {
        let mut entries = self.lock();
        let client = entries.clients.client(&key.0);
        if let Some((repeated, told)) = entries.find(&key, &client, &parameters)? {
            return Ok(StartEntry::Existing(repeated, told));
        }
        entries.make_room(&client, now)?;
        client.take(Resource::Processes, 1);
        client.take(Resource::ProcessIds, 1);
        let retained = RetainedBytes::new(Arc::clone(&self.retention), Arc::clone(&client));
        let kept = KeptBytes::new(Arc::clone(&self.keeping), Arc::clone(&client));
        let state = Arc::new(ProcessState::new(user, retained, kept));
        let live = LiveProcess {
            state: state.clone(),
            parameters,
        };
        entries.live.insert(key, live);
        Ok(StartEntry::New(Registration {
            table: self.clone(),
            key,
            client,
            state,
            stage: RegistrationStage::Reserved,
        }))
    }

    /// Keeps no longer what this client has received: the processes with these ids, one after another.
    pub(super) fn received(&self, client: &PublicKey, ids: &[u8]) {
        let (ids, _) = ids.as_chunks();
        if ids.is_empty() {
            return;
        }
        let mut entries = self.lock();
        for id in ids {
            entries.kept.remove(client, ProcessId(*id));
        }
    }

    /// Sends a signal to a client's process.
    pub(crate) fn signal(&self, process: ProcessKey, signal: ClientSignal) -> Result<(), SignalError> {
        let key = (process.client, process.process);
        let state = self.lock().live.get(&key).map(|live| live.state.clone());
        state.ok_or(SignalError::UnknownProcess)?.signal(signal);
        Ok(())
    }

    /// At most `limit` of a client's processes that were created, in the order of their ids, from the first one after
    /// `after`. Returns whether there are more.
    pub(crate) fn list(
        &self,
        client: &PublicKey,
        after: Option<ProcessId>,
        limit: usize,
    ) -> (Vec<Process>, bool) {
        let mut found: Vec<_> = {
            let entries = self.lock();
            let own = entries
                .live
                .iter()
                .filter(|((owner, id), _)| owner == client && after.is_none_or(|after| *id > after));
            own.map(|((_, id), live)| (*id, live.state.clone())).collect()
        };
        found.sort_unstable_by_key(|(id, _)| *id);
        let mut listed = found.into_iter().filter_map(|(id, state)| {
            let process_id = id.0.to_vec().into();
            Some(Process {
                process_id,
                ..state.listed()?
            })
        });
        let page = listed.by_ref().take(limit).collect();
        (page, listed.next().is_some())
    }

    /// The process with this id, if it runs or ended recently.
    pub(super) fn find(&self, key: &Key) -> Option<Known> {
        let mut entries = self.lock();
        if let Some(live) = entries.live.get(key) {
            return Some(Known::State(Arc::clone(&live.state)));
        }
        if let Some(state) = entries.kept.find(key) {
            return Some(Known::State(Arc::clone(state)));
        }
        let client = entries.clients.client(&key.0);
        let finished = entries.finished.find(&client, key.1)?;
        Some(Known::Finished(RepeatedStart::of_finished(finished.termination)))
    }

    /// Sweeps what is kept until there is nothing more. One task does at a time.
    async fn sweep(table: Weak<Self>) {
        loop {
            sleep(KEPT_SWEEP).await;
            let Some(table) = table.upgrade() else { return };
            let mut entries = table.lock();
            entries.kept.sweep(clock::now());
            if entries.kept.is_empty() {
                entries.is_swept = false;
                return;
            }
        }
    }

    /// The delay of `Started`.
    pub(super) fn started_delay(&self, has_stdin: bool) -> &Ticker {
        match has_stdin {
            true => &self.started_delay_stdin,
            false => &self.started_delay,
        }
    }

    /// Processes alive, those being killed included.
    pub(crate) fn len(&self) -> usize {
        self.lock().live.len()
    }

    /// Refuses new processes, kills all processes, and waits until they are reaped, at most [`SHUTDOWN_TIMEOUT`].
    /// Returns how many are left: 0 unless the kernel cannot end one.
    pub(crate) async fn shutdown(&self) -> usize {
        let live: Vec<_> = {
            let mut entries = self.lock();
            entries.closing = true;
            entries.live.values().map(|live| live.state.clone()).collect()
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

/// The slot of one process. Dropping it frees the slot. The id stays taken for a while if the process was started.
#[derive(Debug)]
pub(super) struct Registration {
    table: Arc<ProcessTable>,
    key: Key,
    client: Arc<ClientUsage>,
    state: Arc<ProcessState>,
    stage: RegistrationStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RegistrationStage {
    /// No process was started: the id becomes free with the slot.
    Reserved,
    /// A process was started, so its id stays taken.
    Started,
    Released,
}

impl Registration {
    /// The delay of a report of the last `seq`.
    pub(super) fn progress(&self) -> &Ticker {
        &self.table.progress
    }

    pub(super) fn state(&self) -> &Arc<ProcessState> {
        &self.state
    }

    /// The process that has the slot.
    pub(super) fn key(&self) -> ProcessKey {
        let (client, process) = self.key;
        ProcessKey { client, process }
    }

    /// There is a process, and so its id is used up.
    pub(super) fn set_started(&mut self) {
        self.stage = RegistrationStage::Started;
    }

    /// The process could not execute its program: its id may be used again.
    pub(super) fn set_not_started(&mut self) {
        self.stage = RegistrationStage::Reserved;
    }

    /// The process is reaped.
    pub(super) fn release(&mut self) {
        self.release_at(clock::now());
    }

    fn release_at(&mut self, now: Instant) {
        let stage = std::mem::replace(&mut self.stage, RegistrationStage::Released);
        if stage == RegistrationStage::Released {
            return;
        }
        let mut entries = self.table.lock();
        let live = entries.live.remove(&self.key);
        self.client.give_back(Resource::Processes, 1);
        match live {
            Some(live) if stage == RegistrationStage::Started => {
                entries.finished.insert(FinishedProcess {
                    client: Arc::clone(&self.client),
                    id: self.key.1,
                    digest: digest(&live.parameters),
                    termination: live.state.termination(),
                    at: now,
                });
                let client = Arc::clone(&self.client);
                entries.kept.insert(self.key, live.state, client, now);
                let needs_sweeper = !entries.is_swept && !entries.kept.is_empty();
                if needs_sweeper && let Ok(runtime) = Handle::try_current() {
                    entries.is_swept = true;
                    runtime.spawn(ProcessTable::sweep(Arc::downgrade(&self.table)));
                }
            }
            _ => self.client.give_back(Resource::ProcessIds, 1),
        }
        if entries.live.is_empty() {
            self.table.emptied.notify_waiters();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A released one may be dropped with its thread, when tokio's clock is gone.
        if self.stage != RegistrationStage::Released {
            self.release();
        }
    }
}

#[derive(Debug)]
struct Entries {
    live: HashMap<Key, LiveProcess>,
    finished: FinishedProcesses,
    kept: KeptProcesses,
    /// A task sweeps what is kept.
    is_swept: bool,
    clients: Clients,
    max_processes: usize,
    closing: bool,
}

#[derive(Debug)]
struct LiveProcess {
    state: Arc<ProcessState>,
    parameters: Parameters,
}

/// Distinguishes finished commands of one client.
fn digest(parameters: &Parameters) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&parameters[..size_of::<Digest>()]);
    digest
}

impl Entries {
    /// The process with this id, if its parameters are equal.
    fn find(
        &self,
        key: &Key,
        client: &Arc<ClientUsage>,
        parameters: &Parameters,
    ) -> Result<Option<(RepeatedStart, Repeated)>, StartError> {
        let (is_meant, repeated, told) = match self.live.get(key) {
            Some(live) => (
                live.parameters == *parameters,
                live.state.repeated(),
                live.state.as_repeated(),
            ),
            None => match self.finished.find(client, key.1) {
                Some(process) => (
                    process.digest == digest(parameters),
                    RepeatedStart::of_finished(process.termination),
                    self.kept
                        .find(key)
                        .map(|state| state.as_repeated())
                        .unwrap_or_default(),
                ),
                None => return Ok(None),
            },
        };
        match is_meant {
            true => Ok(Some((repeated, told))),
            false => Err(StartError::Conflict),
        }
    }

    /// Makes room for a process of this client and its id. An error says why there is none.
    fn make_room(&mut self, client: &ClientUsage, now: Instant) -> Result<(), StartError> {
        if self.closing {
            return Err(StartError::ShuttingDown);
        }
        let (running, limit) = (client.holds(Resource::Processes), self.max_processes);
        if self.live.len() >= limit {
            return Err(StartError::TooManyProcesses(limit));
        }
        if !may_take(running, self.live.len(), limit) {
            return Err(StartError::TooManyOfClient { running, limit });
        }
        loop {
            let (own, taken) = (
                client.holds(Resource::ProcessIds),
                self.live.len() + self.finished.len(),
            );
            if may_take(own, taken, FINISHED_MAX) {
                return Ok(());
            }
            if !self.finished.make_room(now) {
                let room_in = self.finished.room_in(now, shortfall(own, taken, FINISHED_MAX));
                // With fewer finished processes, running ones have to end first.
                let retry_after = room_in.unwrap_or(FINISHED_AT_LEAST);
                return Err(StartError::TooManyStarts { retry_after });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::{FINISHED_FOR, FINISHED_PER_SECOND};

    fn key(client: u8, process: u32) -> Key {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&process.to_be_bytes());
        (PublicKey::from_bytes([client; 32]), ProcessId(id))
    }

    const ONE: Parameters = [1; 32];
    const OTHER: Parameters = [2; 32];

    fn new(table: &Arc<ProcessTable>, key: Key, parameters: Parameters, now: Instant) -> Registration {
        match table.register(key, None, parameters, now).unwrap() {
            StartEntry::New(registration) => registration,
            StartEntry::Existing(..) => panic!("taken"),
        }
    }

    #[test]
    fn an_id_is_taken_while_it_runs_and_after_but_only_for_its_own_client() {
        let table = Arc::new(ProcessTable::new(10));
        let now = Instant::now();
        let is_the_same = |parameters| table.register(key(1, 1), None, parameters, now);
        let mut first = new(&table, key(1, 1), ONE, now);
        first.set_started();
        assert!(matches!(is_the_same(ONE), Ok(StartEntry::Existing(..))));
        assert!(matches!(is_the_same(OTHER), Err(StartError::Conflict)));
        new(&table, key(2, 1), OTHER, now);
        first.release();
        assert!(matches!(is_the_same(ONE), Ok(StartEntry::Existing(..))));
        assert!(matches!(is_the_same(OTHER), Err(StartError::Conflict)));
        // An old id is forgotten when another one is inserted.
        let later = Instant::now() + FINISHED_FOR;
        runs(&table, key(1, 2), later).unwrap();
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
    fn slots_are_limited_and_reused_and_a_repeated_start_needs_none() {
        let table = Arc::new(ProcessTable::new(1));
        let now = Instant::now();
        let one = new(&table, key(1, 1), ONE, now);
        let refused = table.register(key(1, 2), None, ONE, now);
        assert!(matches!(refused, Err(StartError::TooManyProcesses(1))));
        let again = table.register(key(1, 1), None, ONE, now);
        assert!(matches!(again, Ok(StartEntry::Existing(..))));
        drop(one);
        new(&table, key(1, 2), ONE, now);
    }

    #[test]
    fn one_clients_processes_leave_places_to_others() {
        let table = Arc::new(ProcessTable::new(256));
        let now = Instant::now();
        let mut held = Vec::new();
        let refusal = loop {
            match table.register(key(1, held.len() as u32), None, ONE, now) {
                Ok(StartEntry::New(registration)) => held.push(registration),
                Ok(StartEntry::Existing(..)) => panic!("taken"),
                Err(error) => break error,
            }
        };
        assert_eq!(held.len(), 192);
        let expected = StartError::TooManyOfClient {
            running: 192,
            limit: 256,
        };
        assert_eq!(refusal.to_string(), expected.to_string());
        for client in 2..10 {
            held.push(new(&table, key(client, 1), ONE, now));
        }
        // It may start again when others have left enough slots free.
        held.drain(..20);
        new(&table, key(1, 1000), ONE, now);
    }

    /// Starts a process that ends at once.
    fn runs(table: &Arc<ProcessTable>, key: Key, now: Instant) -> Result<(), StartError> {
        match table.register(key, None, ONE, now)? {
            StartEntry::New(mut registration) => {
                registration.set_started();
                registration.release_at(now);
                Ok(())
            }
            StartEntry::Existing(..) => panic!("taken"),
        }
    }

    #[test]
    fn an_id_is_remembered_for_two_minutes_at_3000_starts_a_second_and_beyond_that_starts_are_refused() {
        let table = Arc::new(ProcessTable::new(10));
        let start = Instant::now();
        let at = |n: u32| start + Duration::from_secs(1) * n / FINISHED_PER_SECOND as u32;
        let all = FINISHED_PER_SECOND as u32 * FINISHED_AT_LEAST.as_secs() as u32;
        for n in 0..all {
            runs(&table, key(1, n), at(n)).unwrap();
        }
        let first = |now| table.register(key(1, 0), None, ONE, now);
        assert!(matches!(first(at(all - 1)), Ok(StartEntry::Existing(..))));
        // It may continue at this rate.
        for n in all..all + 2 * FINISHED_PER_SECOND as u32 {
            runs(&table, key(1, n), at(n)).unwrap();
        }
        // A higher rate is refused.
        let now = at(all + 2 * FINISHED_PER_SECOND as u32);
        let (mut n, mut wait) = (all + 2 * FINISHED_PER_SECOND as u32, None);
        while wait.is_none() {
            n += 1;
            match runs(&table, key(1, n), now) {
                Ok(()) => {}
                Err(StartError::TooManyStarts { retry_after }) => wait = Some(retry_after),
                Err(error) => panic!("{error}"),
            }
        }
        let wait = wait.unwrap();
        assert!(wait > Duration::ZERO && wait <= FINISHED_AT_LEAST, "{wait:?}");
        // Other clients can start processes, and no id of the first client was forgotten for them.
        for n in 0..1000 {
            runs(&table, key(2, n), now).unwrap();
        }
        let known = table.register(key(1, 2 * FINISHED_PER_SECOND as u32 + 1), None, ONE, now);
        assert!(matches!(known, Ok(StartEntry::Existing(..))));
        // They have taken some of the room that the hint was computed from. The next hint is longer, and correct.
        let Err(StartError::TooManyStarts { retry_after }) = runs(&table, key(1, n + 1), now) else {
            panic!("there is room")
        };
        assert!(
            retry_after > wait && retry_after <= FINISHED_AT_LEAST,
            "{retry_after:?}"
        );
        runs(&table, key(1, n + 1), now + retry_after).unwrap();
    }
}
