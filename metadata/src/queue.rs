//! The queue of patches to be written: one merged entry a process and a thread, oldest first, within a bound of bytes.
//! No IO, no clock.
//!
//! A patch merges into the queued entry of its process or thread. Where that entry is being written, the patch starts a
//! new one. Entries leave oldest first in a [`TakenBatch`]. After a failed write they return to their positions and
//! merge with later entries.
//!
//! At the bound, the oldest entries of *finished* processes are given up, and the caller counts them. Entries of
//! running processes and of threads are never given up: when they alone fill their share, new patches are refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::time::Instant;

use crate::batch::Batch;
use crate::generation::Generation;
use crate::limits::ENTRY_BYTES;
use crate::link::Link;
use crate::record::{Owner, ProcessKey, ProcessPatch, ThreadKey, ThreadPatch, Update};

/// Bytes that may be queued, including those being written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueBounds {
    pub process_bytes: usize,
    pub thread_bytes: usize,
}

/// Position of an entry in the order. Never reused; an entry that returns keeps its old one.
type QueuePosition = u64;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    bounds: QueueBounds,
    entries: BTreeMap<QueuePosition, Box<QueueEntry>>,
    processes: HashMap<ProcessKey, QueuePosition>,
    threads: HashMap<ThreadKey, QueuePosition>,
    /// Entries of finished processes, which can be given up.
    finished: BTreeSet<QueuePosition>,
    next: QueuePosition,
    process_bytes: usize,
    thread_bytes: usize,
}

#[derive(Debug, Clone)]
struct QueueEntry {
    info: QueueEntryInfo,
    patch: Update,
    size: usize,
}

/// The data of an entry beside its patch.
#[derive(Debug, Clone, Copy)]
struct QueueEntryInfo {
    generation: Generation,
    since: Instant,
    link: Option<Link>,
}

/// Entries that are being written. They must be returned to [`Queue::written`], [`Queue::restore`] or
/// [`Queue::discard`].
#[derive(Debug, Clone)]
pub(crate) struct TakenBatch {
    pub batch: Batch,
    processes: Vec<(QueuePosition, QueueEntryInfo)>,
    threads: Vec<(QueuePosition, QueueEntryInfo)>,
    process_bytes: usize,
    thread_bytes: usize,
}

/// The result of [`Queue::add`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AddResult {
    /// The patch is a new entry.
    New,
    /// The patch merged into a queued entry.
    Merged,
    /// There is no room, and no entry that could be given up.
    Full,
}

impl Queue {
    pub(crate) fn new(bounds: QueueBounds) -> Self {
        Self {
            bounds,
            entries: BTreeMap::new(),
            processes: HashMap::new(),
            threads: HashMap::new(),
            finished: BTreeSet::new(),
            next: 0,
            process_bytes: 0,
            thread_bytes: 0,
        }
    }

    /// Adds a patch. `gone` receives generation and owner of each entry that was given up for it.
    pub(crate) fn add(
        &mut self,
        update: Update,
        generation: Generation,
        now: Instant,
        link: Option<Link>,
        gone: &mut Vec<(Generation, Owner)>,
    ) -> AddResult {
        let position = match &update {
            Update::Process(patch) => self.processes.get(&patch.key),
            Update::Thread(patch) => self.threads.get(&patch.key),
        };
        let position = position.copied();
        if !self.has_room(&update, position, gone) {
            return AddResult::Full;
        }
        let Some(position) = position else {
            let info = QueueEntryInfo {
                generation,
                since: now,
                link,
            };
            let position = self.next;
            self.next += 1;
            self.insert(position, info, update);
            return AddResult::New;
        };
        self.merge(position, update, link);
        // A patch of a queued process is small and bounded, and one that finishes the process must be accepted.
        while self.process_bytes > self.bounds.process_bytes && self.give_up(gone) {}
        AddResult::Merged
    }

    /// Takes the oldest entries to be written: at least one, at most `patches`, and about `bytes`. `None` if the queue
    /// is empty.
    pub(crate) fn take(&mut self, patches: usize, bytes: usize) -> Option<TakenBatch> {
        let processes = self.processes.len().min(patches.max(1));
        let threads = self.threads.len().min(patches.max(1));
        let mut taken = TakenBatch {
            batch: Batch {
                processes: Vec::with_capacity(processes),
                threads: Vec::with_capacity(threads),
            },
            processes: Vec::with_capacity(processes),
            threads: Vec::with_capacity(threads),
            process_bytes: 0,
            thread_bytes: 0,
        };
        while let Some(first) = self.entries.first_entry() {
            let count = taken.len();
            let full = taken.process_bytes + taken.thread_bytes + first.get().size > bytes;
            if count >= patches.max(1) || (count > 0 && full) {
                break;
            }
            let (position, entry) = first.remove_entry();
            let (info, size) = (entry.info, entry.size);
            match entry.patch {
                Update::Process(patch) => {
                    self.processes.remove(&patch.key);
                    self.finished.remove(&position);
                    taken.process_bytes += size;
                    taken.processes.push((position, info));
                    taken.batch.processes.push(patch);
                }
                Update::Thread(patch) => {
                    self.threads.remove(&patch.key);
                    taken.thread_bytes += size;
                    taken.threads.push((position, info));
                    taken.batch.threads.push(patch);
                }
            }
        }
        (taken.len() > 0).then_some(taken)
    }

    /// The batch is on disk.
    pub(crate) fn written(&mut self, taken: &TakenBatch) {
        self.process_bytes -= taken.process_bytes;
        self.thread_bytes -= taken.thread_bytes;
    }

    /// The batch is not written again.
    pub(crate) fn discard(&mut self, taken: &TakenBatch) {
        self.written(taken);
    }

    /// The write failed: its entries return to their positions. Returns the generations of later entries that merged
    /// into them.
    pub(crate) fn restore(&mut self, taken: TakenBatch) -> Vec<Generation> {
        self.written(&taken);
        let mut merged = Vec::new();
        let processes = taken.batch.processes.into_iter().map(Update::Process);
        let threads = taken.batch.threads.into_iter().map(Update::Thread);
        let entries = processes.zip(taken.processes).chain(threads.zip(taken.threads));
        for (update, (position, info)) in entries {
            let later = match &update {
                Update::Process(patch) => self.processes.get(&patch.key),
                Update::Thread(patch) => self.threads.get(&patch.key),
            };
            let later = later.copied().and_then(|later| self.remove(later));
            self.insert(position, info, update);
            if let Some(later) = later {
                merged.push(later.info.generation);
                self.merge(position, later.patch, later.info.link);
            }
        }
        merged
    }

    /// Queued entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Queued entries of processes.
    pub(crate) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Bytes that are queued or being written.
    pub(crate) fn bytes(&self) -> usize {
        self.process_bytes + self.thread_bytes
    }

    /// When the first patch of the oldest entry was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|(_, entry)| entry.info.since)
    }

    /// Whether there is room for the update, after giving up finished processes if necessary.
    fn has_room(
        &mut self,
        update: &Update,
        position: Option<QueuePosition>,
        gone: &mut Vec<(Generation, Owner)>,
    ) -> bool {
        match (update, position.and_then(|position| self.entries.get(&position))) {
            (Update::Process(_), Some(_)) => true,
            (Update::Process(_), None) => {
                let size = size(update);
                while self.process_bytes + size > self.bounds.process_bytes {
                    if !self.give_up(gone) {
                        return false;
                    }
                }
                true
            }
            (Update::Thread(later), entry) => {
                let grows = match entry.map(|entry| &entry.patch) {
                    Some(Update::Thread(patch)) => patch.growth(later),
                    _ => size(update),
                };
                grows == 0 || self.thread_bytes + grows <= self.bounds.thread_bytes
            }
        }
    }

    /// Gives up the oldest entry of a finished process; `false` if there is none.
    fn give_up(&mut self, gone: &mut Vec<(Generation, Owner)>) -> bool {
        let oldest = self.finished.first().copied();
        let Some(entry) = oldest.and_then(|oldest| self.remove(oldest)) else {
            return false;
        };
        gone.push((entry.info.generation, entry.patch.owner()));
        true
    }

    fn insert(&mut self, position: QueuePosition, info: QueueEntryInfo, patch: Update) {
        let size = size(&patch);
        match &patch {
            Update::Process(process) => {
                self.process_bytes += size;
                self.processes.insert(process.key, position);
                if process.is_finished() {
                    self.finished.insert(position);
                }
            }
            Update::Thread(thread) => {
                self.thread_bytes += size;
                self.threads.insert(thread.key.clone(), position);
            }
        }
        self.entries
            .insert(position, Box::new(QueueEntry { info, patch, size }));
    }

    fn remove(&mut self, position: QueuePosition) -> Option<QueueEntry> {
        let entry = *self.entries.remove(&position)?;
        match &entry.patch {
            Update::Process(process) => {
                self.process_bytes -= entry.size;
                self.processes.remove(&process.key);
                self.finished.remove(&position);
            }
            Update::Thread(thread) => {
                self.thread_bytes -= entry.size;
                self.threads.remove(&thread.key);
            }
        }
        Some(entry)
    }

    fn merge(&mut self, position: QueuePosition, later: Update, link: Option<Link>) {
        let Some(entry) = self.entries.get_mut(&position) else {
            debug_assert!(false, "no entry at {position}");
            return;
        };
        entry.info.link = entry.info.link.or(link);
        match (&mut entry.patch, later) {
            (Update::Process(patch), Update::Process(later)) => {
                let begins_anew = later.start.is_some();
                patch.merge(later);
                if patch.is_finished() {
                    self.finished.insert(position);
                } else if begins_anew {
                    self.finished.remove(&position);
                }
            }
            (Update::Thread(patch), Update::Thread(later)) => patch.merge(later),
            _ => debug_assert!(false, "a process patch cannot merge with a thread patch"),
        }
        let before = mem::replace(&mut entry.size, size(&entry.patch));
        let bytes = match entry.patch {
            Update::Process(_) => &mut self.process_bytes,
            Update::Thread(_) => &mut self.thread_bytes,
        };
        *bytes = *bytes - before + entry.size;
    }
}

impl TakenBatch {
    /// Patches in it.
    pub(crate) fn len(&self) -> usize {
        self.batch.len()
    }

    /// The generations of its entries.
    pub(crate) fn generations(&self) -> impl Iterator<Item = Generation> + '_ {
        self.info().map(|info| info.generation)
    }

    /// The owners of its entries, each with its entry's generation.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (Generation, Owner)> + '_ {
        let processes = self.batch.processes.iter().map(|patch| patch.key.owner);
        let threads = self.batch.threads.iter().map(|patch| patch.key.owner);
        self.generations().zip(processes.chain(threads))
    }

    /// When the first patch of its oldest entry was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.info().map(|info| info.since).min()
    }

    /// The spans that its entries link to.
    pub(crate) fn links(&self) -> impl Iterator<Item = Link> + '_ {
        self.info().filter_map(|info| info.link)
    }

    fn info(&self) -> impl Iterator<Item = &QueueEntryInfo> {
        let all = self.processes.iter().chain(&self.threads);
        all.map(|(_, info)| info)
    }
}

/// The size of an entry with this patch.
fn size(update: &Update) -> usize {
    ENTRY_BYTES
        + match update {
            Update::Process(patch) => patch.size() - mem::size_of::<ProcessPatch>(),
            Update::Thread(patch) => patch.size() - mem::size_of::<ThreadPatch>(),
        }
}
