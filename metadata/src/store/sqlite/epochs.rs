//! Lives of the server, and what an earlier one left behind.
//!
//! Each opening begins a life. What an earlier life left running is `lost`: nobody saw its end. Its process may still be there, because a
//! server that is killed does not take its children along; it is recognised by boot id, pid and start time together, so that no
//! other process that has the pid by now is ever touched.

use rusqlite::{Connection, TransactionBehavior, params};

use baton_proto::{Epoch, ProcessId};

use super::columns::number;
use crate::record::{Owner, ProcessKey};
use crate::store::boot;

/// A process of an earlier life that still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Its record.
    pub key: ProcessKey,
    /// Its pid, which is its process group's too.
    pub os_pid: u32,
    /// When it was made, in clock ticks after the boot, or a little later. Whoever signals it asks again right before
    /// ([`boot::is_running`]).
    pub start_ticks: u64,
    /// It was asked to outlive the server, and is left running.
    pub detached: bool,
}

/// What an earlier life of the server had left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Records that ran, or were about to, and are `lost` now; those of survivors included.
    pub lost: u64,
    /// Survivors that were handed to be killed.
    pub killed: Vec<Survivor>,
    /// Survivors that were left, being detached.
    pub left: Vec<Survivor>,
}

/// This life.
#[derive(Debug, Clone)]
pub(super) struct EpochStart {
    pub(super) epoch: Epoch,
    pub(super) begun_unix_ns: u64,
}

/// Writes that this life has begun. Done again in a database that takes another's place. One commit: on a disk whose syncs take half a
/// second each, a commit for every stage would keep the server from starting for half a minute.
pub(super) fn begin(connection: &mut Connection, epoch: &EpochStart) -> rusqlite::Result<()> {
    let pid = std::process::id();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "insert into lives (epoch, boot_id, os_pid, start_ticks, version, begun_ns, first_n)
        values (?1, ?2, ?3, ?4, ?5, ?6, (select coalesce(max(n), 0) + 1 from processes))
        on conflict (epoch) do nothing",
        params![
            epoch.epoch.0,
            boot::boot_id(),
            pid,
            boot::process_started(pid).map(number),
            env!("CARGO_PKG_VERSION"),
            number(epoch.begun_unix_ns),
        ],
    )?;
    let mut name = transaction.prepare("insert into stages (stage, name) values (?1, ?2) on conflict (stage) do update set name = ?2 where name <> ?2")?;
    for stage in baton_trace::stage::all() {
        name.execute(params![stage.id.0, stage.name])?;
    }
    drop(name);
    transaction.commit()
}

/// Removes some lives that no record is left of: at most `some`, the oldest first. Returns how many.
///
/// A record is first written in the life that runs, under a higher number than any that is left, and a life begins with the lowest number
/// that its records can have. So the life that the oldest record was written in is the last that begins at that record's number or below, or
/// a later one; and whatever life a record names by now, it is no earlier one. Those before it are named by nothing. This life is
/// the last of all, and never before another.
pub(super) fn forget(connection: &Connection, some: u32) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "delete from lives where life in (
                select life from lives
                where life < (
                    select max(life) from lives
                    where first_n <= coalesce((select min(n) from processes), 9223372036854775807)
                )
                order by life limit ?1
            )",
        )?
        .execute([some])
}

/// Writes that this life has ended as it should.
pub(super) fn end(connection: &Connection, epoch: &EpochStart, now_unix_ns: u64) -> rusqlite::Result<()> {
    let ended = "update lives set ended_ns = ?2 where epoch = ?1";
    connection
        .execute(ended, params![epoch.epoch.0, number(now_unix_ns)])
        .map(|_| ())
}

/// Kills what has survived, and then says that what ran is lost; in this order, so that a crash in between kills again instead of
/// never.
pub(super) fn recover(
    connection: &mut Connection,
    now_unix_ns: u64,
    kill: &mut dyn FnMut(&[Survivor]),
) -> rusqlite::Result<RecoveryReport> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut recovered = RecoveryReport::default();
    for (n, survivor) in survivors(&transaction)? {
        let fate = match survivor.detached {
            true => "left",
            false => "killed",
        };
        transaction.execute(
            "update processes set survivor = ?2 where n = ?1",
            params![n, fate],
        )?;
        match survivor.detached {
            true => recovered.left.push(survivor),
            false => recovered.killed.push(survivor),
        }
    }
    if !recovered.killed.is_empty() {
        kill(&recovered.killed);
    }
    recovered.lost = transaction.execute(
        "update processes set outcome = 'lost', failed = 1, ended_ns = ?1, fault = 'the server ended first' where outcome is null",
        [number(now_unix_ns)],
    )? as u64;
    transaction.commit()?;
    Ok(recovered)
}

fn survivors(connection: &Connection) -> rusqlite::Result<Vec<(i64, Survivor)>> {
    let Some(boot_id) = boot::boot_id() else {
        return Ok(Vec::new());
    };
    let mut running = connection.prepare(
        "select p.n, o.key, p.id, p.os_pid, p.start_ticks, coalesce(p.detached, 0)
        from processes p join owners o on o.owner = p.owner join lives l on l.life = p.life
        where p.outcome is null and l.boot_id = ?1 and p.os_pid is not null and p.start_ticks is not null",
    )?;
    let read = running.query_map([boot_id], |row| {
        let survivor = Survivor {
            key: ProcessKey {
                owner: Owner(row.get(1)?),
                process_id: ProcessId(row.get(2)?),
            },
            os_pid: row.get(3)?,
            start_ticks: row.get::<_, i64>(4)?.unsigned_abs(),
            detached: row.get(5)?,
        };
        Ok((row.get(0)?, survivor))
    })?;
    let is_alive = |survivor: &Survivor| boot::is_running(survivor.os_pid, survivor.start_ticks);
    let mut alive = Vec::new();
    for survivor in read {
        let survivor: (i64, Survivor) = survivor?;
        if is_alive(&survivor.1) {
            alive.push(survivor);
        }
    }
    Ok(alive)
}
