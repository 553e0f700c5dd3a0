//! Writes one batch in one transaction: merges its patches into the existing rows.
//!
//! Each patch is an upsert that does in SQL what [`ProcessPatch::merge`] and [`ThreadPatch::merge`] do in memory; a
//! test compares the two. So writing a patch twice has the effect of writing it once, an absent part changes nothing,
//! `last_seq` never decreases, and an observed end is never replaced by a lost one.

use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::types::Null;
use rusqlite::{CachedStatement, Connection, OptionalExtension, TransactionBehavior, params};

use super::columns::{EndColumns, argv, number, text_or_blob};
use crate::batch::Batch;
use crate::limits;
use crate::record::{Argv, Owner, ProcessPatch, ProcessStart, ThreadPatch};

/// Cached row ids of owners and epochs.
#[derive(Debug, Default)]
pub(super) struct RowIds {
    owners: HashMap<Owner, i64>,
    epochs: HashMap<[u8; 16], i64>,
    /// The last ones: most batches are of one client, and all of one epoch.
    last_owner: Option<(Owner, i64)>,
    last_epoch: Option<([u8; 16], i64)>,
}

impl RowIds {
    /// Clears the cache, which a rollback or another file makes invalid.
    pub(super) fn clear(&mut self) {
        self.owners.clear();
        self.epochs.clear();
        self.last_owner = None;
        self.last_epoch = None;
    }

    pub(super) fn owner(&mut self, transaction: &Connection, owner: Owner) -> rusqlite::Result<i64> {
        match self.last_owner {
            Some((last, number)) if last == owner => return Ok(number),
            _ => {}
        }
        let number = self.find_owner(transaction, owner)?;
        self.last_owner = Some((owner, number));
        Ok(number)
    }

    fn find_owner(&mut self, transaction: &Connection, owner: Owner) -> rusqlite::Result<i64> {
        if let Some(number) = self.owners.get(&owner) {
            return Ok(*number);
        }
        if self.owners.len() >= limits::ROW_IDS_CACHED {
            self.owners.clear();
        }
        let number = transaction
            .prepare_cached(
                "insert into owners (key) values (?1) on conflict do update set key = key returning owner",
            )?
            .query_row([&owner.0[..]], |row| row.get(0))?;
        self.owners.insert(owner, number);
        Ok(number)
    }

    fn epoch(&mut self, transaction: &Connection, start: &ProcessStart) -> rusqlite::Result<i64> {
        match self.last_epoch {
            Some((last, number)) if last == start.epoch.0 => return Ok(number),
            _ => {}
        }
        let number = self.find_epoch(transaction, start)?;
        self.last_epoch = Some((start.epoch.0, number));
        Ok(number)
    }

    fn find_epoch(&mut self, transaction: &Connection, start: &ProcessStart) -> rusqlite::Result<i64> {
        if let Some(number) = self.epochs.get(&start.epoch.0) {
            return Ok(*number);
        }
        if self.epochs.len() >= limits::ROW_IDS_CACHED {
            self.epochs.clear();
        }
        let number = transaction
            .prepare_cached(
                "insert into lives (epoch, boot_id) values (?1, ?2)
                on conflict (epoch) do update set epoch = epoch returning life",
            )?
            .query_row(params![&start.epoch.0[..], &start.boot_id[..]], |row| row.get(0))?;
        self.epochs.insert(start.epoch.0, number);
        Ok(number)
    }
}

/// Commits the batch; returns the rows that it inserted, changed or deleted.
pub(super) fn write(
    connection: &mut Connection,
    row_ids: &mut RowIds,
    batch: &Batch,
) -> rusqlite::Result<u64> {
    let before = connection.total_changes();
    // Immediate, so that a foreign lock is found before any work is done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for patch in &batch.threads {
        thread(&transaction, row_ids, patch)?;
    }
    if !batch.processes.is_empty() {
        // Looked up once for the batch, because hashing its long text took a tenth of the time of a row.
        let mut statement = transaction.prepare_cached(&UPSERT_PROCESS)?;
        let mut upsert = ProcessUpsert::new(&mut statement);
        for patch in &batch.processes {
            upsert.process(&transaction, row_ids, patch)?;
        }
    }
    transaction.commit()?;
    Ok(connection.total_changes().saturating_sub(before))
}

/// The upsert of a process. ?4 (`life`) is set exactly when the patch has a start, which replaces the record; ?18
/// (`outcome`) when it has an end.
static UPSERT_PROCESS: LazyLock<String> = LazyLock::new(|| {
    const START: [&str; 11] = [
        "begun_ns",
        "thread",
        "turn",
        "step",
        "argv",
        "argv_cut",
        "cwd",
        "detached",
        "parameters",
        "trace_id",
        "sampled",
    ];
    const END: [&str; 15] = [
        "ended_ns",
        "outcome",
        "failed",
        "exit_code",
        "signal",
        "core_dumped",
        "message",
        "stdout_bytes",
        "stderr_bytes",
        "slowest",
        "slowest_ns",
        "timings",
        "call_end",
        "family",
        "start_failure",
    ];
    let with = |columns: &[&str], condition: &str| -> String {
        let set = |column: &&str| format!("{column} = iif({condition}, excluded.{column}, {column}),\n");
        columns.iter().map(set).collect()
    };
    format!(
        "insert into processes (owner, id, begun_ns, life, thread, argv, argv_cut, cwd, detached, parameters, trace_id,
            sampled, os_pid, start_ticks, spawned_ns, last_seq, ended_ns, outcome, failed, exit_code, signal,
            core_dumped, message, stdout_bytes, stderr_bytes, slowest, slowest_ns, timings, call_end, turn, step,
            family, start_failure)
        values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
            ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)
        on conflict (owner, id) do update set
        {}{}
        life = coalesce(?4, life),
        os_pid = iif(?4 is null, coalesce(?13, os_pid), ?13),
        start_ticks = iif(?4 is null, coalesce(?14, start_ticks), ?14),
        spawned_ns = iif(?4 is null, coalesce(?15, spawned_ns), ?15),
        last_seq = iif(?4 is null, max(last_seq, ?16), ?16),
        survivor = iif(?4 is null, survivor, null)",
        with(&START, "?4 is not null"),
        with(
            &END,
            "?4 is not null or ?18 is not null and not (?18 = 'lost' and coalesce(outcome, 'lost') <> 'lost')"
        ),
    )
});

/// Runs the upsert for each row.
struct ProcessUpsert<'a, 'c> {
    statement: &'a mut CachedStatement<'c>,
    /// The last value of each parameter. Adjacent commands are mostly of one client, thread and directory and have
    /// equal ends. An equal value stays bound, which saves the call and SQLite's copy.
    bound: [BoundValue; PARAMETERS],
    json: Vec<u8>,
}

/// Parameters of [`UPSERT_PROCESS`], and the unused index 0, because SQLite counts from 1.
const PARAMETERS: usize = 34;

/// Longest text that is compared with the last value.
const REMEMBERED_BYTES: usize = 256;

#[derive(Debug, Default, PartialEq, Eq)]
enum BoundValue {
    #[default]
    Unknown,
    Null,
    Integer(i64),
    Bytes(Vec<u8>),
}

impl<'a, 'c> ProcessUpsert<'a, 'c> {
    /// No other code may bind parameters of the statement.
    fn new(statement: &'a mut CachedStatement<'c>) -> Self {
        Self {
            statement,
            bound: std::array::from_fn(|_| BoundValue::Unknown),
            json: Vec::new(),
        }
    }

    fn null(&mut self, at: usize) -> rusqlite::Result<()> {
        if self.bound[at] != BoundValue::Null {
            self.statement.raw_bind_parameter(at, Null)?;
            self.bound[at] = BoundValue::Null;
        }
        Ok(())
    }

    fn integer(&mut self, at: usize, value: Option<impl Into<i64>>) -> rusqlite::Result<()> {
        let Some(value) = value.map(Into::into) else {
            return self.null(at);
        };
        if self.bound[at] != BoundValue::Integer(value) {
            self.statement.raw_bind_parameter(at, value)?;
            self.bound[at] = BoundValue::Integer(value);
        }
        Ok(())
    }

    /// Binds a text that adjacent rows are likely to share.
    fn text(&mut self, at: usize, value: Option<&str>) -> rusqlite::Result<()> {
        match value {
            None => self.null(at),
            Some(value) if self.has(at, value.as_bytes()) => Ok(()),
            Some(value) => self.statement.raw_bind_parameter(at, value),
        }
    }

    /// Binds a path as [`text`](Self::text) does, although it may not be UTF-8.
    fn path(&mut self, at: usize, value: Option<&[u8]>) -> rusqlite::Result<()> {
        match value {
            None => self.null(at),
            Some(value) if self.has(at, value) => Ok(()),
            Some(value) => self.statement.raw_bind_parameter(at, text_or_blob(value)),
        }
    }

    /// Whether the parameter has this value. If not, the caller must bind it.
    fn has(&mut self, at: usize, value: &[u8]) -> bool {
        match &mut self.bound[at] {
            BoundValue::Bytes(last) if last == value => return true,
            last if value.len() > REMEMBERED_BYTES => *last = BoundValue::Unknown,
            BoundValue::Bytes(last) => {
                last.clear();
                last.extend(value);
            }
            last => *last = BoundValue::Bytes(value.to_vec()),
        }
        false
    }

    /// Binds bytes that differ in every row.
    fn blob(&mut self, at: usize, value: Option<&[u8]>) -> rusqlite::Result<()> {
        let Some(value) = value else {
            return self.null(at);
        };
        self.bound[at] = BoundValue::Unknown;
        self.statement.raw_bind_parameter(at, value)
    }

    fn argv(&mut self, at: usize, value: Option<&Argv>) -> rusqlite::Result<()> {
        let Some(value) = value else {
            return self.null(at);
        };
        self.bound[at] = BoundValue::Unknown;
        self.statement.raw_bind_parameter(at, argv(value, &mut self.json))
    }

    fn process(
        &mut self,
        transaction: &Connection,
        row_ids: &mut RowIds,
        patch: &ProcessPatch,
    ) -> rusqlite::Result<()> {
        let owner = row_ids.owner(transaction, patch.key.owner)?;
        let start = patch.start.as_deref();
        let life = start.map(|start| row_ids.epoch(transaction, start)).transpose()?;
        let trace = start.and_then(|start| start.trace.as_ref());
        let spawned = patch.spawned.as_ref();
        let end = patch.end.as_ref().map(EndColumns::of);
        let end = end.as_ref();
        // A record without a start needs a position in history too.
        let begun = start
            .map(|start| start.accepted_unix_ns)
            .or(spawned.map(|spawned| spawned.spawned_unix_ns))
            .or(patch.end.as_ref().map(|end| end.ended_unix_ns))
            .unwrap_or(0);
        self.integer(1, Some(owner))?;
        self.blob(2, Some(&patch.key.process_id.0))?;
        self.integer(3, Some(number(begun)))?;
        self.integer(4, life)?;
        self.text(5, start.and_then(|start| start.thread_id.as_deref()))?;
        self.argv(6, start.map(|start| &start.argv))?;
        self.integer(7, start.map(|start| start.argv_cut))?;
        self.path(8, start.map(|start| &*start.cwd))?;
        self.integer(9, start.map(|start| start.detached))?;
        self.blob(10, start.map(|start| &start.parameters[..]))?;
        self.blob(11, trace.map(|trace| &trace.trace_id[..]))?;
        self.integer(12, trace.map(|trace| trace.sampled))?;
        self.integer(13, spawned.map(|spawned| spawned.os_pid))?;
        self.integer(14, spawned.map(|spawned| number(spawned.start_ticks)))?;
        self.integer(15, spawned.map(|spawned| number(spawned.spawned_unix_ns)))?;
        self.integer(16, Some(number(patch.last_seq)))?;
        self.integer(17, end.map(|end| end.ended_ns))?;
        self.text(18, end.map(|end| end.outcome))?;
        self.integer(19, Some(end.is_some_and(|end| end.failed)))?;
        self.integer(20, end.and_then(|end| end.exit_code))?;
        self.integer(21, end.and_then(|end| end.signal))?;
        self.integer(22, end.and_then(|end| end.core_dumped))?;
        self.text(23, end.and_then(|end| end.message))?;
        self.integer(24, end.map(|end| end.stdout_bytes))?;
        self.integer(25, end.map(|end| end.stderr_bytes))?;
        self.integer(26, end.and_then(|end| end.slowest))?;
        self.integer(27, end.and_then(|end| end.slowest_ns))?;
        self.blob(28, end.and_then(|end| end.timings))?;
        self.text(29, end.and_then(|end| end.call_end))?;
        self.integer(
            30,
            start.and_then(|start| start.turn).map(|turn| number(turn.get())),
        )?;
        self.text(31, start.and_then(|start| start.step.as_deref()))?;
        self.text(32, end.and_then(|end| end.family.as_deref()))?;
        self.text(33, end.and_then(|end| end.start_failure))?;
        self.statement.raw_execute()?;
        Ok(())
    }
}

fn thread(transaction: &Connection, row_ids: &mut RowIds, patch: &ThreadPatch) -> rusqlite::Result<()> {
    let owner = row_ids.owner(transaction, patch.key.owner)?;
    let id = &*patch.key.thread_id;
    if patch.delete {
        let deleted: Option<i64> = transaction
            .prepare_cached("delete from threads where owner = ?1 and thread_id = ?2 returning n")?
            .query_row(params![owner, id], |row| row.get(0))
            .optional()?;
        if let Some(n) = deleted {
            transaction
                .prepare_cached("delete from thread_values where thread = ?1")?
                .execute([n])?;
        }
    }
    if !patch.exists {
        return Ok(());
    }
    let facts = patch.facts.as_deref();
    let n: i64 = transaction
        .prepare_cached(
            "insert into threads (owner, thread_id, title, archived, created_ns, updated_ns, cwd, repository_root,
                branch, head, facts_ns)
            values (?1, ?2, ?3, coalesce(?5, 0), ?6, ?6, ?7, ?8, ?9, ?10, ?11)
            on conflict (owner, thread_id) do update set
                title = iif(?4, ?3, title),
                archived = coalesce(?5, archived),
                updated_ns = max(updated_ns, ?6),
                cwd = iif(?11 is null, cwd, ?7),
                repository_root = iif(?11 is null, repository_root, ?8),
                branch = iif(?11 is null, branch, ?9),
                head = iif(?11 is null, head, ?10),
                facts_ns = coalesce(?11, facts_ns)
            returning n",
        )?
        .query_row(
            params![
                owner,
                id,
                patch.title.as_ref().and_then(|title| title.as_deref()),
                patch.title.is_some(),
                patch.archived,
                number(patch.at_unix_ns),
                facts.map(|facts| text_or_blob(&facts.cwd)),
                facts.and_then(|facts| facts.repository_root.as_deref()).map(text_or_blob),
                facts.and_then(|facts| facts.branch.as_deref()).map(text_or_blob),
                facts.and_then(|facts| facts.head.as_deref()),
                facts.map(|facts| number(facts.found_unix_ns)),
            ],
            |row| row.get(0),
        )?;
    // Removals first, because they make room.
    for (key, value) in &patch.values {
        if value.is_none() {
            transaction
                .prepare_cached("delete from thread_values where thread = ?1 and key = ?2")?
                .execute(params![n, key])?;
        }
    }
    for (key, value) in &patch.values {
        if let Some(value) = value {
            transaction
                .prepare_cached(
                    "insert into thread_values (thread, key, value) select ?1, ?2, ?3
                    where exists (select 1 from thread_values where thread = ?1 and key = ?2)
                        or (select count(*) from thread_values where thread = ?1) < ?4
                    on conflict (thread, key) do update set value = ?3 where value <> ?3",
                )?
                .execute(params![n, key, value, limits::VALUES_PER_THREAD as i64])?;
        }
    }
    Ok(())
}
