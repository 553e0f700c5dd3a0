//! Conversion of records to messages.

use std::num::NonZeroU64;
use std::sync::Arc;

use baton_proto::metadata as wire;
use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::outcome::{Fault, OutcomeKind, StartFailure};

use crate::record::{CwdFacts, ProcessEnd};
use crate::store::query::{ProcessRecord, SurvivorFate, ThreadRecord};
use crate::store::timings::decode;

/// Converts a record. A client that may not learn trace ids gets none.
pub(super) fn record(record: &ProcessRecord, sees_ids: bool) -> wire::Record {
    let patch = &record.patch;
    let mut out = wire::Record {
        process_id: patch.key.process_id.0.to_vec().into(),
        accepted_unix_ns: record.begun_unix_ns,
        last_seq: patch.last_seq,
        survivor: match record.survivor {
            None => wire::Survivor::None,
            Some(SurvivorFate::Killed) => wire::Survivor::Killed,
            Some(SurvivorFate::Left) => wire::Survivor::Left,
        }
        .into(),
        ..wire::Record::default()
    };
    if let Some(start) = &patch.start {
        out.thread_id = start.thread_id.as_deref().unwrap_or_default().into();
        out.turn = start.turn.map_or(0, NonZeroU64::get);
        out.step = start.step.as_deref().unwrap_or_default().into();
        let argv = start.argv.iter();
        out.argv = argv.map(|argument| argument.to_vec().into()).collect();
        out.argv_cut = start.argv_cut;
        out.cwd = start.cwd.to_vec().into();
        if let Some(trace) = start.trace.filter(|_| sees_ids) {
            out.trace_id = trace.trace_id.to_vec().into();
        }
    }
    if let Some(spawned) = &patch.spawned {
        out.spawned_unix_ns = spawned.spawned_unix_ns;
    }
    if let Some(end) = &patch.end {
        ended(&mut out, end);
    }
    out
}

fn ended(out: &mut wire::Record, end: &ProcessEnd) {
    out.ended_unix_ns = end.ended_unix_ns;
    out.message = end.message.as_deref().unwrap_or_default().into();
    out.stdout_bytes = end.stdout_bytes;
    out.stderr_bytes = end.stderr_bytes;
    if let Some(slowest) = end.timings.as_ref().and_then(|timings| timings.slowest) {
        out.slowest_stage = slowest.stage.0.into();
        out.slowest_ns = slowest.duration_ns;
    }
    if let Some(family) = &end.family {
        let report = family.to_wire();
        out.family = report.family;
        out.family_remainder_ns = Some(report.remainder_ns);
        out.unavailable = report.unavailable;
    }
    let outcome = &end.outcome;
    out.outcome = outcome_to_wire(outcome.kind()).into();
    match outcome.exit() {
        Some(CommandExit::Code(code)) => out.exit_code = Some(code),
        Some(CommandExit::Signal(signal)) => out.signal = Some(signal),
        None => {}
    }
    out.core_dumped = outcome.core_dumped();
    // A timeout of a record from before schema 4 has no call end there; it has one here.
    out.call_end = CallEnd::to_wire(outcome.call_end()).into();
    out.fault = outcome.fault().map_or(wire::Fault::None, fault_to_wire).into();
    let start_failure = outcome.start_failure();
    out.start_failure = start_failure.map_or("", StartFailure::as_str).into();
}

fn outcome_to_wire(kind: OutcomeKind) -> wire::Outcome {
    match kind {
        OutcomeKind::Exited => wire::Outcome::Exited,
        OutcomeKind::Signaled => wire::Outcome::Signaled,
        OutcomeKind::TimedOut => wire::Outcome::TimedOut,
        OutcomeKind::OutOfMemory => wire::Outcome::OutOfMemory,
        OutcomeKind::Killed => wire::Outcome::Killed,
        OutcomeKind::FailedToStart => wire::Outcome::FailedToStart,
        OutcomeKind::Lost => wire::Outcome::Lost,
        OutcomeKind::Unknown => wire::Outcome::Unknown,
    }
}

/// The outcome that a query asks for; `None` if no record has it.
pub(super) fn asked_outcome(number: i32) -> Option<OutcomeKind> {
    OutcomeKind::ALL
        .into_iter()
        .find(|kind| i32::from(outcome_to_wire(*kind)) == number)
}

fn fault_to_wire(fault: Fault) -> wire::Fault {
    match fault {
        Fault::Caller => wire::Fault::Caller,
        Fault::Command => wire::Fault::Command,
        Fault::Limit => wire::Fault::Limit,
        Fault::Network => wire::Fault::Network,
        Fault::Server => wire::Fault::Server,
        Fault::Unknown => wire::Fault::Unknown,
    }
}

/// The fault that a query asks for; `None` if it is none.
pub(super) fn asked_fault(number: i32) -> Option<Fault> {
    Fault::ALL
        .into_iter()
        .find(|fault| i32::from(fault_to_wire(*fault)) == number)
}

/// The stages of a record that was read with its timings.
pub(super) fn stages(record: &ProcessRecord) -> Vec<wire::StageTime> {
    let timings = record.patch.end.as_ref().and_then(|end| end.timings.as_ref());
    let times = timings.and_then(|timings| decode(&timings.encoded));
    let stage = |time: crate::store::timings::StageTime| wire::StageTime {
        stage: time.stage.0.into(),
        attempt: time.attempt.into(),
        start_ns: time.start_ns,
        duration_ns: time.duration_ns,
    };
    times.unwrap_or_default().into_iter().map(stage).collect()
}

pub(super) fn thread(thread: &ThreadRecord) -> wire::Thread {
    wire::Thread {
        thread_id: thread.key.thread_id.to_string(),
        title: thread.title.clone().unwrap_or_default(),
        archived: thread.archived,
        created_unix_ns: thread.created_unix_ns,
        updated_unix_ns: thread.updated_unix_ns,
    }
}

pub(super) fn facts(facts: &Arc<CwdFacts>) -> wire::Facts {
    let bytes = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map(|bytes| bytes.to_vec().into());
    wire::Facts {
        cwd: facts.cwd.to_vec().into(),
        repository_root: bytes(&facts.repository_root).unwrap_or_default(),
        branch: bytes(&facts.branch).unwrap_or_default(),
        head: facts.head.as_deref().unwrap_or_default().into(),
        found_unix_ns: facts.found_unix_ns,
    }
}
