//! The machine beside a model that is too simple to be wrong: lists that are walked, nothing kept twice.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_proto::ProcessId;
use baton_trace::call_end::CallEnd;
use baton_trace::outcome::Outcome;

use crate::limits::{ENTRY_BYTES, LINGER, RETRY_AWAITED, RETRY_MAX};
use crate::record::{Owner, ProcessEnd, ProcessKey, ProcessPatch, ThreadKey, ThreadPatch};
use crate::scheduler::*;

/// Something that happens to the machine. Indices count what there is, and wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// A patch of one of a few threads.
    Thread(u8),
    /// Progress of one of a few processes.
    Process(u8),
    /// Its end.
    End(u8),
    Flush,
    Durable,
    /// Time passes until the machine writes, and it begins to.
    Begin,
    Succeed,
    Fail,
    /// The store rejects the flight if it holds the poisonous thread; else it succeeds.
    Judge,
    /// One of those who wait goes away.
    Leave(u8),
    Acknowledge(u8),
}

/// This one can never be written.
pub(super) const POISON: u8 = 3;

/// An update by its number, which is the order in which it was accepted.
pub(super) type UpdateNumber = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ModelKey {
    Thread(u8),
    Process(u8),
}

/// What the model knows of an entry: which updates it holds.
#[derive(Debug, Clone)]
struct ModelEntry {
    key: ModelKey,
    updates: Vec<UpdateNumber>,
    finished: bool,
}

#[derive(Debug, Clone)]
struct PendingBarrier {
    barrier: BarrierId,
    wait: BarrierKind,
    /// Updates accepted before it.
    before: UpdateNumber,
}

/// The machine, its store, and the model of both.
#[derive(Debug, Clone)]
pub(super) struct Model {
    scheduler: WriteScheduler,
    now: Instant,
    taken: Option<TakenBatch>,
    bounds: QueueBounds,
    batch: usize,

    accepted: UpdateNumber,
    pending: Vec<ModelEntry>,
    in_write: Vec<ModelEntry>,
    /// On disk, or given up and counted.
    settled: HashSet<UpdateNumber>,
    on_disk: HashSet<UpdateNumber>,
    unacknowledged: u64,
    waiting: Vec<PendingBarrier>,
    attempts: u64,
    /// What the store holds, by what it was really given.
    disk: BTreeMap<ModelKey, Vec<UpdateNumber>>,
}

impl Model {
    pub(super) fn new(bounds: QueueBounds, batch: usize) -> Self {
        let now = Instant::now();
        let mut scheduler = WriteScheduler::bounded(bounds, batch, now);
        // Upkeep is none of this model's business.
        scheduler.upkeep_due = now + Duration::from_secs(1_000_000);
        Self {
            scheduler,
            now,
            taken: None,
            bounds,
            batch,
            accepted: 0,
            pending: Vec::new(),
            in_write: Vec::new(),
            settled: HashSet::new(),
            on_disk: HashSet::new(),
            unacknowledged: 0,
            waiting: Vec::new(),
            attempts: 0,
            disk: BTreeMap::new(),
        }
    }

    /// Whether it means anything now.
    pub(super) fn is_possible(&self, op: Operation) -> bool {
        match op {
            Operation::Begin => self.taken.is_none() && !self.pending.is_empty(),
            Operation::Succeed | Operation::Fail | Operation::Judge => self.taken.is_some(),
            Operation::Leave(_) => !self.waiting.is_empty(),
            Operation::Acknowledge(_) => self.unacknowledged > 0,
            _ => true,
        }
    }

    pub(super) fn apply(&mut self, op: Operation) {
        match op {
            Operation::Thread(n) => self.accept(ModelKey::Thread(n), false),
            Operation::Process(n) => self.accept(ModelKey::Process(n), false),
            Operation::End(n) => self.accept(ModelKey::Process(n), true),
            Operation::Flush => self.wait(BarrierKind::Report(None)),
            Operation::Durable => self.wait(BarrierKind::Durable),
            Operation::Begin => self.begin(),
            Operation::Succeed => self.succeed(),
            Operation::Fail => self.fail(WriteErrorKind::Io),
            Operation::Judge => {
                let poisoned = |entry: &ModelEntry| entry.key == ModelKey::Thread(POISON);
                match self.in_write.iter().any(poisoned) {
                    true => self.reject(),
                    false => self.succeed(),
                }
            }
            Operation::Leave(n) => {
                let gone = self.waiting.remove(usize::from(n) % self.waiting.len());
                self.scheduler.abandon(gone.barrier);
            }
            Operation::Acknowledge(n) => {
                let count = u64::from(n) % (self.unacknowledged + 1);
                self.unacknowledged -= count;
                self.scheduler.acknowledge(None, count, self.now);
            }
        }
        self.check();
    }

    fn accept(&mut self, key: ModelKey, finished: bool) {
        let number = self.accepted;
        let update = update(key, number, finished);
        let merges = self.pending.iter().position(|entry| entry.key == key);
        let room = match (key, merges) {
            (ModelKey::Process(_), Some(_)) => true,
            (ModelKey::Process(_), None) => {
                let new = ModelEntry {
                    key,
                    updates: vec![number],
                    finished,
                };
                loop {
                    if self.process_bytes() + size(&new) <= self.bounds.process_bytes {
                        break true;
                    }
                    if !self.give_up_oldest() {
                        break false;
                    }
                }
            }
            (ModelKey::Thread(_), _) => {
                // An update of a thread sets one value of its own, always of the same size.
                let before = merges.map_or(0, |entry| size(&self.pending[entry]));
                let mut updates = merges.map_or(vec![], |entry| self.pending[entry].updates.clone());
                updates.push(number);
                let after = size(&ModelEntry {
                    key,
                    updates,
                    finished,
                });
                self.thread_bytes() + after - before <= self.bounds.thread_bytes
            }
        };
        let result = self.scheduler.accept(update, None, self.now);
        if !room {
            assert_eq!(result, Err(AcceptError::Full));
            if let ModelKey::Process(_) = key {
                self.unacknowledged += 1;
            }
            return;
        }
        assert_eq!(result, Ok(()));
        self.accepted += 1;
        match merges {
            Some(entry) => {
                self.pending[entry].updates.push(number);
                self.pending[entry].finished |= finished;
                while self.process_bytes() > self.bounds.process_bytes && self.give_up_oldest() {}
            }
            None => self.pending.push(ModelEntry {
                key,
                updates: vec![number],
                finished,
            }),
        }
    }

    fn give_up_oldest(&mut self) -> bool {
        let Some(oldest) = self.pending.iter().position(|entry| entry.finished) else {
            return false;
        };
        let gone = self.pending.remove(oldest);
        self.settled.extend(gone.updates);
        self.unacknowledged += 1;
        true
    }

    fn wait(&mut self, wait: BarrierKind) {
        let barrier = self.scheduler.wait(wait).unwrap();
        self.waiting.push(PendingBarrier {
            barrier,
            wait,
            before: self.accepted,
        });
    }

    fn begin(&mut self) {
        let taken = loop {
            match self.scheduler.next(self.now) {
                WriterAction::Write(taken) => break taken,
                WriterAction::WriteLosses(losses) => {
                    let losses_written: u64 = losses.iter().map(|(_, records)| records).sum();
                    assert_eq!(losses_written, self.unacknowledged);
                    self.scheduler.losses_written(&losses, &Ok(()), self.now);
                }
                WriterAction::Sleep(until) => {
                    assert!(until > self.now, "it would spin");
                    assert!(
                        self.waiting.is_empty() || until - self.now <= RETRY_AWAITED,
                        "somebody waits and it sleeps on"
                    );
                    assert!(until - self.now <= RETRY_MAX.max(LINGER));
                    self.now = until;
                }
                other => panic!("{other:?} while something waits"),
            }
        };
        self.in_write = self.pending.drain(..taken.len()).collect();
        self.taken = Some(taken);
    }

    fn succeed(&mut self) {
        let taken = self.taken.take().unwrap();
        self.attempts += 1;
        self.keep(&taken);
        for entry in std::mem::take(&mut self.in_write) {
            self.settled.extend(&entry.updates);
            self.on_disk.extend(entry.updates);
        }
        let written = WriteSummary { rows: 0 };
        let _ = self.scheduler.finish(taken, Ok(written), self.now);
    }

    fn keep(&mut self, taken: &TakenBatch) {
        for thread in &taken.batch.threads {
            let key = ModelKey::Thread(thread.key.thread_id.parse().unwrap());
            let numbers = thread.values.keys().map(|key| key.trim().parse().unwrap());
            self.disk
                .entry(key)
                .or_default()
                .extend(numbers.collect::<Vec<UpdateNumber>>());
        }
        for process in &taken.batch.processes {
            let key = ModelKey::Process(process.key.process_id.0[0]);
            self.disk.entry(key).or_default().push(process.last_seq - 1);
        }
    }

    fn fail(&mut self, kind: WriteErrorKind) {
        let taken = self.taken.take().unwrap();
        self.attempts += 1;
        // What the barriers that cover a part of it have to say.
        let first = self
            .in_write
            .iter()
            .flat_map(|entry| &entry.updates)
            .min()
            .copied()
            .unwrap();
        let cause = WriteError::new(kind, self.attempts.to_string());
        let _ = self.scheduler.finish(taken, Err(cause.clone()), self.now);
        let over = self.scheduler.over();
        let covering =
            |waiting: &PendingBarrier| waiting.wait == BarrierKind::Report(None) && first < waiting.before;
        let (reported, stay): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(covering);
        self.waiting = stay;
        assert_eq!(over.len(), reported.len(), "{over:?} {reported:?}");
        for waiting in reported {
            let expected = Err(FlushError::Failed {
                cause: cause.clone(),
                dropped: self.unacknowledged,
            });
            let (_, result) = over
                .iter()
                .find(|(barrier, _)| *barrier == waiting.barrier)
                .unwrap();
            assert_eq!(*result, expected);
        }
        self.fall_back();
    }

    /// What failed waits again, before everything else, and what came after it is part of it.
    fn fall_back(&mut self) {
        let mut back = std::mem::take(&mut self.in_write);
        for entry in &mut back {
            if let Some(later) = self.pending.iter().position(|later| later.key == entry.key) {
                let later = self.pending.remove(later);
                entry.updates.extend(later.updates);
                entry.finished |= later.finished;
            }
        }
        back.append(&mut self.pending);
        self.pending = back;
    }

    fn reject(&mut self) {
        if self.in_write.len() == 1 {
            let poison = self.in_write[0].clone();
            let taken = self.taken.take().unwrap();
            self.attempts += 1;
            let cause = WriteError::new(WriteErrorKind::Rejected, self.attempts.to_string());
            let dropped = self.unacknowledged;
            let _ = self.scheduler.finish(taken, Err(cause.clone()), self.now);
            self.in_write.clear();
            self.settled.extend(&poison.updates);
            self.unacknowledged += 1;
            let first = poison.updates.iter().min().unwrap();
            let covering = |waiting: &PendingBarrier| {
                waiting.wait == BarrierKind::Report(None) && *first < waiting.before
            };
            let (reported, stay): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(covering);
            self.waiting = stay;
            let over = self.scheduler.over();
            for waiting in reported {
                let expected = Err(FlushError::Failed {
                    cause: cause.clone(),
                    dropped,
                });
                assert!(over.contains(&(waiting.barrier, expected)));
            }
            // Durable ones may be over by it.
            self.judge_over(over.into_iter().filter(|(_, result)| result.is_ok()).collect());
            return;
        }
        // Nobody hears of it yet: only one of them is to blame.
        let taken = self.taken.take().unwrap();
        let half = taken.len() / 2;
        let cause = WriteError::new(WriteErrorKind::Rejected, "one of these");
        let _ = self.scheduler.finish(taken, Err(cause), self.now);
        assert!(self.scheduler.over().is_empty());
        assert_eq!(self.scheduler.batch, half);
        self.fall_back();
    }

    /// Every barrier is over exactly when everything before it is settled.
    fn check(&mut self) {
        let over = self.scheduler.over();
        self.judge_over(over);
        for waiting in &self.waiting {
            assert!(
                (0..waiting.before).any(|number| !self.settled.contains(&number)),
                "nothing stands before {waiting:?}, and it waits"
            );
        }
        assert_eq!(self.scheduler.dropped(), self.unacknowledged);
        assert_eq!(self.scheduler.waiting(), self.pending.len());
        assert_eq!(
            self.scheduler.queue.bytes(),
            self.process_bytes() + self.thread_bytes()
        );
        assert!(self.taken.as_ref().map_or(0, TakenBatch::len) <= self.batch);
        for number in &self.on_disk {
            assert!(self.is_kept(*number), "{number} is not where it was said to be");
        }
    }

    fn judge_over(&mut self, over: Vec<(BarrierId, Result<Flushed, FlushError>)>) {
        for (barrier, result) in over {
            let index = self.waiting.iter().position(|waiting| waiting.barrier == barrier);
            let waiting = self.waiting.remove(index.expect("nobody waits"));
            for number in 0..waiting.before {
                assert!(
                    self.settled.contains(&number),
                    "{number} is not settled: {waiting:?}"
                );
            }
            match (waiting.wait, self.unacknowledged) {
                (BarrierKind::Report(None), count) if count > 0 => {
                    assert_eq!(result, Err(FlushError::Dropped { count }));
                }
                _ => assert!(result.is_ok(), "{result:?}"),
            }
        }
    }

    /// Whether what the store was given holds the effect of an update: of a process the last one counts.
    fn is_kept(&self, number: UpdateNumber) -> bool {
        self.disk.iter().any(|(key, numbers)| match key {
            ModelKey::Thread(_) => numbers.contains(&number),
            ModelKey::Process(_) => numbers.iter().any(|kept| *kept >= number),
        })
    }

    fn process_bytes(&self) -> usize {
        self.bytes(|key| matches!(key, ModelKey::Process(_)))
    }

    fn thread_bytes(&self) -> usize {
        self.bytes(|key| matches!(key, ModelKey::Thread(_)))
    }

    fn bytes(&self, wanted: impl Fn(ModelKey) -> bool) -> usize {
        let all = self.pending.iter().chain(&self.in_write);
        all.filter(|entry| wanted(entry.key)).map(size).sum()
    }

    /// A disk that works again, and one barrier: whatever happened before, it ends, and says how many are missing.
    pub(super) fn recover(&mut self) {
        let done = self.accepted;
        if self.taken.is_some() {
            self.apply(Operation::Fail);
        }
        self.apply(Operation::Flush);
        // At most as many as halving needs, and one for each of the rest.
        for _ in 0..64 {
            if !self.is_possible(Operation::Begin) {
                break;
            }
            self.apply(Operation::Begin);
            self.apply(Operation::Judge);
        }
        assert!(self.pending.is_empty() && self.waiting.is_empty());
        assert!((0..done).all(|number| self.settled.contains(&number)));
    }
}

/// What a waiting entry costs, by the sizes that the patches themselves report.
fn size(entry: &ModelEntry) -> usize {
    let mut patches = entry
        .updates
        .iter()
        .map(|number| update(entry.key, *number, false));
    let own = match entry.key {
        ModelKey::Process(_) => 0,
        ModelKey::Thread(_) => {
            let Some(Update::Thread(mut first)) = patches.next() else {
                unreachable!("an entry holds an update of its own kind")
            };
            for later in patches {
                let Update::Thread(later) = later else {
                    unreachable!()
                };
                first.merge(later);
            }
            first.size() - std::mem::size_of::<ThreadPatch>()
        }
    };
    // An end without a message and timings points to nothing.
    ENTRY_BYTES + own
}

pub(super) fn update(key: ModelKey, number: UpdateNumber, finished: bool) -> Update {
    let owner = Owner([7; 32]);
    match key {
        ModelKey::Thread(n) => {
            let thread_id = Arc::from(n.to_string());
            let mut patch = ThreadPatch::touch(ThreadKey { owner, thread_id }, number);
            patch
                .values
                .insert(format!("{number:8}").into(), Some("v".into()));
            Update::Thread(patch)
        }
        ModelKey::Process(n) => {
            let process_id = ProcessId([n; 16]);
            let mut patch = ProcessPatch::new(ProcessKey { owner, process_id });
            patch.last_seq = number + 1;
            patch.end = finished.then_some(ProcessEnd {
                outcome: Outcome::killed(CallEnd::Reset),
                message: None,
                ended_unix_ns: number,
                stdout_bytes: 0,
                stderr_bytes: 0,
                family: None,
                timings: None,
            });
            Update::Process(patch)
        }
    }
}
