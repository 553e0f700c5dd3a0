//! Epochs of the server (table `lives`), and processes that an earlier one left running.
//!
//! Each opening begins an epoch. Processes that an earlier epoch left running are `lost`: their end was not observed.
//! Such a process may still run, because a killed server does not kill its children. It is recognised by boot id, pid
//! and start time together, so that another process with that pid is never signalled.

use rusqlite::{Connection, TransactionBehavior, params};

use baton_proto::{Epoch, ProcessId};
use baton_trace::stage;

use super::columns::number;
use crate::record::{Owner, ProcessKey};
use crate::store::boot;

/// A process of an earlier epoch that still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Its record.
    pub key: ProcessKey,
    /// Its pid, which is also its process group's id.
    pub os_pid: u32,
    /// Its start time in clock ticks after the boot, or a little later. It must be checked again right before the
    /// process is signalled ([`boot::is_running`]).
    pub start_ticks: u64,
    /// Whether it was started to outlive the server; then it is left running.
    pub detached: bool,
}

/// The processes that an earlier epoch left running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Records that ran or were about to, and are `lost` now; those of survivors included.
    pub lost: u64,
    /// Survivors that were passed to `kill`.
    pub killed: Vec<Survivor>,
    /// Detached survivors, which were left running.
    pub left: Vec<Survivor>,
}

/// The epoch and its start.
#[derive(Debug, Clone)]
pub(super) struct EpochStart {
    pub(super) epoch: Epoch,
    pub(super) begun_unix_ns: u64,
}

/// Writes the start of the epoch and the names of the built-in and the registered stages, also into a database that
/// replaces another. One commit: on a disk whose syncs take half a second, a commit for each stage would delay the
/// server's start by half a minute.
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
    let mut name = transaction.prepare(
        "insert into stages (stage, name) values (?1, ?2)
         on conflict (stage) do update set name = ?2 where name <> ?2",
    )?;
    for stage in stage::all().chain(stage::registered()) {
        name.execute(params![stage.id.0, stage.name])?;
    }
    drop(name);
    transaction.commit()
}

/// Removes some epochs without records: at most `some`, the oldest first. Returns how many.
///
/// A record is first written in the running epoch, under a higher number than any existing one, and an epoch begins
/// with the lowest number that its records can have. So the oldest record was first written in the last epoch that
/// begins at its number or below, or in a later one. A record may move to a later epoch, never to an earlier one. So no
/// record names the epochs before that one. The running epoch is the last, and is never removed.
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

/// Writes that the epoch ended in order.
pub(super) fn end(connection: &Connection, epoch: &EpochStart, now_unix_ns: u64) -> rusqlite::Result<()> {
    let ended = "update lives set ended_ns = ?2 where epoch = ?1";
    connection
        .execute(ended, params![epoch.epoch.0, number(now_unix_ns)])
        .map(|_| ())
}

/// Kills the survivors, then marks running records as lost. In this order, a crash in between kills again instead of
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
        "update processes set outcome = 'lost', failed = 1, ended_ns = ?1, message = 'the server ended first'
         where outcome is null",
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
