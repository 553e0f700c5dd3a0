//! The call records in a trace, for the waterfall.
//!
//! A record comes back from what `--trace-json` wrote, and from spans that went through a collector, also with the
//! client's or the server's half missing. A file is untrusted: the number of stages is limited, and the content is only
//! drawn.

use std::time::Instant;

use baton_trace::call_end::CallEnd;
use baton_trace::clock::ClockOffset;
use baton_trace::command::{CommandExit, CommandSummary};
use baton_trace::family::FamilySummary;
use baton_trace::outcome::{Fault, Loss, Outcome, OutcomeKind, StartFailure};
use baton_trace::record::{Anchor, CallRecord, Side, StageRecord};
use baton_trace::stage::{StageId, exec, transport};
use baton_trace::status::{self, RpcStatus};
use baton_trace::w3c::{Baggage, TraceContext, Tracestate};
use baton_trace::{SpanId, TraceFlags, TraceId, attribute};
use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, PROCESS_EXECUTABLE_NAME, PROCESS_EXIT_CODE, PROCESS_PID, RPC_METHOD, RPC_METHOD_ORIGINAL,
    RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME,
};

use crate::limits::{RECORD_ATTRIBUTES_MAX, RECORD_STAGES_MAX};
use crate::model::{CallSpans, Link, Span, Trace, Tree, Value};
use crate::read::{ReadError, ReadSummary, Reader};

/// The method name of the conventions for an unknown method.
const UNKNOWN_METHOD: &str = "_OTHER";

/// The calls of a trace, in the order in which the trace first mentions them.
pub fn records(trace: &Trace) -> Vec<CallRecord> {
    let calls = Tree::of(trace).calls(trace);
    calls.iter().map(|call| record(trace, call)).collect()
}

/// The calls in the text of a trace file, and what could not be read.
///
/// # Errors
/// [`ReadError`], only of a temporary file that a large text needs.
pub fn read_text(text: &[u8]) -> Result<(Vec<CallRecord>, ReadSummary), ReadError> {
    let mut found = Vec::new();
    let mut deliver = |trace: Trace| found.extend(records(&trace));
    let mut reader = Reader::new(&mut deliver);
    reader.input("text", text)?;
    let summary = reader.finish()?;
    Ok((found, summary))
}

fn record(trace: &Trace, found: &CallSpans) -> CallRecord {
    let stages: Vec<&Span> = found.stages.iter().map(|index| &trace.spans()[*index]).collect();
    let first = |stage| stages.iter().copied().find(|span| span.stage == Some(stage));
    let call = first(transport::CALL);
    let rpc = first(transport::RPC);
    let encoded = call.or(rpc);
    let unix_ns = call.map(|call| call.start_ns);
    let unix_ns = unix_ns
        .or_else(|| stages.iter().map(|span| span.start_ns).min())
        .unwrap_or(0);

    let mut context = TraceContext {
        trace_id: trace.id(),
        span_id: found.envelope,
        flags: TraceFlags::SAMPLED,
        tracestate: Tracestate::default(),
        baggage: Baggage::default(),
    };
    if let Some(span) = encoded {
        context.flags = TraceFlags::new((span.flags & 0b11) as u8);
        context.tracestate = Tracestate::parse(trace.trace_state(span)).unwrap_or_default();
    }
    let command = call
        .or_else(|| first(exec::PROCESS))
        .and_then(|span| read_command(trace, span, first(exec::PROCESS)));
    let of_speaker = |key| encoded.and_then(|span| trace.text(span, key)).unwrap_or_default();
    let number = |key| call.and_then(|call| trace.integer(call, key));
    let offset = number(attribute::CLOCK_OFFSET_NS);
    let error = number(attribute::CLOCK_ERROR_NS).and_then(|ns| u64::try_from(ns).ok());
    CallRecord {
        side: if call.is_some() {
            Side::Client
        } else {
            Side::Server
        },
        context,
        // The parent of a server's half without its `rpc` is missing.
        parent: match (call, rpc) {
            (Some(outermost), _) | (None, Some(outermost)) => outermost.parent,
            (None, None) => Some(found.envelope),
        },
        links: call
            .and_then(|call| trace.links(call).next())
            .and_then(|link| linked(&link))
            .into_iter()
            .collect(),
        method: encoded
            .map(|span| method(trace, span).to_owned())
            .unwrap_or_default()
            .into(),
        anchor: Anchor {
            instant: Instant::now(),
            unix_ns,
        },
        stages: stages
            .iter()
            .take(RECORD_STAGES_MAX)
            .map(|span| stage(trace, span, unix_ns))
            .collect(),
        status: status::from_name(of_speaker(RPC_RESPONSE_STATUS_CODE)).unwrap_or(RpcStatus(0)),
        server_unix_ns: None,
        server_calls: Vec::new(),
        clock: offset
            .zip(error)
            .map(|(offset_ns, error_ns)| ClockOffset { offset_ns, error_ns }),
        attributes: encoded
            .map(|span| attributes(trace, span, command.as_ref()))
            .unwrap_or_default(),
        command: command.map(Box::new),
    }
}

fn stage(trace: &Trace, span: &Span, anchor_ns: u64) -> StageRecord {
    let offset = |ns: u64| {
        let distance = i64::try_from(ns.abs_diff(anchor_ns)).unwrap_or(i64::MAX);
        if ns < anchor_ns { -distance } else { distance }
    };
    let start_ns = offset(span.start_ns);
    let attempt = trace
        .integer(span, attribute::ATTEMPT)
        .and_then(|attempt| u8::try_from(attempt).ok());
    StageRecord {
        // No stage has the id 0, so a name of a newer version is shown as unknown.
        stage: span.stage.unwrap_or(StageId(0)),
        attempt: attempt.unwrap_or(0),
        start_ns,
        end_ns: offset(span.end_ns).max(start_ns),
        estimated: trace.attribute(span, attribute::ESTIMATED) == Some(Value::Bool(true)),
    }
}

fn linked(link: &Link<'_>) -> Option<TraceContext> {
    let is_valid = link.trace != TraceId::INVALID && link.span != SpanId::INVALID;
    is_valid.then(|| TraceContext {
        trace_id: link.trace,
        span_id: link.span,
        flags: TraceFlags::new((link.flags & 0b11) as u8),
        tracestate: Tracestate::parse(link.trace_state).unwrap_or_default(),
        baggage: Baggage::default(),
    })
}

fn method<'a>(trace: &'a Trace, span: &Span) -> &'a str {
    match trace.text(span, RPC_METHOD).unwrap_or_default() {
        UNKNOWN_METHOD => trace.text(span, RPC_METHOD_ORIGINAL).unwrap_or_default(),
        method => method,
    }
}

/// The attributes of a command without those that the exporter added.
const OF_COMMAND: [&str; 8] = [
    PROCESS_EXECUTABLE_NAME,
    PROCESS_PID,
    attribute::PROCESS_ID,
    attribute::THREAD,
    attribute::TURN,
    attribute::STEP,
    attribute::ARGUMENTS_FINGERPRINT,
    attribute::CLIENT,
];

fn read_command(trace: &Trace, span: &Span, process: Option<&Span>) -> Option<CommandSummary> {
    let kind = OutcomeKind::from_name(trace.text(span, attribute::OUTCOME)?).unwrap_or(OutcomeKind::Unknown);
    let code = trace
        .integer(span, PROCESS_EXIT_CODE)
        .and_then(|code| i32::try_from(code).ok());
    let exit = code.map(|code| match trace.text(span, attribute::SIGNAL) {
        Some(_) => CommandExit::Signal(code.saturating_sub(128)),
        None => CommandExit::Code(code),
    });
    let outcome = match (kind, exit) {
        (OutcomeKind::Exited, Some(CommandExit::Code(code))) => Outcome::Exited { code },
        (OutcomeKind::Signaled, Some(CommandExit::Signal(signal))) => Outcome::Signaled {
            signal,
            // No span has it.
            core_dumped: false,
        },
        (OutcomeKind::TimedOut, exit) => Outcome::TimedOut { exit },
        (OutcomeKind::OutOfMemory, exit) => Outcome::OutOfMemory { exit },
        (OutcomeKind::Killed, exit) => Outcome::Killed {
            by: trace.text(span, attribute::CALL_END).and_then(CallEnd::from_name),
            exit,
        },
        (OutcomeKind::FailedToStart, _) => {
            let name = trace.text(span, attribute::START_FAILURE).unwrap_or_default();
            Outcome::FailedToStart(StartFailure::from_name(name))
        }
        (OutcomeKind::Lost, _) => {
            let fault = trace.text(span, attribute::FAULT).and_then(Fault::from_name);
            Outcome::Lost(match fault {
                Some(Fault::Network) => Loss::Connection,
                Some(Fault::Caller) => Loss::Superseded,
                _ => Loss::Server,
            })
        }
        (OutcomeKind::Exited | OutcomeKind::Signaled | OutcomeKind::Unknown, _) => Outcome::Unknown,
    };
    Some(CommandSummary {
        label: trace.name(span).to_owned().into(),
        attributes: kept(trace, span, |key| OF_COMMAND.contains(&key)),
        family: process.and_then(|process| {
            FamilySummary::from_attributes(|key| trace.text(process, key), |key| trace.integer(process, key))
        }),
        outcome,
    })
}

/// The attributes of the record, without those that the exporter added.
fn attributes(trace: &Trace, span: &Span, command: Option<&CommandSummary>) -> Vec<KeyValue> {
    let conventional = [
        RPC_SYSTEM_NAME,
        RPC_METHOD,
        RPC_METHOD_ORIGINAL,
        RPC_RESPONSE_STATUS_CODE,
        ERROR_TYPE,
    ];
    let of_command = |key: &str| key == PROCESS_EXIT_CODE || OF_COMMAND.contains(&key);
    kept(trace, span, |key| {
        let is_made = key.starts_with("baton.") || conventional.contains(&key);
        !is_made && (command.is_none() || !of_command(key))
    })
}

fn kept(trace: &Trace, span: &Span, is_wanted: impl Fn(&str) -> bool) -> Vec<KeyValue> {
    let wanted = trace.attributes(span).filter(|(key, _)| is_wanted(key));
    let read = wanted.filter_map(|(key, value)| {
        let value = match value {
            Value::Text(text) => opentelemetry::Value::from(text.to_owned()),
            Value::Bool(flag) => flag.into(),
            Value::Int(number) => number.into(),
            Value::Double(number) => number.into(),
            Value::Other(_) => return None,
        };
        Some(KeyValue::new(key.to_owned(), value))
    });
    read.take(RECORD_ATTRIBUTES_MAX).collect()
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests;
