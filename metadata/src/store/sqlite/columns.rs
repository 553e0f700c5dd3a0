//! Encoding of records in columns: text where possible, for people and for `json_each`, and bytes otherwise.

use std::num::NonZeroU64;
use std::sync::Arc;

use baton_proto::{Epoch, ProcessId};
use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::family::{Family, FamilySummary, STAGES, Unavailable};
use baton_trace::outcome::{Loss, Outcome, OutcomeKind, StartFailure};
use baton_trace::stage::StageId;
use rusqlite::Row;
use rusqlite::types::{FromSqlError, ToSqlOutput, ValueRef};
use serde_json::{Map, Value};

use crate::record::{
    Argv, Owner, ProcessEnd, ProcessKey, ProcessPatch, ProcessSpawned, ProcessStart, SlowestStage, Timings,
    TraceRef,
};

/// Converts to SQLite's signed numbers. Larger values are capped: only a wrong clock or counter reaches that.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Encodes a path or a name: text if it is UTF-8, else a blob.
pub(super) fn text_or_blob(bytes: &[u8]) -> ToSqlOutput<'_> {
    // Most programs truncate text at a NUL.
    let value = match str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => ValueRef::Text(text.as_bytes()),
        _ => ValueRef::Blob(bytes),
    };
    ToSqlOutput::Borrowed(value)
}

fn bytes(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Box<[u8]>>> {
    match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(Some(bytes.into())),
        _ => Ok(None),
    }
}

/// Encodes arguments: a JSON array if every argument is UTF-8, else NUL-terminated arguments. Written into `out`, which
/// is reused for each row.
pub(super) fn argv<'a>(arguments: &Argv, out: &'a mut Vec<u8>) -> ToSqlOutput<'a> {
    out.clear();
    let is_text = json(arguments, out).is_some();
    ToSqlOutput::Borrowed(match is_text {
        true => ValueRef::Text(out),
        false => {
            out.clear();
            for argument in arguments.iter() {
                out.extend(argument);
                out.push(0);
            }
            ValueRef::Blob(out)
        }
    })
}

/// `None` if an argument is not UTF-8.
fn json(arguments: &Argv, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'[');
    for (at, argument) in arguments.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, str::from_utf8(argument).ok()?).ok()?;
    }
    out.push(b']');
    Some(())
}

fn argv_of(row: &Row<'_>) -> rusqlite::Result<Argv> {
    match row.get_ref("argv")? {
        ValueRef::Text(json) => {
            let texts: Vec<Box<str>> =
                serde_json::from_slice(json).map_err(|error| FromSqlError::Other(Box::new(error)))?;
            Ok(texts.into_iter().map(str::into_boxed_bytes).collect())
        }
        ValueRef::Blob(bytes) => {
            let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
            Ok(bytes.split(|byte| *byte == 0).map(Box::from).collect())
        }
        _ => Ok(Argv::default()),
    }
}

/// The columns of an end.
pub(super) struct EndColumns<'a> {
    pub(super) ended_ns: i64,
    pub(super) outcome: &'static str,
    pub(super) failed: bool,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) core_dumped: Option<bool>,
    pub(super) message: Option<&'a str>,
    pub(super) stdout_bytes: i64,
    pub(super) stderr_bytes: i64,
    pub(super) slowest: Option<u8>,
    pub(super) slowest_ns: Option<i64>,
    pub(super) timings: Option<&'a [u8]>,
    pub(super) call_end: Option<&'static str>,
    pub(super) start_failure: Option<&'static str>,
    pub(super) family: Option<String>,
}

impl<'a> EndColumns<'a> {
    pub(super) fn of(end: &'a ProcessEnd) -> Self {
        let (exit_code, signal) = match end.outcome.exit() {
            Some(CommandExit::Code(code)) => (Some(code), None),
            Some(CommandExit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let core_dumped = match end.outcome {
            Outcome::Signaled { core_dumped, .. } => Some(core_dumped),
            _ => None,
        };
        let timings = end.timings.as_ref();
        let slowest = timings.and_then(|timings| timings.slowest);
        Self {
            ended_ns: number(end.ended_unix_ns),
            outcome: end.outcome.as_str(),
            failed: end.outcome.is_failure(),
            exit_code,
            signal,
            core_dumped,
            message: end.message.as_deref(),
            stdout_bytes: number(end.stdout_bytes),
            stderr_bytes: number(end.stderr_bytes),
            slowest: slowest.map(|slowest| slowest.stage.0),
            slowest_ns: slowest.map(|slowest| number(slowest.duration_ns)),
            timings: timings.map(|timings| &*timings.encoded),
            call_end: end.outcome.call_end().map(CallEnd::name),
            start_failure: end.outcome.start_failure().map(StartFailure::as_str),
            family: end.family.as_ref().map(family),
        }
    }
}

/// Encodes what a family measured.
fn family(summary: &FamilySummary) -> String {
    let reasons = summary.unavailable();
    let reasons: Map<_, _> = reasons
        .map(|(stage, reason)| (stage.name().to_owned(), reason.name().into()))
        .collect();
    let json = serde_json::json!({
        "name": summary.family.name(),
        "remainder_ns": summary.remainder_ns,
        "unavailable": reasons,
    });
    json.to_string()
}

/// `None` for a family or a reason that only another version knows.
fn family_of(text: &str) -> Option<FamilySummary> {
    let json: Value = serde_json::from_str(text).ok()?;
    let mut unavailable = [None; STAGES.len()];
    for (reason, stage) in unavailable.iter_mut().zip(STAGES) {
        if let Some(name) = json["unavailable"].get(stage.name()) {
            *reason = Some(Unavailable::from_name(name.as_str()?)?);
        }
    }
    Some(FamilySummary {
        family: Family::from_name(json["name"].as_str()?)?,
        unavailable,
        remainder_ns: json["remainder_ns"].as_u64()?,
    })
}

fn end_of(row: &Row<'_>) -> rusqlite::Result<Option<ProcessEnd>> {
    let Some(outcome) = row.get::<_, Option<String>>("outcome")? else {
        return Ok(None);
    };
    let exit_code: Option<i32> = row.get("exit_code")?;
    let signal: Option<i32> = row.get("signal")?;
    let exit = match (exit_code, signal) {
        (Some(code), _) => Some(CommandExit::Code(code)),
        (None, Some(signal)) => Some(CommandExit::Signal(signal)),
        (None, None) => None,
    };
    let name = |column| row.get::<_, Option<String>>(column);
    // Values that only a newer version knows are read as unknown. The message still has its sentence.
    let outcome = match OutcomeKind::from_name(&outcome).unwrap_or(OutcomeKind::Unknown) {
        OutcomeKind::Exited => Outcome::Exited {
            code: exit_code.unwrap_or(0),
        },
        OutcomeKind::Signaled => Outcome::Signaled {
            signal: signal.unwrap_or(0),
            core_dumped: row.get::<_, Option<bool>>("core_dumped")?.unwrap_or(false),
        },
        OutcomeKind::TimedOut => Outcome::TimedOut { exit },
        OutcomeKind::OutOfMemory => Outcome::OutOfMemory { exit },
        OutcomeKind::Killed => Outcome::Killed {
            by: name("call_end")?.as_deref().and_then(CallEnd::from_name),
            exit,
        },
        OutcomeKind::FailedToStart => Outcome::FailedToStart(StartFailure::from_name(
            &name("start_failure")?.unwrap_or_default(),
        )),
        OutcomeKind::Lost => Outcome::Lost(Loss::Server),
        OutcomeKind::Unknown => Outcome::Unknown,
    };
    let slowest = match (
        row.get::<_, Option<u8>>("slowest")?,
        row.get::<_, Option<i64>>("slowest_ns")?,
    ) {
        (Some(stage), Some(duration_ns)) => Some(SlowestStage {
            stage: StageId(stage),
            duration_ns: unsigned(duration_ns),
        }),
        _ => None,
    };
    let encoded = bytes(row, "timings")?;
    let timings = (encoded.is_some() || slowest.is_some()).then(|| Timings {
        encoded: encoded.map_or_else(|| Arc::from([]), Arc::from),
        slowest,
    });
    Ok(Some(ProcessEnd {
        outcome,
        message: row
            .get::<_, Option<String>>("message")?
            .map(String::into_boxed_str),
        ended_unix_ns: unsigned(row.get::<_, Option<i64>>("ended_ns")?.unwrap_or(0)),
        stdout_bytes: unsigned(row.get::<_, Option<i64>>("stdout_bytes")?.unwrap_or(0)),
        stderr_bytes: unsigned(row.get::<_, Option<i64>>("stderr_bytes")?.unwrap_or(0)),
        family: row
            .get::<_, Option<String>>("family")?
            .and_then(|text| family_of(&text)),
        timings,
    }))
}

/// Every column of a record except its timings, under the names that [`process_of`] reads; `p` is the process.
pub(super) const PROCESS_COLUMNS: &str = "p.n, o.key as owner_key, p.id, p.begun_ns, l.epoch, l.boot_id, p.thread,
    p.turn, p.step, p.argv, p.argv_cut, p.cwd, p.detached, p.parameters, p.trace_id, p.sampled, p.os_pid, p.start_ticks,
    p.spawned_ns, p.last_seq, p.ended_ns, p.outcome, p.exit_code, p.signal, p.core_dumped, p.message, p.call_end,
    p.start_failure, p.family, p.stdout_bytes, p.stderr_bytes, p.slowest, p.slowest_ns, p.survivor";

/// The joins of [`PROCESS_COLUMNS`], in addition to `processes p`.
pub(super) const PROCESS_JOINS: &str =
    "join owners o on o.owner = p.owner left join lives l on l.life = p.life";

/// Reads a record as one patch.
pub(super) fn process_of(row: &Row<'_>) -> rusqlite::Result<ProcessPatch> {
    let mut patch = ProcessPatch::new(ProcessKey {
        owner: Owner(row.get("owner_key")?),
        process_id: ProcessId(row.get("id")?),
    });
    patch.last_seq = unsigned(row.get("last_seq")?);
    if let Some(epoch) = row.get("epoch")? {
        let trace_id: Option<[u8; 16]> = row.get("trace_id")?;
        let sampled = row.get::<_, Option<bool>>("sampled")?.unwrap_or(false);
        patch.start = Some(Arc::new(ProcessStart {
            epoch: Epoch(epoch),
            boot_id: row.get::<_, Option<_>>("boot_id")?.unwrap_or_default(),
            thread_id: row.get::<_, Option<String>>("thread")?.map(Arc::from),
            turn: row
                .get::<_, Option<i64>>("turn")?
                .map(unsigned)
                .and_then(NonZeroU64::new),
            step: row.get::<_, Option<String>>("step")?.map(String::into_boxed_str),
            argv: argv_of(row)?,
            argv_cut: row.get::<_, Option<bool>>("argv_cut")?.unwrap_or(false),
            cwd: bytes(row, "cwd")?.unwrap_or_default(),
            accepted_unix_ns: unsigned(row.get("begun_ns")?),
            detached: row.get::<_, Option<bool>>("detached")?.unwrap_or(false),
            parameters: row.get::<_, Option<_>>("parameters")?.unwrap_or_default(),
            trace: trace_id.map(|trace_id| TraceRef { trace_id, sampled }),
        }));
    }
    patch.spawned = match (row.get("os_pid")?, row.get::<_, Option<i64>>("start_ticks")?) {
        (Some(os_pid), Some(start_ticks)) => Some(ProcessSpawned {
            os_pid,
            start_ticks: unsigned(start_ticks),
            spawned_unix_ns: unsigned(row.get::<_, Option<i64>>("spawned_ns")?.unwrap_or(0)),
        }),
        _ => None,
    };
    patch.end = end_of(row)?;
    Ok(patch)
}

/// Reads a path or a name.
pub(super) fn name_of(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Box<[u8]>>> {
    bytes(row, column)
}

/// Reads a time.
pub(super) fn time_of(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get::<_, Option<i64>>(column)
        .map(|value| unsigned(value.unwrap_or(0)))
}
