//! The machine beside a model that is too simple to be wrong: lists that are walked, nothing kept twice.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_proto::ProcessId;

use crate::limits::{ENTRY_BYTES, LINGER, RETRY_AWAITED, RETRY_MAX};
use crate::machine::*;
use crate::record::{
    KilledStatus, Outcome, Owner, ProcessEnd, ProcessKey, ProcessPatch, ThreadKey, ThreadPatch,
};

/// Something that happens to the machine. Indices count what there is, and wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
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
pub(super) type Number = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Thread(u8),
    Process(u8),
}

/// What the model knows of an entry: which updates it holds.
#[derive(Debug, Clone)]
struct Entry {
    key: Key,
    updates: Vec<Number>,
    finished: bool,
}

#[derive(Debug, Clone)]
struct Waiting {
    ticket: Ticket,
    wait: Wait,
    /// Updates accepted before it.
    before: Number,
}

/// The machine, its store, and the model of both.
#[derive(Debug, Clone)]
pub(super) struct World {
    machine: Machine,
    now: Instant,
    flight: Option<Flight>,
    bounds: Bounds,
    batch: usize,

    accepted: Number,
    pending: Vec<Entry>,
    flying: Vec<Entry>,
    /// On disk, or given up and counted.
    settled: HashSet<Number>,
    on_disk: HashSet<Number>,
    unacknowledged: u64,
    waiting: Vec<Waiting>,
    attempts: u64,
    /// What the store holds, by what it was really given.
    disk: BTreeMap<Key, Vec<Number>>,
}

impl World {
    pub(super) fn new(bounds: Bounds, batch: usize) -> Self {
        let now = Instant::now();
        let mut machine = Machine::bounded(bounds, batch, now);
        // Upkeep is none of this model's business.
        machine.upkeep_due = now + Duration::from_secs(1_000_000);
        Self {
            machine,
            now,
            flight: None,
            bounds,
            batch,
            accepted: 0,
            pending: Vec::new(),
            flying: Vec::new(),
            settled: HashSet::new(),
            on_disk: HashSet::new(),
            unacknowledged: 0,
            waiting: Vec::new(),
            attempts: 0,
            disk: BTreeMap::new(),
        }
    }

    /// Whether it means anything now.
    pub(super) fn is_possible(&self, op: Op) -> bool {
        match op {
            Op::Begin => self.flight.is_none() && !self.pending.is_empty(),
            Op::Succeed | Op::Fail | Op::Judge => self.flight.is_some(),
            Op::Leave(_) => !self.waiting.is_empty(),
            Op::Acknowledge(_) => self.unacknowledged > 0,
            _ => true,
        }
    }

    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::Thread(n) => self.accept(Key::Thread(n), false),
            Op::Process(n) => self.accept(Key::Process(n), false),
            Op::End(n) => self.accept(Key::Process(n), true),
            Op::Flush => self.wait(Wait::Report(None)),
            Op::Durable => self.wait(Wait::Durable),
            Op::Begin => self.begin(),
            Op::Succeed => self.succeed(),
            Op::Fail => self.fail(WriteErrorKind::Io),
            Op::Judge => {
                let poisoned = |entry: &Entry| entry.key == Key::Thread(POISON);
                match self.flying.iter().any(poisoned) {
                    true => self.reject(),
                    false => self.succeed(),
                }
            }
            Op::Leave(n) => {
                let gone = self.waiting.remove(usize::from(n) % self.waiting.len());
                self.machine.abandon(gone.ticket);
            }
            Op::Acknowledge(n) => {
                let count = u64::from(n) % (self.unacknowledged + 1);
                self.unacknowledged -= count;
                self.machine.acknowledge(None, count, self.now);
            }
        }
        self.check();
    }

    fn accept(&mut self, key: Key, finished: bool) {
        let number = self.accepted;
        let update = update(key, number, finished);
        let merges = self.pending.iter().position(|entry| entry.key == key);
        let room = match (key, merges) {
            (Key::Process(_), Some(_)) => true,
            (Key::Process(_), None) => {
                let new = Entry {
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
            (Key::Thread(_), _) => {
                // An update of a thread sets one value of its own, always of the same size.
                let before = merges.map_or(0, |entry| size(&self.pending[entry]));
                let mut updates = merges.map_or(vec![], |entry| self.pending[entry].updates.clone());
                updates.push(number);
                let after = size(&Entry {
                    key,
                    updates,
                    finished,
                });
                self.thread_bytes() + after - before <= self.bounds.thread_bytes
            }
        };
        let result = self.machine.accept(update, None, self.now);
        if !room {
            assert_eq!(result, Err(Refused::Full));
            if let Key::Process(_) = key {
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
            None => self.pending.push(Entry {
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

    fn wait(&mut self, wait: Wait) {
        let ticket = self.machine.wait(wait).unwrap();
        self.waiting.push(Waiting {
            ticket,
            wait,
            before: self.accepted,
        });
    }

    fn begin(&mut self) {
        let flight = loop {
            match self.machine.next(self.now) {
                Next::Write(flight) => break flight,
                Next::Note(losses) => {
                    let noted: u64 = losses.iter().map(|(_, records)| records).sum();
                    assert_eq!(noted, self.unacknowledged);
                    self.machine.noted(&losses, &Ok(()), self.now);
                }
                Next::Sleep(until) => {
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
        self.flying = self.pending.drain(..flight.len()).collect();
        self.flight = Some(flight);
    }

    fn succeed(&mut self) {
        let flight = self.flight.take().unwrap();
        self.attempts += 1;
        self.keep(&flight);
        for entry in std::mem::take(&mut self.flying) {
            self.settled.extend(&entry.updates);
            self.on_disk.extend(entry.updates);
        }
        let written = Written { rows: 0 };
        let _ = self.machine.finish(flight, Ok(written), self.now);
    }

    fn keep(&mut self, flight: &Flight) {
        for thread in &flight.batch.threads {
            let key = Key::Thread(thread.key.thread_id.parse().unwrap());
            let numbers = thread.values.keys().map(|key| key.trim().parse().unwrap());
            self.disk
                .entry(key)
                .or_default()
                .extend(numbers.collect::<Vec<Number>>());
        }
        for process in &flight.batch.processes {
            let key = Key::Process(process.key.process_id.0[0]);
            self.disk.entry(key).or_default().push(process.last_seq - 1);
        }
    }

    fn fail(&mut self, kind: WriteErrorKind) {
        let flight = self.flight.take().unwrap();
        self.attempts += 1;
        // What the barriers that cover a part of it have to say.
        let first = self
            .flying
            .iter()
            .flat_map(|entry| &entry.updates)
            .min()
            .copied()
            .unwrap();
        let cause = WriteError::new(kind, self.attempts.to_string());
        let _ = self.machine.finish(flight, Err(cause.clone()), self.now);
        let over = self.machine.over();
        let covering = |waiting: &Waiting| waiting.wait == Wait::Report(None) && first < waiting.before;
        let (reported, stay): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(covering);
        self.waiting = stay;
        assert_eq!(over.len(), reported.len(), "{over:?} {reported:?}");
        for waiting in reported {
            let expected = Err(FlushError::Failed {
                cause: cause.clone(),
                dropped: self.unacknowledged,
            });
            let (_, result) = over.iter().find(|(ticket, _)| *ticket == waiting.ticket).unwrap();
            assert_eq!(*result, expected);
        }
        self.fall_back();
    }

    /// What failed waits again, before everything else, and what came after it is part of it.
    fn fall_back(&mut self) {
        let mut back = std::mem::take(&mut self.flying);
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
        if self.flying.len() == 1 {
            let poison = self.flying[0].clone();
            let flight = self.flight.take().unwrap();
            self.attempts += 1;
            let cause = WriteError::new(WriteErrorKind::Rejected, self.attempts.to_string());
            let dropped = self.unacknowledged;
            let _ = self.machine.finish(flight, Err(cause.clone()), self.now);
            self.flying.clear();
            self.settled.extend(&poison.updates);
            self.unacknowledged += 1;
            let first = poison.updates.iter().min().unwrap();
            let covering = |waiting: &Waiting| waiting.wait == Wait::Report(None) && *first < waiting.before;
            let (reported, stay): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(covering);
            self.waiting = stay;
            let over = self.machine.over();
            for waiting in reported {
                let expected = Err(FlushError::Failed {
                    cause: cause.clone(),
                    dropped,
                });
                assert!(over.contains(&(waiting.ticket, expected)));
            }
            // Durable ones may be over by it.
            self.judge_over(over.into_iter().filter(|(_, result)| result.is_ok()).collect());
            return;
        }
        // Nobody hears of it yet: only one of them is to blame.
        let flight = self.flight.take().unwrap();
        let half = flight.len() / 2;
        let cause = WriteError::new(WriteErrorKind::Rejected, "one of these");
        let _ = self.machine.finish(flight, Err(cause), self.now);
        assert!(self.machine.over().is_empty());
        assert_eq!(self.machine.batch, half);
        self.fall_back();
    }

    /// Every barrier is over exactly when everything before it is settled.
    fn check(&mut self) {
        let over = self.machine.over();
        self.judge_over(over);
        for waiting in &self.waiting {
            assert!(
                (0..waiting.before).any(|number| !self.settled.contains(&number)),
                "nothing stands before {waiting:?}, and it waits"
            );
        }
        assert_eq!(self.machine.dropped(), self.unacknowledged);
        assert_eq!(self.machine.waiting(), self.pending.len());
        assert_eq!(
            self.machine.queue.bytes(),
            self.process_bytes() + self.thread_bytes()
        );
        assert!(self.flight.as_ref().map_or(0, Flight::len) <= self.batch);
        for number in &self.on_disk {
            assert!(self.is_kept(*number), "{number} is not where it was said to be");
        }
    }

    fn judge_over(&mut self, over: Vec<(Ticket, Result<Flushed, FlushError>)>) {
        for (ticket, result) in over {
            let index = self.waiting.iter().position(|waiting| waiting.ticket == ticket);
            let waiting = self.waiting.remove(index.expect("nobody waits"));
            for number in 0..waiting.before {
                assert!(
                    self.settled.contains(&number),
                    "{number} is not settled: {waiting:?}"
                );
            }
            match (waiting.wait, self.unacknowledged) {
                (Wait::Report(None), count) if count > 0 => {
                    assert_eq!(result, Err(FlushError::Dropped { count }));
                }
                _ => assert!(result.is_ok(), "{result:?}"),
            }
        }
    }

    /// Whether what the store was given holds the effect of an update: of a process the last one counts.
    fn is_kept(&self, number: Number) -> bool {
        self.disk.iter().any(|(key, numbers)| match key {
            Key::Thread(_) => numbers.contains(&number),
            Key::Process(_) => numbers.iter().any(|kept| *kept >= number),
        })
    }

    fn process_bytes(&self) -> usize {
        self.bytes(|key| matches!(key, Key::Process(_)))
    }

    fn thread_bytes(&self) -> usize {
        self.bytes(|key| matches!(key, Key::Thread(_)))
    }

    fn bytes(&self, wanted: impl Fn(Key) -> bool) -> usize {
        let all = self.pending.iter().chain(&self.flying);
        all.filter(|entry| wanted(entry.key)).map(size).sum()
    }

    /// A disk that works again, and one barrier: whatever happened before, it ends, and says how many are missing.
    pub(super) fn recover(&mut self) {
        let done = self.accepted;
        if self.flight.is_some() {
            self.apply(Op::Fail);
        }
        self.apply(Op::Flush);
        // At most as many as halving needs, and one for each of the rest.
        for _ in 0..64 {
            if !self.is_possible(Op::Begin) {
                break;
            }
            self.apply(Op::Begin);
            self.apply(Op::Judge);
        }
        assert!(self.pending.is_empty() && self.waiting.is_empty());
        assert!((0..done).all(|number| self.settled.contains(&number)));
    }
}

/// What a waiting entry costs, by the sizes that the patches themselves report.
fn size(entry: &Entry) -> usize {
    let mut patches = entry
        .updates
        .iter()
        .map(|number| update(entry.key, *number, false));
    let own = match entry.key {
        Key::Process(_) => 0,
        Key::Thread(_) => {
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
    // An end without a fault and timings points to nothing.
    ENTRY_BYTES + own
}

pub(super) fn update(key: Key, number: Number, finished: bool) -> Update {
    let owner = Owner([7; 32]);
    match key {
        Key::Thread(n) => {
            let thread_id = Arc::from(n.to_string());
            let mut patch = ThreadPatch::touch(ThreadKey { owner, thread_id }, number);
            patch
                .values
                .insert(format!("{number:8}").into(), Some("v".into()));
            Update::Thread(patch)
        }
        Key::Process(n) => {
            let process_id = ProcessId([n; 16]);
            let mut patch = ProcessPatch::new(ProcessKey { owner, process_id });
            patch.last_seq = number + 1;
            patch.end = finished.then_some(ProcessEnd {
                outcome: Outcome::Killed {
                    status: KilledStatus::Signaled(9),
                },
                fault: None,
                call_end: None,
                ended_unix_ns: number,
                stdout_bytes: 0,
                stderr_bytes: 0,
                timings: None,
            });
            Update::Process(patch)
        }
    }
}
