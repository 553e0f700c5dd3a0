//! Formats a record of `baton.metadata.v1` as text for a terminal and as JSON.
//!
//! All values come from the exec-server: control characters are removed from text and escaped in JSON.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_export::clock;
use baton_proto::metadata::{self as wire, Record, StageTime, Survivor};
use baton_trace::SpanId;
use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::family::{Family, STAGES as FAMILY_STAGES, Unavailable};
use baton_trace::outcome::{Fault, Loss, Outcome, OutcomeKind, StartFailure};
use baton_trace::record::{Anchor, CallRecord, Side, StageRecord};
use baton_trace::report::tree::label;
use baton_trace::report::units::duration;
use baton_trace::stage::{StageId, transport};
use baton_trace::status::RpcStatus;
use baton_trace::text::printable;
use baton_trace::w3c::TraceContext;
use baton_trace::{TraceFlags, TraceId};
use serde_json::{Value, json};

/// Digits of an id in a table: the timestamp of the UUIDv7, and enough random digits to distinguish commands of one
/// millisecond.
const SHORT_ID: usize = 18;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn short_id(process_id: &[u8]) -> String {
    let mut id = hex(process_id);
    id.truncate(SHORT_ID);
    id
}

/// The arguments, approximately as a user would type them in a shell.
pub(crate) fn command(record: &Record) -> String {
    command_line(&record.argv, record.argv_cut)
}

/// As [`command()`].
pub(crate) fn command_line(argv: &[bytes::Bytes], is_cut: bool) -> String {
    let quoted = |argument: &bytes::Bytes| {
        let text = String::from_utf8_lossy(argument).into_owned();
        let is_plain = !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || "-_./:=@%+,".contains(c));
        match is_plain {
            true => text,
            false => format!("'{}'", text.replace('\'', r"'\''")),
        }
    };
    let mut words: Vec<_> = argv.iter().map(quoted).collect();
    if is_cut {
        words.push("…".into());
    }
    printable(&words.join(" ")).into_owned()
}

fn exit(record: &Record) -> Option<CommandExit> {
    match (record.exit_code, record.signal) {
        (Some(code), _) => Some(CommandExit::Code(code)),
        (None, Some(signal)) => Some(CommandExit::Signal(signal)),
        (None, None) => None,
    }
}

/// How the command ended. `None`: it has not.
pub(crate) fn ended(record: &Record) -> Option<Outcome> {
    let exit = exit(record);
    Some(match wire::Outcome::try_from(record.outcome) {
        Ok(wire::Outcome::Running) => return None,
        Ok(wire::Outcome::Exited) => Outcome::Exited {
            code: record.exit_code.unwrap_or_default(),
        },
        Ok(wire::Outcome::Signaled) => Outcome::Signaled {
            signal: record.signal.unwrap_or_default(),
            core_dumped: record.core_dumped,
        },
        Ok(wire::Outcome::TimedOut) => Outcome::TimedOut { exit },
        Ok(wire::Outcome::OutOfMemory) => Outcome::OutOfMemory { exit },
        Ok(wire::Outcome::Killed) => Outcome::Killed {
            by: CallEnd::from_wire(record.call_end()),
            exit,
        },
        Ok(wire::Outcome::FailedToStart) => {
            Outcome::FailedToStart(StartFailure::from_name(&record.start_failure))
        }
        Ok(wire::Outcome::Lost) => Outcome::Lost(Loss::Server),
        // Of a newer exec-server.
        Ok(wire::Outcome::Unknown) | Err(_) => Outcome::Unknown,
    })
}

pub(crate) fn is_failure(record: &Record) -> bool {
    ended(record).is_some_and(|outcome| outcome.is_failure())
}

/// Whose fault it is that the command did not exit with 0. An older exec-server does not tell; then the outcome does.
pub(crate) fn fault(record: &Record) -> Option<Fault> {
    let told = wire::Fault::try_from(record.fault).unwrap_or(wire::Fault::None);
    let known = Fault::ALL.into_iter().find(|fault| asked_fault(*fault) == told);
    known.or_else(|| ended(record).and_then(|outcome| outcome.fault()))
}

/// The fault as a query asks for it.
pub(crate) fn asked_fault(fault: Fault) -> wire::Fault {
    match fault {
        Fault::Caller => wire::Fault::Caller,
        Fault::Command => wire::Fault::Command,
        Fault::Limit => wire::Fault::Limit,
        Fault::Network => wire::Fault::Network,
        Fault::Server => wire::Fault::Server,
        Fault::Unknown => wire::Fault::Unknown,
    }
}

/// The outcome's name, with the exit code or signal.
pub(crate) fn outcome(record: &Record) -> String {
    let status = exit(record).map(|exit| format!(" {exit}")).unwrap_or_default();
    let core = if record.core_dumped { ", core" } else { "" };
    format!("{}{status}{core}", outcome_name(record))
}

/// The outcome's name, the same as in the attribute `baton.outcome` of spans.
fn outcome_name(record: &Record) -> &'static str {
    ended(record).map_or("running", |outcome| outcome.as_str())
}

/// The outcome as a query asks for it.
pub(crate) fn asked_outcome(kind: OutcomeKind) -> wire::Outcome {
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

/// The time from acceptance to the end. `None` for a running command, and for a lost one, whose end is unknown.
fn duration_ns(record: &Record) -> Option<u64> {
    let is_known = record.ended_unix_ns > 0 && record.outcome() != wire::Outcome::Lost;
    is_known.then(|| record.ended_unix_ns.saturating_sub(record.accepted_unix_ns))
}

pub(crate) fn took(record: &Record) -> String {
    duration_ns(record).map_or_else(String::new, |ns| duration(ns, false))
}

pub(crate) fn slowest(record: &Record) -> String {
    match stage(record.slowest_stage) {
        Some(stage) => format!("{} {}", label(stage), duration(record.slowest_ns, false)),
        None => String::new(),
    }
}

fn stage(id: u32) -> Option<StageId> {
    u8::try_from(id).ok().filter(|id| *id > 0).map(StageId)
}

/// The age of a time, like `5 min ago`.
pub(crate) fn ago(unix_ns: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(unix_ns);
    let Ok(ago) = SystemTime::now().duration_since(at) else {
        return "now".into();
    };
    let seconds = ago.as_secs();
    match seconds {
        0 => "now".into(),
        1..=59 => format!("{seconds} s ago"),
        60..=3_599 => format!("{} min ago", seconds / 60),
        3_600..=86_399 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// A time in UTC.
pub(crate) fn time(unix_ns: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(unix_ns);
    // `humantime` panics beyond the year 9999.
    match unix_ns / 1_000_000_000 {
        0..253_402_300_800 => humantime::format_rfc3339_millis(at).to_string(),
        _ => "?".into(),
    }
}

pub(crate) fn survivor(record: &Record) -> Option<&'static str> {
    match record.survivor() {
        Survivor::None => None,
        Survivor::Killed => Some("it was found running when the exec-server came back, and killed"),
        Survivor::Left => {
            Some("it was found running when the exec-server came back, and left running, being detached")
        }
    }
}

/// One line of JSON, safe for a terminal: escapes control characters that JSON would leave as they are.
pub(crate) fn line(json: &Value) -> String {
    let text = format!("{json}");
    let steers = |c: char| matches!(printable(c.encode_utf8(&mut [0; 4])), Cow::Owned(_));
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match steers(c) {
            // All control characters are below U+FFFF, and occur only within strings.
            true => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => line.push(c),
        }
    }
    line.push('\n');
    line
}

/// The record as JSON.
pub(crate) fn json(record: &Record) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let some = |number: u64| (number > 0).then_some(number);
    let argv: Vec<_> = record.argv.iter().map(|argument| text(argument)).collect();
    let full = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "id": hex(&record.process_id),
        "thread": full(&record.thread_id),
        "turn": some(record.turn),
        "step": full(&record.step),
        "argv": argv,
        "argv_cut": record.argv_cut,
        "cwd": full(&text(&record.cwd)),
        "outcome": outcome_name(record),
        "fault": fault(record).map(Fault::as_str),
        "start_failure": ended(record)
            .and_then(|outcome| outcome.start_failure())
            .map(StartFailure::as_str),
        "failed": is_failure(record),
        "exit_code": record.exit_code,
        "signal": record.signal,
        "core_dumped": record.core_dumped,
        "message": full(&record.message),
        "call_end": CallEnd::from_wire(record.call_end()).map(CallEnd::name),
        "accepted": time(record.accepted_unix_ns),
        "accepted_unix_ns": record.accepted_unix_ns,
        "spawned_unix_ns": some(record.spawned_unix_ns),
        "ended_unix_ns": some(record.ended_unix_ns),
        "duration_ns": duration_ns(record),
        "slowest_stage": stage(record.slowest_stage).map(label),
        "slowest_ns": stage(record.slowest_stage).map(|_| record.slowest_ns),
        "family": Family::from_wire(record.family()).map(Family::name),
        "family_remainder_ns": record.family_remainder_ns,
        "unavailable": unavailable_json(record),
        "trace_id": full(&hex(&record.trace_id)),
        "last_seq": record.last_seq,
        "stdout_bytes": record.stdout_bytes,
        "stderr_bytes": record.stderr_bytes,
        "survivor": match record.survivor() {
            Survivor::None => None,
            Survivor::Killed => Some("killed"),
            Survivor::Left => Some("left"),
        },
    })
}

/// The reasons of the family's stages that have no interval, by stage.
fn unavailable_json(record: &Record) -> Option<Value> {
    let reasons = record.unavailable.iter().filter_map(|unavailable| {
        let stage = label(stage(unavailable.stage)?).into_owned();
        Some((stage, Value::from(&*unavailable.reason)))
    });
    (record.family != 0).then(|| reasons.collect())
}

/// What the command's family measured, one line each: its name with the remainder, its stages in order, and what the
/// user can do about a missing one.
pub(crate) fn family(record: &Record, stages: &[StageTime]) -> Vec<String> {
    let Some(family) = Family::from_wire(record.family()) else {
        return Vec::new();
    };
    let remainder = record.family_remainder_ns.unwrap_or_default();
    let first = format!("{}, remainder {}", family.name(), duration(remainder, false));
    let rows = FAMILY_STAGES.into_iter().filter_map(|family_stage| {
        let id = u32::from(family_stage.0);
        let measured = stages.iter().find(|time| time.stage == id);
        let reason = record
            .unavailable
            .iter()
            .find(|unavailable| unavailable.stage == id);
        let shown = match (measured, reason) {
            (Some(time), _) => duration(time.duration_ns, false),
            (None, Some(unavailable)) => format!("unavailable: {}", unavailable.reason),
            (None, None) => return None,
        };
        Some(format!("{} {shown}", label(family_stage)))
    });
    let hints = record.unavailable.iter().filter_map(|unavailable| {
        let reason = Unavailable::from_name(&unavailable.reason)?;
        reason.hint(family).map(str::to_owned)
    });
    std::iter::once(first).chain(rows).chain(hints).collect()
}

pub(crate) fn stages_json(stages: &[StageTime]) -> Value {
    let one = |time: &StageTime| {
        json!({
            "stage": stage(time.stage).map(label),
            "attempt": time.attempt,
            "start_ns": time.start_ns,
            "duration_ns": time.duration_ns,
        })
    };
    stages.iter().map(one).collect()
}

/// A call that consists of the exec-server's stages only, for drawing a waterfall. `None` without stages.
pub(crate) fn call(record: &Record, stages: &[StageTime]) -> Option<CallRecord> {
    let ns = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    let drawn = |time: &StageTime| {
        let start_ns = ns(time.start_ns);
        Some(StageRecord {
            stage: stage(time.stage)?,
            attempt: u8::try_from(time.attempt).unwrap_or(u8::MAX),
            start_ns,
            end_ns: start_ns.saturating_add(ns(time.duration_ns)),
            estimated: false,
        })
    };
    let mut stages: Vec<_> = stages.iter().filter_map(drawn).collect();
    let end_ns = stages.iter().map(|stage| stage.end_ns).max()?;
    stages.push(StageRecord {
        stage: transport::CALL,
        attempt: 0,
        start_ns: 0,
        end_ns,
        estimated: false,
    });
    let trace_id = <[u8; 16]>::try_from(&record.trace_id[..]).unwrap_or_default();
    Some(CallRecord {
        side: Side::Client,
        context: TraceContext {
            trace_id: TraceId::from_bytes(trace_id),
            span_id: SpanId::from_bytes([0; 8]),
            flags: TraceFlags::NOT_SAMPLED,
            ..TraceContext::new_root(false)
        },
        parent: None,
        links: Vec::new(),
        method: "baton.exec.v1.Exec/Run".into(),
        anchor: Anchor {
            unix_ns: record.accepted_unix_ns,
            ..clock::anchor()
        },
        stages,
        status: RpcStatus(0),
        clock: None,
        server_unix_ns: None,
        server_calls: Vec::new(),
        attributes: Vec::new(),
        command: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it_and_steers_no_terminal() {
        let record = Record {
            argv: ["sh", "-c", "echo 'a b'\x1b[2J", "", "plain-1.x"]
                .map(bytes::Bytes::from)
                .to_vec(),
            argv_cut: true,
            ..Record::default()
        };
        assert_eq!(command(&record), r"sh -c 'echo '\''a b'\''[2J' '' plain-1.x …");
    }

    #[test]
    fn a_line_of_json_steers_no_terminal_and_is_the_same_json() {
        let record = Record {
            argv: vec![bytes::Bytes::from(
                "\u{9b}2J \u{1b}[1m \u{7f} \u{202e} ü \u{1f600} \n",
            )],
            ..Record::default()
        };
        let json = json(&record);
        let line = line(&json);
        let text = line.strip_suffix('\n').unwrap();
        assert_eq!(printable(text), text);
        assert!(text.contains(r"\u009b2J") && text.contains('ü'), "{text}");
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), json);
    }

    #[test]
    fn an_outcome_is_shown_by_the_word_that_spans_and_json_have() {
        for kind in OutcomeKind::ALL {
            let name = kind.as_str();
            let record = Record {
                outcome: asked_outcome(kind).into(),
                signal: Some(15),
                ..Record::default()
            };
            assert_eq!(outcome(&record), format!("{name} TERM"));
            assert_eq!(json(&record)["outcome"], name);
        }
        let running = json(&Record::default());
        assert_eq!(
            (&running["outcome"], &running["fault"]),
            (&"running".into(), &Value::Null)
        );
        // Of a newer exec-server.
        let newer = json(&Record {
            outcome: 99,
            ..Record::default()
        });
        assert_eq!(
            (&newer["outcome"], &newer["fault"]),
            (&"unknown".into(), &"unknown".into())
        );
    }

    #[test]
    fn a_fault_that_an_older_exec_server_does_not_tell_follows_from_the_outcome() {
        let record = |call_end: CallEnd, fault: wire::Fault| Record {
            outcome: wire::Outcome::Killed.into(),
            call_end: CallEnd::to_wire(Some(call_end)).into(),
            fault: fault.into(),
            ..Record::default()
        };
        let told = record(CallEnd::Reset, wire::Fault::None);
        assert_eq!((fault(&told), is_failure(&told)), (Some(Fault::Caller), false));
        let told = record(CallEnd::ShutDown, wire::Fault::None);
        assert_eq!((fault(&told), is_failure(&told)), (Some(Fault::Server), true));
        assert_eq!(
            fault(&record(CallEnd::ShutDown, wire::Fault::Limit)),
            Some(Fault::Limit)
        );
    }

    #[test]
    fn every_reason_that_ended_a_call_has_its_word_in_json() {
        let word = |number: i32| {
            let record = Record {
                call_end: number,
                ..Record::default()
            };
            json(&record)["call_end"].as_str().map(str::to_owned)
        };
        assert_eq!((word(0), word(99)), (None, None));
        let words: Vec<_> = (1..).map_while(word).collect();
        assert_eq!(words, CallEnd::ALL.map(CallEnd::name));
    }

    #[test]
    fn how_long_a_lost_command_took_is_not_known() {
        let mut record = Record {
            accepted_unix_ns: 1_000,
            ended_unix_ns: 4_000,
            outcome: wire::Outcome::Exited.into(),
            ..Record::default()
        };
        assert_eq!(
            (&*took(&record), &json(&record)["duration_ns"]),
            ("3.0 µs", &3_000.into())
        );
        record.outcome = wire::Outcome::Lost.into();
        assert_eq!(
            (&*took(&record), &json(&record)["duration_ns"]),
            ("", &Value::Null)
        );
    }

    #[test]
    fn a_command_without_thread_turn_and_step_has_null_for_each() {
        let ids = |record: &Record| {
            let json = json(record);
            [json["thread"].clone(), json["turn"].clone(), json["step"].clone()]
        };
        assert_eq!(ids(&Record::default()), [Value::Null, Value::Null, Value::Null]);
        let record = Record {
            thread_id: "t".into(),
            turn: 2,
            step: "s".into(),
            ..Record::default()
        };
        assert_eq!(ids(&record), [Value::from("t"), Value::from(2), Value::from("s")]);
    }

    #[test]
    fn whatever_an_exec_server_says_is_drawn() {
        let record = Record {
            accepted_unix_ns: u64::MAX,
            ended_unix_ns: 1,
            slowest_stage: 999,
            outcome: 77,
            trace_id: vec![1].into(),
            ..Record::default()
        };
        let stages = [StageTime {
            stage: 32,
            attempt: 1000,
            start_ns: u64::MAX,
            duration_ns: u64::MAX,
        }];
        assert!(call(&record, &stages).is_some() && call(&record, &[]).is_none());
        assert_eq!(time(u64::MAX), "2554-07-21T23:34:33.709Z");
        json(&record);
        assert_eq!((took(&record), slowest(&record)), ("0 µs".into(), String::new()));
    }
}
