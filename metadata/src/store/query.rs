//! Queries of metadata, and their results.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use baton_trace::outcome::{Fault, OutcomeKind};

use crate::record::{CwdFacts, Owner, ProcessPatch, ThreadKey};

/// A query of records, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The owner.
    pub owner: Owner,
    /// Only those of this thread.
    pub thread_id: Option<String>,
    /// Only those of this turn, of whatever thread.
    pub turn: Option<NonZeroU64>,
    /// Only those of this step, of whatever turn.
    pub step: Option<String>,
    /// Only those accepted at this time or later.
    pub since_unix_ns: Option<u64>,
    /// Only [failed](baton_trace::outcome::Outcome::is_failure) ones.
    pub failed: bool,
    /// Only those with one of these outcomes; empty: all.
    pub outcomes: Vec<OutcomeKind>,
    /// Only those that are the fault of one of these; empty: all.
    pub faults: Vec<Fault>,
    /// The end of the page before; `None` for the first.
    pub after: Option<Cursor>,
    /// The most items; capped at [`PAGE_MAX`](crate::limits::PAGE_MAX).
    pub limit: u32,
}

impl HistoryQuery {
    /// The newest records of an owner.
    pub fn of(owner: Owner) -> Self {
        Self {
            owner,
            thread_id: None,
            turn: None,
            step: None,
            since_unix_ns: None,
            failed: false,
            outcomes: Vec::new(),
            faults: Vec::new(),
            after: None,
            limit: crate::limits::PAGE_MAX,
        }
    }
}

/// A query of threads, the most recently used first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadsQuery {
    /// The owner.
    pub owner: Owner,
    /// Archived threads instead of the others.
    pub archived: bool,
    /// The end of the page before; `None` for the first. A thread that is used between two pages moves to the front and
    /// may be missed.
    pub after: Option<Cursor>,
    /// The most items; capped at [`PAGE_MAX`](crate::limits::PAGE_MAX).
    pub limit: u32,
}

/// The end of a page: a position in the order, so that records that are added or removed in between move nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(super) time_ns: i64,
    pub(super) n: i64,
}

impl Cursor {
    /// Encodes the cursor for a client, which sends it back.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.time_ns.to_be_bytes());
        bytes[8..].copy_from_slice(&self.n.to_be_bytes());
        bytes
    }

    /// Any 16 bytes are a valid position. A forged one only shows its sender's own records from another position on.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [time_ns, n] = [&bytes[..8], &bytes[8..]]
            .map(|half| half.iter().fold(0, |all, byte| all << 8 | i64::from(*byte)));
        Self { time_ns, n }
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// The position to continue from; `None` at the end of the list.
    pub next: Option<Cursor>,
}

/// The record of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRecord {
    /// The record as one patch. In a [`Page`] its timings are empty but for the slowest stage.
    pub patch: ProcessPatch,
    /// When its start was accepted; of a record without a start, its earliest known time.
    pub begun_unix_ns: u64,
    /// Whether its timings were rounded to within a tenth.
    pub timings_rounded: bool,
    /// The fate of a lost process that still ran when the server restarted.
    pub survivor: Option<SurvivorFate>,
}

/// The fate of a process that outlived its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SurvivorFate {
    /// It was killed.
    Killed,
    /// It was left running, because it is detached.
    Left,
}

/// The records that an id or the start of one matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundRecords {
    /// No record.
    Nothing,
    /// One record.
    One(Box<ProcessRecord>),
    /// The first [`SHOW_MAX`](crate::limits::SHOW_MAX) records, newest first, without timings: an ambiguous id, or a
    /// trace with several processes.
    Several(Vec<ProcessRecord>),
}

/// The metadata of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRecord {
    /// Its key.
    pub key: ThreadKey,
    /// Its title.
    pub title: Option<String>,
    /// Its values. Empty in a [`Page`].
    pub values: BTreeMap<String, String>,
    /// Whether it is hidden from the list.
    pub archived: bool,
    /// When it was first used or changed.
    pub created_unix_ns: u64,
    /// When it was last used or changed.
    pub updated_unix_ns: u64,
    /// The facts of its working directory.
    pub facts: Option<CwdFacts>,
}
