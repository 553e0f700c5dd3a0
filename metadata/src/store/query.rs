//! What is asked of the records, and what comes back.

use std::collections::BTreeMap;

use baton_trace::command::Outcome;

use crate::record::{CwdFacts, Owner, ProcessPatch, ThreadKey};

/// Which processes, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Whose.
    pub owner: Owner,
    /// Of this thread alone.
    pub thread_id: Option<String>,
    /// Begun at this time or later.
    pub since_unix_ns: Option<u64>,
    /// Failed ones alone.
    pub failed: bool,
    /// Those alone that ended so; empty: all.
    pub outcomes: Vec<Outcome>,
    /// The end of the page before; `None` for the first.
    pub after: Option<Cursor>,
    /// How many; more than [`PAGE_MAX`](crate::limits::PAGE_MAX) is cut to that.
    pub limit: u32,
}

impl HistoryQuery {
    /// The newest of all that an owner has.
    pub fn of(owner: Owner) -> Self {
        Self {
            owner,
            thread_id: None,
            since_unix_ns: None,
            failed: false,
            outcomes: Vec::new(),
            after: None,
            limit: crate::limits::PAGE_MAX,
        }
    }
}

/// Which threads, the one that was used last first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadsQuery {
    /// Whose.
    pub owner: Owner,
    /// Archived ones instead of the others.
    pub archived: bool,
    /// The end of the page before; `None` for the first. A thread that is used between two pages moves to the front and may be missed.
    pub after: Option<Cursor>,
    /// How many; more than [`PAGE_MAX`](crate::limits::PAGE_MAX) is cut to that.
    pub limit: u32,
}

/// Where a page ended: a place in the order, so that records that come or go in between move nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(super) time_ns: i64,
    pub(super) n: i64,
}

impl Cursor {
    /// For a caller to send back.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.time_ns.to_be_bytes());
        bytes[8..].copy_from_slice(&self.n.to_be_bytes());
        bytes
    }

    /// Any 16 bytes are a place: one that nobody was given only shows its sender's own records from somewhere else on.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [time_ns, n] = [&bytes[..8], &bytes[8..]]
            .map(|half| half.iter().fold(0, |all, byte| all << 8 | i64::from(*byte)));
        Self { time_ns, n }
    }
}

/// Part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order.
    pub items: Vec<T>,
    /// Ask for what follows with this; `None` if nothing does.
    pub next: Option<Cursor>,
}

/// The record of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRecord {
    /// All that was said of it, as the one patch that says it. In a [`Page`] its timings are empty but for the slowest stage.
    pub patch: ProcessPatch,
    /// When its start was accepted; of a record without a start, the first time that is known.
    pub begun_unix_ns: u64,
    /// Its timings were exact once, and are to within a tenth by now.
    pub timings_rounded: bool,
    /// What became of a lost process that was still running when the server came back.
    pub survivor: Option<SurvivorFate>,
}

/// A process that had outlived its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SurvivorFate {
    /// It was killed.
    Killed,
    /// It was left running, being detached.
    Left,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundRecords {
    /// No record.
    Nothing,
    /// This one.
    One(Box<ProcessRecord>),
    /// The first [`SHOW_MAX`](crate::limits::SHOW_MAX), newest first, without timings: an id that goes on in several ways, or a trace
    /// with several processes.
    Several(Vec<ProcessRecord>),
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRecord {
    /// Which.
    pub key: ThreadKey,
    /// What people call it.
    pub title: Option<String>,
    /// What its owner noted. In a [`Page`] empty.
    pub values: BTreeMap<String, String>,
    /// Hidden from the list.
    pub archived: bool,
    /// When it was first heard of.
    pub created_unix_ns: u64,
    /// When it was last used or changed.
    pub updated_unix_ns: u64,
    /// Its working directory.
    pub facts: Option<CwdFacts>,
}
