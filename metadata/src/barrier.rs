//! The state of barriers: when each completes, and with what result. No IO, no clock.
//!
//! ```text
//! accepted ──► generation ──► outstanding[generation] += 1
//! wait ──────► closes the open generation, waits for every one up to it
//! settled ───► outstanding[generation] -= 1 ──► 0 left up to it: the barrier completes
//! failed ────► the barriers that cover the failed entries report it at once; the entries stay outstanding
//! gave up ───► settled, but counted for its owner; every barrier of that owner reports it until it is acknowledged
//! ```
//!
//! The counts are of *entries*: merged patches that are queued or being written. An entry keeps the generation of its
//! oldest patch, so a later patch that merges into it never releases a barrier, and a barrier waits for no entry that
//! was created after it. Whether the batch of one generation succeeds does not affect another generation's result.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_trace::text::counted;

use crate::generation::Generation;
use crate::record::Owner;
use crate::store::WriteError;

/// Identifies a waiting barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BarrierId(u64);

/// What a barrier waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    /// Completes with the first failure, and reports every record that was given up: of this owner, or of all owners.
    Report(Option<Owner>),
    /// Completes when the records are durable: failures are retried, and records that were given up do not matter.
    Durable,
}

/// Everything that was accepted before the barrier is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// The last generation that it covers.
    pub generation: Generation,
}

/// A barrier cannot promise that everything accepted before it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The disk's fault: writing entries that the barrier covers failed. They are kept and retried; a later barrier
    /// reports the result.
    #[error("not written yet: {cause}{}", DroppedSuffix(*.dropped))]
    Failed {
        /// What failed.
        cause: WriteError,
        /// Records given up and not acknowledged.
        dropped: u64,
    },
    /// The disk's fault: everything else is on disk, but records were given up because nothing could be written for too
    /// long.
    #[error(
        "{} given up before they could be written, because nothing could be written for too long; everything else is on disk", counted(*.count, "record was", "records were")
    )]
    Dropped {
        /// Their number, until they are acknowledged.
        count: u64,
    },
    /// The server is shutting down, or its writer has failed; the shutdown report has the number of unwritten patches.
    #[error("the writer of metadata has stopped")]
    Stopped,
    /// The callers' fault: more barriers at once than [`BARRIERS_MAX`](crate::limits::BARRIERS_MAX).
    #[error("too many barriers wait already; try again later")]
    TooMany,
}

struct DroppedSuffix(u64);

impl std::fmt::Display for DroppedSuffix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(
                f,
                "; {} given up before that",
                counted(count, "record was", "records were")
            ),
        }
    }
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Barriers {
    open: Generation,
    /// A patch was accepted since the last barrier.
    used: bool,
    /// Entries not on disk yet, by the generation of their oldest patch. No zeros.
    outstanding: BTreeMap<Generation, usize>,
    waiting: BTreeMap<BarrierId, PendingBarrier>,
    next: BarrierId,
    /// Records given up and not acknowledged, by owner. No zeros. At most as many as clients on the allow-list.
    dropped: BTreeMap<Owner, u64>,
    /// Completed barriers whose results were not taken yet.
    over: Vec<(BarrierId, Result<Flushed, FlushError>)>,
}

#[derive(Debug, Clone)]
struct PendingBarrier {
    covers: Generation,
    wait: BarrierKind,
    /// The last failure of an entry that it covers, for a barrier that continues to wait.
    cause: Option<Arc<WriteError>>,
}

impl Barriers {
    pub(crate) fn new() -> Self {
        Self {
            open: Generation::FIRST,
            used: false,
            outstanding: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next: BarrierId(0),
            dropped: BTreeMap::new(),
            over: Vec::new(),
        }
    }

    /// Notes an accepted patch. Returns the generation of the entry that it may start.
    pub(crate) fn accepted(&mut self) -> Generation {
        self.used = true;
        self.open
    }

    /// Notes a queued entry of `generation`.
    pub(crate) fn began(&mut self, generation: Generation) {
        *self.outstanding.entry(generation).or_default() += 1;
    }

    /// Registers a barrier for everything accepted so far.
    pub(crate) fn wait(&mut self, wait: BarrierKind) -> BarrierId {
        let barrier = self.next;
        self.next = BarrierId(barrier.0 + 1);
        if self.used {
            self.open = self.open.next();
            self.used = false;
        }
        let covers = Generation(self.open.0 - 1);
        let waiting = PendingBarrier {
            covers,
            wait,
            cause: None,
        };
        self.waiting.insert(barrier, waiting);
        self.settle();
        barrier
    }

    /// Removes a barrier. Returns the last failure of an entry that it covered.
    pub(crate) fn abandon(&mut self, barrier: BarrierId) -> Option<Arc<WriteError>> {
        self.over.retain(|(over, _)| *over != barrier);
        self.waiting.remove(&barrier).and_then(|waiting| waiting.cause)
    }

    /// Notes that entries of these generations are on disk, or merged into an older entry.
    pub(crate) fn settled(&mut self, generations: impl IntoIterator<Item = Generation>) {
        // Entries of one generation are mostly adjacent.
        let mut run: Option<(Generation, usize)> = None;
        for generation in generations {
            match &mut run {
                Some((of, count)) if *of == generation => *count += 1,
                _ => {
                    let over = run.replace((generation, 1));
                    over.into_iter().for_each(|(of, count)| self.remove(of, count));
                }
            }
        }
        run.into_iter().for_each(|(of, count)| self.remove(of, count));
        self.settle();
    }

    /// Notes an entry that was given up.
    pub(crate) fn gave_up(&mut self, generation: Generation, owner: Owner) {
        self.refused(owner);
        self.remove(generation, 1);
        self.settle();
    }

    /// Notes a record that was given up before it became an entry.
    pub(crate) fn refused(&mut self, owner: Owner) {
        self.lost(owner, 1);
    }

    /// Notes records of an owner that were given up, which barriers report from now on.
    pub(crate) fn lost(&mut self, owner: Owner, records: u64) {
        if records > 0 {
            let of_owner = self.dropped.entry(owner).or_default();
            *of_owner = of_owner.saturating_add(records);
        }
    }

    /// Notes entries that could not be written; `oldest` is their oldest generation. They stay outstanding.
    pub(crate) fn failed(&mut self, oldest: Generation, cause: &Arc<WriteError>) {
        let (dropped, over) = (&self.dropped, &mut self.over);
        self.waiting.retain(|barrier, waiting| {
            if waiting.covers < oldest {
                return true;
            }
            let BarrierKind::Report(whose) = waiting.wait else {
                waiting.cause = Some(cause.clone());
                return true;
            };
            let dropped = count(dropped, whose);
            let cause = WriteError::clone(cause);
            over.push((*barrier, Err(FlushError::Failed { cause, dropped })));
            false
        });
    }

    /// Acknowledges `count` records that were given up, of this owner or of all.
    pub(crate) fn acknowledge(&mut self, whose: Option<Owner>, mut count: u64) {
        for (owner, dropped) in &mut self.dropped {
            if whose.is_none_or(|whose| whose == *owner) {
                let acknowledged = count.min(*dropped);
                *dropped -= acknowledged;
                count -= acknowledged;
            }
        }
        self.dropped.retain(|_, dropped| *dropped > 0);
    }

    /// The result of this barrier, if it has completed.
    pub(crate) fn take_one(&mut self, barrier: BarrierId) -> Option<Result<Flushed, FlushError>> {
        let index = self.over.iter().position(|(over, _)| *over == barrier)?;
        Some(self.over.swap_remove(index).1)
    }

    /// The barriers that completed since the last call.
    pub(crate) fn take_over(&mut self) -> Vec<(BarrierId, Result<Flushed, FlushError>)> {
        std::mem::take(&mut self.over)
    }

    /// Waiting barriers.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Records given up and not acknowledged.
    pub(crate) fn dropped(&self) -> u64 {
        count(&self.dropped, None)
    }

    /// Records given up and not acknowledged, by owner.
    pub(crate) fn losses(&self) -> Vec<(Owner, u64)> {
        self.dropped
            .iter()
            .map(|(owner, count)| (*owner, *count))
            .collect()
    }

    fn remove(&mut self, generation: Generation, entries: usize) {
        let left = self.outstanding.get(&generation).copied().unwrap_or_default();
        debug_assert!(
            left >= entries,
            "{entries} of {generation:?} are not outstanding, {left} are"
        );
        match left.saturating_sub(entries) {
            0 => self.outstanding.remove(&generation),
            left => self.outstanding.insert(generation, left),
        };
    }

    /// Completes the barriers without outstanding entries.
    fn settle(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let oldest = self.outstanding.keys().next().copied();
        let (dropped, over) = (&self.dropped, &mut self.over);
        self.waiting.retain(|barrier, waiting| {
            if oldest.is_some_and(|oldest| oldest <= waiting.covers) {
                return true;
            }
            let generation = waiting.covers;
            let dropped = match waiting.wait {
                BarrierKind::Durable => 0,
                BarrierKind::Report(whose) => count(dropped, whose),
            };
            over.push((
                *barrier,
                match dropped {
                    0 => Ok(Flushed { generation }),
                    count => Err(FlushError::Dropped { count }),
                },
            ));
            false
        });
    }
}

fn count(dropped: &BTreeMap<Owner, u64>, whose: Option<Owner>) -> u64 {
    match whose {
        Some(owner) => dropped.get(&owner).copied().unwrap_or_default(),
        None => dropped.values().fold(0, |sum, count| sum.saturating_add(*count)),
    }
}
