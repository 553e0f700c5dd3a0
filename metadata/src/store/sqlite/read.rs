//! Queries. Each filters and orders by an index, and pages by the key of the last row. None reads rows that it does not
//! return, except where no index has a condition: rows with other outcomes or faults are skipped, and in a search for a turn or a
//! step also successful ones where only failed ones are requested, and those of the turn's other steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_trace::outcome::{Fault, OutcomeKind};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params, params_from_iter};

use super::columns::{PROCESS_COLUMNS, PROCESS_JOINS, name_of, number, process_of, time_of};
use super::connection::is_damage;
use super::fault;
use super::reader_pool::ReaderPool;
use crate::limits;
use crate::record::{CwdFacts, Owner, ProcessKey, ThreadKey};
use crate::store::query::{
    Cursor, FoundRecords, HistoryQuery, Page, ProcessRecord, SurvivorFate, ThreadRecord, ThreadsQuery,
};
use crate::store::timings::{decode_rounded, encode, rounded_shape};

/// A query that failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is no longer a valid database.
    #[error(
        "the database is damaged ({0}); restart the exec-server, which sets it aside and begins a new one"
    )]
    Damaged(rusqlite::Error),
    /// SQLite failed in another way.
    #[error("the records could not be read: {0}")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        match is_damage(&error) {
            true => Self::Damaged(error),
            false => Self::Sqlite(error),
        }
    }
}

/// Reads concurrently with the writer: sees each commit at once, and never waits for one. Clones share a few
/// connections.
///
/// Every method blocks for its query, usually well under 20 ms; an async caller uses `spawn_blocking`. A query returns
/// its owner's records only.
#[derive(Debug, Clone)]
pub struct Reader {
    readers: Arc<ReaderPool>,
}

impl Reader {
    pub(super) fn new(readers: Arc<ReaderPool>) -> Self {
        Self { readers }
    }

    /// Processes, newest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn history(&self, query: &HistoryQuery) -> Result<Page<ProcessRecord>, ReadError> {
        self.readers.with(|connection| Ok(history(connection, query)?))
    }

    /// The record of one process, with its timings.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn process(&self, key: &ProcessKey) -> Result<Option<ProcessRecord>, ReadError> {
        self.readers.with(|connection| {
            let Some(owner) = owner(connection, key.owner)? else {
                return Ok(None);
            };
            let n = connection
                .prepare_cached("select n from processes where owner = ?1 and id = ?2")?
                .query_row(params![owner, key.process_id.0], |row| row.get(0))
                .optional()?;
            n.map(|n| whole(connection, n))
                .transpose()
                .map_err(ReadError::from)
        })
    }

    /// Finds records for `baton show`: by a process id or the start of one, or a trace id, in hexadecimal digits, with
    /// or without hyphens. Other text matches nothing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn find(&self, owner: Owner, name: &str) -> Result<FoundRecords, ReadError> {
        self.readers.with(|connection| Ok(find(connection, owner, name)?))
    }

    /// Threads, the most recently used first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn threads(&self, query: &ThreadsQuery) -> Result<Page<ThreadRecord>, ReadError> {
        self.readers.with(|connection| Ok(threads(connection, query)?))
    }

    /// One thread.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn thread(&self, key: &ThreadKey) -> Result<Option<ThreadRecord>, ReadError> {
        self.readers.with(|connection| Ok(thread(connection, key)?))
    }
}

fn owner(connection: &Connection, owner: Owner) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("select owner from owners where key = ?1")?
        .query_row([&owner.0[..]], |row| row.get(0))
        .optional()
}

fn history(connection: &Connection, query: &HistoryQuery) -> rusqlite::Result<Page<ProcessRecord>> {
    let Some(owner) = owner(connection, query.owner)? else {
        return Ok(Page {
            items: Vec::new(),
            next: None,
        });
    };
    let limit = query.limit.clamp(1, limits::PAGE_MAX);
    // Each condition makes one of the indexes usable.
    let thread = if query.thread_id.is_some() {
        "and p.thread = :thread"
    } else {
        "and :thread is null"
    };
    let turn = match query.turn {
        Some(_) => "and p.turn = :turn",
        None => "and :turn is null",
    };
    let step = match query.step {
        Some(_) => "and p.step = :step",
        None => "and :step is null",
    };
    // Only an exit may be a success, and only a kill a cancellation, which is the caller's fault.
    let no_failures = [OutcomeKind::Exited, OutcomeKind::Killed];
    let may_be_no_failure = |kinds: &[OutcomeKind]| kinds.iter().any(|kind| no_failures.contains(kind));
    let has_no_failures = (query.outcomes.is_empty() || may_be_no_failure(&query.outcomes))
        && (query.faults.is_empty() || query.faults.contains(&Fault::Caller));
    let is_failed = query.failed || !has_no_failures;
    let failed = if is_failed { "and p.failed = 1" } else { "" };
    let outcome = match &query.outcomes[..] {
        [] => String::new(),
        outcomes => {
            let asked = OutcomeKind::ALL
                .into_iter()
                .filter(|kind| outcomes.contains(kind));
            format!("and p.outcome in ({})", names(asked.map(OutcomeKind::as_str)))
        }
    };
    let fault = match &query.faults[..] {
        [] => String::new(),
        faults => format!("and ({})", fault::condition(faults)),
    };
    let index = match (
        query.thread_id.is_some(),
        query.turn.is_some(),
        query.step.is_some(),
    ) {
        (false, false, false) if is_failed => "processes_failed",
        (false, false, false) => "processes_by_time",
        (true, false, false) if is_failed => "processes_failed_by_thread",
        (true, false, false) => "processes_by_thread",
        // A turn of one thread has few commands. The same number in all threads has many.
        (true, true, _) => "processes_by_thread_turn",
        (true, false, true) => "processes_by_thread_step",
        (false, _, true) => "processes_by_step",
        (false, true, false) => "processes_by_turn",
    };
    let sql = format!(
        "select {PROCESS_COLUMNS}, null as timings from processes p indexed by {index} {PROCESS_JOINS}
        where p.owner = :owner {thread} {turn} {step} {failed} {outcome} {fault}
            and p.begun_ns >= :since and p.begun_ns <= :time and (p.begun_ns < :time or p.n < :n)
        order by p.begun_ns desc, p.n desc limit :limit"
    );
    let after = query.after.unwrap_or(Cursor {
        time_ns: i64::MAX,
        n: i64::MAX,
    });
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":owner": owner,
            ":thread": query.thread_id,
            ":turn": query.turn.map(|turn| number(turn.get())),
            ":step": query.step,
            ":since": query.since_unix_ns.map_or(i64::MIN, number),
            ":time": after.time_ns,
            ":n": after.n,
            ":limit": limit + 1,
        },
        |row| Ok((cursor(row, "begun_ns")?, record(row)?)),
    )?;
    page(rows, limit)
}

/// Names as a list of SQL.
pub(super) fn names(names: impl Iterator<Item = &'static str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("'{name}'")).collect();
    quoted.join(", ")
}

fn cursor(row: &Row<'_>, time: &str) -> rusqlite::Result<Cursor> {
    Ok(Cursor {
        time_ns: row.get(time)?,
        n: row.get("n")?,
    })
}

/// Reads one row more than the page has, to know whether there is a next page.
fn page<T>(
    rows: impl Iterator<Item = rusqlite::Result<(Cursor, T)>>,
    limit: u32,
) -> rusqlite::Result<Page<T>> {
    let mut items = Vec::new();
    let mut last = None;
    for row in rows {
        let (cursor, item) = row?;
        if items.len() == limit as usize {
            return Ok(Page { items, next: last });
        }
        items.push(item);
        last = Some(cursor);
    }
    Ok(Page { items, next: None })
}

fn record(row: &Row<'_>) -> rusqlite::Result<ProcessRecord> {
    Ok(ProcessRecord {
        patch: process_of(row)?,
        begun_unix_ns: time_of(row, "begun_ns")?,
        timings_rounded: false,
        survivor: match row.get::<_, Option<String>>("survivor")?.as_deref() {
            Some("killed") => Some(SurvivorFate::Killed),
            Some("left") => Some(SurvivorFate::Left),
            _ => None,
        },
    })
}

/// A record with its timings, converted to the exact format.
fn whole(connection: &Connection, n: i64) -> rusqlite::Result<ProcessRecord> {
    let sql = format!("select {PROCESS_COLUMNS}, p.timings from processes p {PROCESS_JOINS} where p.n = ?1");
    let mut record = connection.prepare_cached(&sql)?.query_row([n], record)?;
    let timings = record.patch.end.as_mut().and_then(|end| end.timings.as_mut());
    let Some(timings) = timings else { return Ok(record) };
    let Some(shape) = rounded_shape(&timings.encoded) else {
        return Ok(record);
    };
    let stages: Option<Vec<u8>> = connection
        .prepare_cached("select stages from shapes where shape = ?1")?
        .query_row([number(shape)], |row| row.get(0))
        .optional()?;
    if let Some(stages) = stages.and_then(|stages| decode_rounded(&timings.encoded, &stages)) {
        timings.encoded = encode(&stages).into();
        record.timings_rounded = true;
    }
    Ok(record)
}

fn find(connection: &Connection, key: Owner, name: &str) -> rusqlite::Result<FoundRecords> {
    let Some(owner) = owner(connection, key)? else {
        return Ok(FoundRecords::Nothing);
    };
    let Some((from, to)) = id_range(name) else {
        return Ok(FoundRecords::Nothing);
    };
    let one_more = limits::SHOW_MAX + 1;
    let by_id: Vec<i64> = connection
        .prepare_cached(
            "select n from processes where owner = ?1 and id between ?2 and ?3 order by id desc limit ?4",
        )?
        .query_map(params![owner, from, to, one_more], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let found = match by_id.is_empty() && from == to {
        true => of_trace(connection, owner, from)?,
        false => by_id,
    };
    match found[..] {
        [] => Ok(FoundRecords::Nothing),
        [n] => Ok(FoundRecords::One(Box::new(whole(connection, n)?))),
        _ => {
            let numbers = found.iter().take(limits::SHOW_MAX as usize);
            let marks = vec!["?"; numbers.len()].join(",");
            let sql = format!(
                "select {PROCESS_COLUMNS}, null as timings from processes p {PROCESS_JOINS} where p.n in ({marks})
                order by p.begun_ns desc, p.n desc"
            );
            let mut statement = connection.prepare(&sql)?;
            let records = statement.query_map(params_from_iter(numbers), record)?;
            Ok(FoundRecords::Several(records.collect::<Result<_, _>>()?))
        }
    }
}

/// Searches each bucket of the index, the newest first.
fn of_trace(connection: &Connection, owner: i64, trace_id: [u8; 16]) -> rusqlite::Result<Vec<i64>> {
    let newest: Option<i64> =
        connection.query_row("select max(n) >> 14 from processes", [], |row| row.get(0))?;
    let mut look = connection.prepare_cached(
        "select n from processes indexed by processes_by_trace
        where n >> 14 = ?1 and trace_id = ?2 and owner = ?3 order by n desc limit ?4",
    )?;
    let mut found = Vec::new();
    for bucket in (0..=newest.unwrap_or(-1)).rev() {
        let some = params![bucket, trace_id, owner, limits::SHOW_MAX + 1];
        for n in look.query_map(some, |row| row.get(0))? {
            found.push(n?);
        }
        if found.len() > limits::SHOW_MAX as usize {
            break;
        }
    }
    Ok(found)
}

/// The first and the last id with this prefix; `None` if it is not hexadecimal or is too long.
fn id_range(name: &str) -> Option<([u8; 16], [u8; 16])> {
    let mut digits = Vec::with_capacity(32);
    for digit in name.chars().filter(|c| *c != '-') {
        digits.push(u8::try_from(digit.to_digit(16)?).ok()?);
    }
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    let end = |fill: u8| {
        let mut id = [0; 16];
        for (at, byte) in id.iter_mut().enumerate() {
            let digit = |at: usize| digits.get(at).copied().unwrap_or(fill);
            *byte = digit(2 * at) << 4 | digit(2 * at + 1);
        }
        id
    };
    Some((end(0), end(0xf)))
}

const THREAD_COLUMNS: &str =
    "n, thread_id, title, archived, created_ns, updated_ns, cwd, repository_root, branch, head, facts_ns";

fn threads(connection: &Connection, query: &ThreadsQuery) -> rusqlite::Result<Page<ThreadRecord>> {
    let Some(owner) = owner(connection, query.owner)? else {
        return Ok(Page {
            items: Vec::new(),
            next: None,
        });
    };
    let limit = query.limit.clamp(1, limits::PAGE_MAX);
    let after = query.after.unwrap_or(Cursor {
        time_ns: i64::MAX,
        n: i64::MAX,
    });
    let sql = format!(
        "select {THREAD_COLUMNS} from threads indexed by threads_by_update
        where owner = ?1 and archived = ?2 and updated_ns <= ?3 and (updated_ns < ?3 or n < ?4)
        order by updated_ns desc, n desc limit ?5"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let some = params![owner, query.archived, after.time_ns, after.n, limit + 1];
    let rows = statement.query_map(some, |row| {
        Ok((cursor(row, "updated_ns")?, thread_of(row, query.owner)?.0))
    })?;
    page(rows, limit)
}

fn thread(connection: &Connection, key: &ThreadKey) -> rusqlite::Result<Option<ThreadRecord>> {
    let Some(owner) = owner(connection, key.owner)? else {
        return Ok(None);
    };
    let sql = format!("select {THREAD_COLUMNS} from threads where owner = ?1 and thread_id = ?2");
    let found = connection
        .prepare_cached(&sql)?
        .query_row(params![owner, key.thread_id], |row| thread_of(row, key.owner))
        .optional()?;
    let Some((mut thread, n)) = found else {
        return Ok(None);
    };
    thread.values = values(connection, n)?;
    Ok(Some(thread))
}

/// A thread without its values, and its row id.
fn thread_of(row: &Row<'_>, owner: Owner) -> rusqlite::Result<(ThreadRecord, i64)> {
    let facts = match row.get::<_, Option<i64>>("facts_ns")? {
        None => None,
        Some(_) => Some(CwdFacts {
            cwd: name_of(row, "cwd")?.unwrap_or_default(),
            repository_root: name_of(row, "repository_root")?,
            branch: name_of(row, "branch")?,
            head: row.get::<_, Option<String>>("head")?.map(String::into_boxed_str),
            found_unix_ns: time_of(row, "facts_ns")?,
        }),
    };
    let thread = ThreadRecord {
        key: ThreadKey {
            owner,
            thread_id: row.get::<_, String>("thread_id")?.into(),
        },
        title: row.get("title")?,
        values: BTreeMap::new(),
        archived: row.get("archived")?,
        created_unix_ns: time_of(row, "created_ns")?,
        updated_unix_ns: time_of(row, "updated_ns")?,
        facts,
    };
    Ok((thread, row.get("n")?))
}

fn values(connection: &Connection, thread: i64) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare_cached("select key, value from thread_values where thread = ?1")?
        .query_map([thread], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
