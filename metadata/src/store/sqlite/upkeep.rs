//! Upkeep, in steps of a few milliseconds between batches: removing old records, rounding old timings, returning freed
//! pages to the file system.
//!
//! A sweep for old records reads one owner after the other, oldest record first, by the index over their times. A sweep
//! that finds nothing reads one row of that index for each owner. Running processes are never removed, however old.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::columns::number;
use super::epochs;
use crate::limits;
use crate::store::UpkeepProgress;
use crate::store::retention::Retention;
use crate::store::timings::{decode, encode_rounded, shape};

/// The progress of each sweep.
#[derive(Debug, Default)]
pub(super) struct UpkeepSweeps {
    retention: Retention,
    ages: Sweep<TimeIndexPosition>,
    threads: Sweep<i64>,
    epochs: Sweep<()>,
    timings: Sweep<()>,
}

/// A position in the index over owners and times: after this record.
#[derive(Debug, Clone, Copy, Default)]
struct TimeIndexPosition {
    owner: i64,
    begun_ns: i64,
    n: i64,
}

/// A repeated pass over a table by a key.
#[derive(Debug, Default)]
struct Sweep<K> {
    /// The last row that was read.
    at: K,
    /// When it restarts.
    next_unix_ns: u64,
}

impl<K: Default> Sweep<K> {
    fn is_due(&self, now_unix_ns: u64) -> bool {
        now_unix_ns >= self.next_unix_ns
    }

    fn ended(&mut self, now_unix_ns: u64) {
        self.at = K::default();
        self.next_unix_ns = before_or_after(now_unix_ns, limits::SWEEP_INTERVAL);
    }
}

fn before_or_after(unix_ns: u64, after: Duration) -> u64 {
    unix_ns.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
}

fn cutoff(now_unix_ns: u64, age: Duration) -> i64 {
    number(now_unix_ns.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
}

impl UpkeepSweeps {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            ..Self::default()
        }
    }

    /// Runs one step of the first task that is due.
    pub(super) fn step(
        &mut self,
        connection: &mut Connection,
        now_unix_ns: u64,
    ) -> rusqlite::Result<UpkeepProgress> {
        let done = self.remove_old(connection, now_unix_ns)?
            || self.remove_old_threads(connection, now_unix_ns)?
            || self.make_room(connection)?
            || self.remove_old_epochs(connection, now_unix_ns)?
            || vacuum(connection)?
            || self.round_timings(connection, now_unix_ns)?;
        Ok(match done {
            true => UpkeepProgress::More,
            false => UpkeepProgress::Done,
        })
    }

    /// Whether any record was read; `false` when no sweep is due or the end of one was reached.
    fn remove_old(&mut self, connection: &mut Connection, now_unix_ns: u64) -> rusqlite::Result<bool> {
        let Some(age) = self.retention.age else {
            return Ok(false);
        };
        if !self.ages.is_due(now_unix_ns) {
            return Ok(false);
        }
        let cutoff = cutoff(now_unix_ns, age);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut position = self.ages.at;
        let looked_at = loop {
            let some = begun_before(&transaction, cutoff, position)?;
            if !some.is_empty() {
                break some;
            }
            // This owner has no further old record.
            let next: Option<i64> = transaction
                .prepare_cached("select min(owner) from owners where owner > ?1")?
                .query_row([position.owner], |row| row.get(0))?;
            let Some(owner) = next else { break some };
            position = TimeIndexPosition {
                owner,
                ..TimeIndexPosition::default()
            };
        };
        let is_old = |ended: &Option<i64>| ended.is_some_and(|ended| ended < cutoff);
        let old: Vec<i64> = looked_at
            .iter()
            .filter_map(|(position, ended)| is_old(ended).then_some(position.n))
            .collect();
        remove(&transaction, &old)?;
        transaction.commit()?;
        // Only after the commit, because a step that was rolled back is repeated.
        match looked_at.last() {
            Some((last, _)) => self.ages.at = *last,
            None => self.ages.ended(now_unix_ns),
        }
        Ok(!looked_at.is_empty())
    }

    /// Removes threads that were not used for that age and have no record.
    fn remove_old_threads(
        &mut self,
        connection: &mut Connection,
        now_unix_ns: u64,
    ) -> rusqlite::Result<bool> {
        let Some(age) = self.retention.age else {
            return Ok(false);
        };
        if !self.threads.is_due(now_unix_ns) {
            return Ok(false);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last: Option<i64> = transaction
            .prepare_cached("select max(n) from (select n from threads where n > ?1 order by n limit ?2)")?
            .query_row(params![self.threads.at, limits::UPKEEP_RECORDS], |row| row.get(0))?;
        if let Some(last) = last {
            const OLD: &str = "select n from threads t where n > ?1 and n <= ?2 and updated_ns < ?3
                and not exists (select 1 from processes p where p.owner = t.owner and p.thread = t.thread_id)";
            let range = params![self.threads.at, last, cutoff(now_unix_ns, age)];
            transaction
                .prepare_cached(&format!("delete from thread_values where thread in ({OLD})"))?
                .execute(range)?;
            transaction
                .prepare_cached(&format!("delete from threads where n in ({OLD})"))?
                .execute(range)?;
        }
        transaction.commit()?;
        match last {
            Some(last) => self.threads.at = last,
            None => self.threads.ended(now_unix_ns),
        }
        Ok(last.is_some())
    }

    /// Removes epochs without records.
    fn remove_old_epochs(&mut self, connection: &mut Connection, now_unix_ns: u64) -> rusqlite::Result<bool> {
        let keeps_all = self.retention == Retention::default();
        if keeps_all || !self.epochs.is_due(now_unix_ns) {
            return Ok(false);
        }
        let is_any = epochs::forget(connection, limits::UPKEEP_RECORDS)? > 0;
        if !is_any {
            self.epochs.ended(now_unix_ns);
        }
        Ok(is_any)
    }

    /// Removes some of the oldest finished records if the database is too large, and threads that were last used before
    /// those began. Without such a record it removes the threads that were unused for longest. False: the database is
    /// small enough, or nothing may be removed.
    pub(super) fn make_room(&mut self, connection: &mut Connection) -> rusqlite::Result<bool> {
        let Some(limit) = self.retention.bytes else {
            return Ok(false);
        };
        if used_bytes(connection)? <= limit {
            return Ok(false);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let oldest: Vec<(i64, i64)> = transaction
            .prepare_cached(
                "select n, begun_ns from processes where outcome is not null order by n limit ?1",
            )?
            .query_map([limits::UPKEEP_RECORDS], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let (records, begun): (Vec<_>, Vec<_>) = oldest.into_iter().unzip();
        remove(&transaction, &records)?;
        let threads = unused_threads(&transaction, begun.last().copied().unwrap_or(i64::MAX))?;
        remove_threads(&transaction, &threads)?;
        transaction.commit()?;
        // When nothing may be removed the limit is exceeded, and running processes stay.
        Ok(!records.is_empty() || !threads.is_empty())
    }

    fn round_timings(&mut self, connection: &mut Connection, now_unix_ns: u64) -> rusqlite::Result<bool> {
        if !self.timings.is_due(now_unix_ns) {
            return Ok(false);
        }
        let cutoff = cutoff(now_unix_ns, limits::TIMINGS_EXACT);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Row ids start again from 1 when no record is left, so earlier progress is invalid then.
        transaction
            .prepare_cached(
                "delete from progress where task = 'timings' and n > (select coalesce(max(n), 0) from processes)",
            )?
            .execute([])?;
        let rounded: i64 = transaction
            .prepare_cached("select n from progress where task = 'timings'")?
            .query_row([], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        let old: Vec<(i64, Option<Vec<u8>>)> = transaction
            .prepare_cached(
                "select n, timings from (select n, timings, begun_ns from processes where n > ?1 order by n limit ?2)
                where begun_ns < ?3",
            )?
            .query_map(params![rounded, limits::UPKEEP_RECORDS, cutoff], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (n, timings) in &old {
            // Timings in an unknown format stay unchanged.
            if let Some(stages) = timings.as_deref().and_then(decode) {
                let shape: i64 = transaction
                    .prepare_cached(
                        "insert into shapes (stages) values (?1)
                         on conflict do update set stages = stages returning shape",
                    )?
                    .query_row([shape(&stages)], |row| row.get(0))?;
                transaction
                    .prepare_cached("update processes set timings = ?2 where n = ?1")?
                    .execute(params![n, encode_rounded(shape.unsigned_abs(), &stages)])?;
            }
        }
        if let Some((last, _)) = old.last() {
            transaction
                .prepare_cached(
                    "insert into progress (task, n) values ('timings', ?1) on conflict do update set n = ?1",
                )?
                .execute([last])?;
        }
        transaction.commit()?;
        if old.is_empty() {
            self.timings.ended(now_unix_ns);
        }
        Ok(!old.is_empty())
    }
}

/// Some records of an owner after a position that began before `cutoff`, and when they ended.
fn begun_before(
    connection: &Connection,
    cutoff: i64,
    position: TimeIndexPosition,
) -> rusqlite::Result<Vec<(TimeIndexPosition, Option<i64>)>> {
    let mut select = connection.prepare_cached(
        "select n, begun_ns, ended_ns from processes indexed by processes_by_time
        where owner = ?1 and begun_ns >= ?2 and (begun_ns > ?2 or n > ?3) and begun_ns < ?4
        order by begun_ns, n limit ?5",
    )?;
    let some = params![
        position.owner,
        position.begun_ns,
        position.n,
        cutoff,
        limits::UPKEEP_RECORDS
    ];
    let records = select.query_map(some, |row| {
        let (n, begun_ns) = (row.get(0)?, row.get(1)?);
        Ok((
            TimeIndexPosition {
                n,
                begun_ns,
                ..position
            },
            row.get(2)?,
        ))
    })?;
    records.collect()
}

fn remove(connection: &Connection, processes: &[i64]) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("delete from processes where n = ?1")?;
    for n in processes {
        delete.execute([n])?;
    }
    Ok(())
}

/// Some threads without a record that were last used before `until`, the least recently used first.
fn unused_threads(connection: &Connection, until: i64) -> rusqlite::Result<Vec<i64>> {
    let owners: Vec<i64> = connection
        .prepare_cached("select owner from owners")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    // By owner and archived flag, because the index has them in that order.
    let mut select = connection.prepare_cached(
        "select updated_ns, n from threads t indexed by threads_by_update
        where owner = ?1 and archived = ?2 and updated_ns < ?3
            and not exists (select 1 from processes p where p.owner = t.owner and p.thread = t.thread_id)
        order by updated_ns limit ?4",
    )?;
    let mut unused: Vec<(i64, i64)> = Vec::new();
    for owner in owners {
        for archived in [false, true] {
            let some = params![owner, archived, until, limits::UPKEEP_RECORDS];
            for thread in select.query_map(some, |row| Ok((row.get(0)?, row.get(1)?)))? {
                unused.push(thread?);
            }
        }
    }
    unused.sort_unstable();
    unused.truncate(limits::UPKEEP_RECORDS as usize);
    Ok(unused.into_iter().map(|(_, n)| n).collect())
}

fn remove_threads(connection: &Connection, threads: &[i64]) -> rusqlite::Result<()> {
    let mut values = connection.prepare_cached("delete from thread_values where thread = ?1")?;
    let mut delete = connection.prepare_cached("delete from threads where n = ?1")?;
    for n in threads {
        values.execute([n])?;
        delete.execute([n])?;
    }
    Ok(())
}

fn pages(connection: &Connection, which: &str) -> rusqlite::Result<u64> {
    connection
        .pragma_query_value(None, which, |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
}

/// Bytes of the used pages.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let used = pages(connection, "page_count")?.saturating_sub(pages(connection, "freelist_count")?);
    Ok(used.saturating_mul(pages(connection, "page_size")?))
}

/// Returns some free pages to the file system.
fn vacuum(connection: &Connection) -> rusqlite::Result<bool> {
    let free = pages(connection, "freelist_count")?;
    let slack = u64::from(limits::SLACK_PAGES);
    if free <= slack {
        return Ok(false);
    }
    let some = (free - slack).min(u64::from(limits::VACUUM_PAGES));
    connection.execute_batch(&format!("pragma incremental_vacuum({some})"))?;
    // A file that a person rebuilt in another vacuum mode frees no pages, and upkeep would never end.
    Ok(pages(connection, "freelist_count")? < free)
}
