//! Reads records from trace files.
//!
//! Reads what [`json`](super::json) writes, one object or several in a row, also with spans of other tools among them,
//! and with the client's or the server's half of a call missing. A file is untrusted: its size, the number of calls and
//! of their stages are limited, and its content is only drawn.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use baton_trace::attribute;
use baton_trace::clock::ClockOffset;
use baton_trace::command::{CommandEnd, CommandExit, CommandSummary, Outcome};
use baton_trace::family::FamilySummary;
use baton_trace::record::{Anchor, CallRecord, Side, StageRecord};
use baton_trace::report::tree;
use baton_trace::stage::{StageId, exec, transport};
use baton_trace::status;
use baton_trace::status::RpcStatus;
use baton_trace::w3c::{Baggage, TraceContext, Tracestate};
use opentelemetry::{KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, PROCESS_EXECUTABLE_NAME, PROCESS_EXIT_CODE, PROCESS_PID, RPC_METHOD, RPC_METHOD_ORIGINAL,
    RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME,
};

use super::spans::UNKNOWN_METHOD;
use crate::clock;
use crate::limits::{
    RECORD_ATTRIBUTES_MAX, RECORD_STAGES_MAX, TRACE_FILE_CALLS_MAX, TRACE_FILE_DEPTH_MAX, TRACE_FILE_MAX,
};

/// Why a trace file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read the trace file {}: {source}; `--trace-json FILE` writes one", path.display())]
    File {
        /// Its path, as given.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file has only white space.
    #[error("the trace file is empty; write one with `--trace-json FILE`")]
    Empty,
    /// The file is larger than [`TRACE_FILE_MAX`].
    #[error(
        "the trace file is larger than {TRACE_FILE_MAX} bytes; split it, or read it with a trace backend"
    )]
    TooLarge,
    /// The file is not OTLP/JSON.
    #[error("the trace file is not OTLP/JSON: {0}")]
    NotOtlp(#[from] serde_json::Error),
    /// No span in it is a stage of a call.
    #[error(
        "the trace file holds no call of Baton's: none of its {spans} spans is a stage of one (`baton.stage`); was it written by another tool?"
    )]
    NotBaton {
        /// The number of other spans in it.
        spans: usize,
    },
    /// There are more calls than [`TRACE_FILE_CALLS_MAX`].
    #[error("the trace file holds more than {TRACE_FILE_CALLS_MAX} calls; split it")]
    TooManyCalls,
}

/// Reads the calls in a trace file, in the order in which the file first mentions them.
///
/// # Errors
/// [`ReadError`].
pub fn read_file(path: impl AsRef<Path>) -> Result<Vec<CallRecord>, ReadError> {
    let path = path.as_ref();
    // The limit applies while reading, because the file may be a pipe, or grow.
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(TRACE_FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| ReadError::File {
            path: path.into(),
            source,
        })?;
    if bytes.len() as u64 > TRACE_FILE_MAX {
        return Err(ReadError::TooLarge);
    }
    read(&bytes)
}

/// Reads the calls in the text of a trace file.
///
/// # Errors
/// [`ReadError`].
pub fn read(text: &[u8]) -> Result<Vec<CallRecord>, ReadError> {
    if text.trim_ascii().is_empty() {
        return Err(ReadError::Empty);
    }
    let requests = serde_json::Deserializer::from_slice(text).into_iter::<ExportTraceServiceRequest>();
    let mut all = 0;
    let mut spans = Vec::new();
    for request in requests {
        for group in request?
            .resource_spans
            .into_iter()
            .flat_map(|group| group.scope_spans)
        {
            all += group.spans.len();
            spans.extend(group.spans.into_iter().filter_map(StageSpan::read));
        }
    }
    if spans.is_empty() {
        return Err(ReadError::NotBaton { spans: all });
    }
    calls(&spans)
}

/// Stages of a caller's turn (`baton-turn`). They are in no call: a file that an agent writes has them beside its calls.
const OF_TURNS: [&str; 3] = ["ttft", "decode", "tool.dispatch"];

/// A span that is a stage of a call.
struct StageSpan {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    stage: StageId,
    span: Span,
}

type Position = (TraceId, SpanId);

impl StageSpan {
    fn read(span: Span) -> Option<Self> {
        let label = text(&span, attribute::STAGE).filter(|label| !OF_TURNS.contains(label))?;
        Some(Self {
            trace: trace_id(&span.trace_id)?,
            id: span_id(&span.span_id)?,
            parent: span_id(&span.parent_span_id),
            // No stage has the id 0, so a name of a newer version is shown as unknown.
            stage: tree::from_label(label).unwrap_or(StageId(0)),
            span,
        })
    }

    fn position(&self) -> Position {
        (self.trace, self.id)
    }

    fn start_ns(&self) -> u64 {
        self.span.start_time_unix_nano
    }
}

fn calls(spans: &[StageSpan]) -> Result<Vec<CallRecord>, ReadError> {
    let by_id: HashMap<Position, &StageSpan> = spans.iter().map(|span| (span.position(), span)).collect();
    let mut order: Vec<Position> = Vec::new();
    let mut members: HashMap<Position, Vec<&StageSpan>> = HashMap::new();
    for span in spans {
        let envelope = envelope_of(span, &by_id);
        let stages = members.entry(envelope).or_insert_with(|| {
            order.push(envelope);
            Vec::new()
        });
        stages.push(span);
    }
    if order.len() > TRACE_FILE_CALLS_MAX {
        return Err(ReadError::TooManyCalls);
    }
    let record = |envelope: &Position| members.get(envelope).map(|stages| call(*envelope, stages));
    Ok(order.iter().filter_map(record).collect())
}

/// The call that a stage belongs to: the nearest `call` above it, else an outermost `rpc`, else the first span above it
/// that is missing.
fn envelope_of(span: &StageSpan, by_id: &HashMap<Position, &StageSpan>) -> Position {
    let mut at = span;
    for _ in 0..TRACE_FILE_DEPTH_MAX {
        if at.stage == transport::CALL {
            return at.position();
        }
        let Some(parent) = at.parent.map(|parent| (at.trace, parent)) else {
            break;
        };
        match by_id.get(&parent) {
            Some(above) => at = above,
            // The client exported no `call`, so the parent span may have other calls below it.
            None if at.stage == transport::RPC => break,
            None => return parent,
        }
    }
    at.position()
}

fn call((trace_id, envelope): Position, stages: &[&StageSpan]) -> CallRecord {
    let call = stages.iter().find(|span| span.stage == transport::CALL);
    let rpc = stages.iter().find(|span| span.stage == transport::RPC);
    let encoded = call.or(rpc).map(|found| &found.span);
    let unix_ns = call.map(|call| call.start_ns());
    let unix_ns = unix_ns
        .or_else(|| stages.iter().map(|span| span.start_ns()).min())
        .unwrap_or(0);

    let mut context = TraceContext {
        trace_id,
        span_id: envelope,
        flags: TraceFlags::SAMPLED,
        tracestate: Tracestate::default(),
        baggage: Baggage::default(),
    };
    if let Some(span) = encoded {
        context.flags = TraceFlags::new((span.flags & 0b11) as u8);
        context.tracestate = Tracestate::parse(&span.trace_state).unwrap_or_default();
    }
    let command = call
        .or_else(|| stages.iter().find(|span| span.stage == exec::PROCESS))
        .and_then(|span| read_command(&span.span, stages));
    let of_speaker = |key| encoded.and_then(|span| text(span, key)).unwrap_or_default();
    let number = |key| call.and_then(|call| integer(&call.span, key));
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
            (None, None) => Some(envelope),
        },
        links: call.and_then(|call| link(&call.span)).into_iter().collect(),
        method: encoded
            .map(|span| method(span).to_owned())
            .unwrap_or_default()
            .into(),
        anchor: Anchor {
            unix_ns,
            ..clock::anchor()
        },
        stages: stages
            .iter()
            .take(RECORD_STAGES_MAX)
            .map(|span| stage(span, unix_ns))
            .collect(),
        status: status::from_name(of_speaker(RPC_RESPONSE_STATUS_CODE)).unwrap_or(RpcStatus(0)),
        server_unix_ns: None,
        clock: offset
            .zip(error)
            .map(|(offset_ns, error_ns)| ClockOffset { offset_ns, error_ns }),
        attributes: encoded
            .map(|span| attributes(span, command.as_ref()))
            .unwrap_or_default(),
        command: command.map(Box::new),
    }
}

fn stage(span: &StageSpan, anchor_ns: u64) -> StageRecord {
    let offset = |ns: u64| {
        let distance = i64::try_from(ns.abs_diff(anchor_ns)).unwrap_or(i64::MAX);
        if ns < anchor_ns { -distance } else { distance }
    };
    let start_ns = offset(span.start_ns());
    let attempt = integer(&span.span, attribute::ATTEMPT).and_then(|attempt| u8::try_from(attempt).ok());
    StageRecord {
        stage: span.stage,
        attempt: attempt.unwrap_or(0),
        start_ns,
        end_ns: offset(span.span.end_time_unix_nano).max(start_ns),
        estimated: matches!(
            value(&span.span, attribute::ESTIMATED),
            Some(Value::BoolValue(true))
        ),
    }
}

fn link(span: &Span) -> Option<TraceContext> {
    let link = span.links.first()?;
    Some(TraceContext {
        trace_id: trace_id(&link.trace_id)?,
        span_id: span_id(&link.span_id)?,
        flags: TraceFlags::new((link.flags & 0b11) as u8),
        tracestate: Tracestate::parse(&link.trace_state).unwrap_or_default(),
        baggage: Baggage::default(),
    })
}

fn method(span: &Span) -> &str {
    match text(span, RPC_METHOD).unwrap_or_default() {
        UNKNOWN_METHOD => text(span, RPC_METHOD_ORIGINAL).unwrap_or_default(),
        method => method,
    }
}

/// The attributes of a command without those that the exporter added.
const OF_COMMAND: [&str; 7] = [
    PROCESS_EXECUTABLE_NAME,
    PROCESS_PID,
    attribute::PROCESS_ID,
    attribute::THREAD,
    attribute::TURN,
    attribute::STEP,
    attribute::CLIENT,
];

fn read_command(span: &Span, stages: &[&StageSpan]) -> Option<CommandSummary> {
    let outcome = Outcome::from_name(text(span, attribute::OUTCOME)?)?;
    let code = integer(span, PROCESS_EXIT_CODE).and_then(|code| i32::try_from(code).ok());
    let exit = code.map(|code| match text(span, attribute::SIGNAL) {
        Some(_) => CommandExit::Signal(code.saturating_sub(128)),
        None => CommandExit::Code(code),
    });
    Some(CommandSummary {
        label: span.name.clone().into(),
        attributes: kept(span, |key| OF_COMMAND.contains(&key)),
        family: stages
            .iter()
            .find(|span| span.stage == exec::PROCESS)
            .and_then(|process| {
                let process = &process.span;
                FamilySummary::from_attributes(|key| text(process, key), |key| integer(process, key))
            }),
        end: CommandEnd { outcome, exit },
    })
}

/// The attributes of the record, without those that the exporter added.
fn attributes(span: &Span, command: Option<&CommandSummary>) -> Vec<KeyValue> {
    let conventional = [
        RPC_SYSTEM_NAME,
        RPC_METHOD,
        RPC_METHOD_ORIGINAL,
        RPC_RESPONSE_STATUS_CODE,
        ERROR_TYPE,
    ];
    let of_command = |key: &str| key == PROCESS_EXIT_CODE || OF_COMMAND.contains(&key);
    kept(span, |key| {
        let is_made = key.starts_with("baton.") || conventional.contains(&key);
        !is_made && (command.is_none() || !of_command(key))
    })
}

fn kept(span: &Span, is_wanted: impl Fn(&str) -> bool) -> Vec<KeyValue> {
    let wanted = span
        .attributes
        .iter()
        .filter(|attribute| is_wanted(&attribute.key));
    let read = wanted.filter_map(|kv| {
        let value = match kv.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => opentelemetry::Value::from(text.clone()),
            Value::BoolValue(flag) => (*flag).into(),
            Value::IntValue(number) => (*number).into(),
            Value::DoubleValue(number) => (*number).into(),
            _ => return None,
        };
        Some(KeyValue::new(kv.key.clone(), value))
    });
    read.take(RECORD_ATTRIBUTES_MAX).collect()
}

fn value<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match value(span, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn integer(span: &Span, key: &str) -> Option<i64> {
    match value(span, key)? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    let id = TraceId::from_bytes(bytes.try_into().ok()?);
    (id != TraceId::INVALID).then_some(id)
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    let id = SpanId::from_bytes(bytes.try_into().ok()?);
    (id != SpanId::INVALID).then_some(id)
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use baton_proto::ProcessId;
    use baton_trace::command::{CallerIds, TracedCommand};
    use baton_trace::family::{Family, Unavailable};
    use baton_trace::report::{WaterfallStyle, waterfall};
    use baton_trace::stage::exec::PROCESS;
    use baton_trace::stage::transport::*;
    use baton_trace::test_records::{record, stage};
    use baton_trace::w3c::random_span_id;
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    fn written(records: &[CallRecord]) -> Vec<u8> {
        let mut out = Vec::new();
        json::write(&mut out, records).unwrap();
        out
    }

    #[test]
    fn a_record_comes_back_whole() {
        let mut record = record(vec![stage(CALL, 5, 1_000), stage(RPC, 20, 700)]);
        record.parent = Some(random_span_id());
        record.links = vec![TraceContext::new_root(true)];
        record.status = RpcStatus(14);
        record.context.tracestate = Tracestate::parse("vendor=a").unwrap();
        record.attributes = vec![KeyValue::new("process.exit.code", 3)];
        let read = read(&written(&[record.clone()])).unwrap().remove(0);
        assert_eq!(read.context, record.context);
        assert_eq!(
            (read.side, read.parent, read.links),
            (record.side, record.parent, record.links)
        );
        assert_eq!((read.method, read.status), (record.method, record.status));
        assert_eq!(read.attributes, record.attributes);
    }

    #[test]
    fn the_command_of_a_record_comes_back_too() {
        let command = TracedCommand::new(
            Some("build".into()),
            b"make",
            ProcessId([1; 16]),
            CallerIds {
                thread: Some("t"),
                turn: NonZeroU64::new(2),
                step: Some("s"),
            },
        );
        command.started(7);
        command.measured(FamilySummary {
            family: Family::Prompt,
            unavailable: [Some(Unavailable::NotSeen), None, Some(Unavailable::NoOutput)],
            remainder_ns: 9,
        });
        for end in [
            CommandEnd::by_itself(CommandExit::Code(3)),
            CommandEnd::by_itself(CommandExit::Signal(9)),
            CommandEnd::unseen(Outcome::TimedOut),
        ] {
            let known = command.summary();
            let mut record = record(vec![stage(CALL, 5, 1_000), stage(PROCESS, 6, 900)]);
            record.attributes = vec![KeyValue::new("server.address", "relay.example")];
            record.command = Some(Box::new(CommandSummary { end, ..known }));
            let read = read(&written(&[record.clone()])).unwrap().remove(0);
            assert_eq!(
                (read.command, read.attributes),
                (record.command, record.attributes)
            );
        }
    }

    #[test]
    fn several_calls_of_one_trace_are_told_apart_also_line_by_line() {
        let mut calls = vec![
            record(vec![stage(RPC, 20, 700)]),
            record(vec![stage(RPC, 30, 800)]),
        ];
        calls[1].context.span_id = SpanId::from(8);
        let mut lines = written(&calls[..1]);
        lines.extend(written(&calls[1..]));
        for text in [written(&calls), lines] {
            let read = read(&text).unwrap();
            let ids: Vec<_> = read.iter().map(|record| record.context.span_id).collect();
            assert_eq!(ids, [SpanId::from(7), SpanId::from(8)]);
            assert!(read.iter().all(|record| record.stages.len() == 2));
        }
    }

    #[test]
    fn a_servers_half_is_read_too() {
        let mut record = record(vec![stage(RPC, 20, 700), stage(SERVER_OPEN, 5, 10)]);
        record.side = Side::Server;
        for parent in [None, Some(SpanId::from(9))] {
            record.parent = parent;
            let read = read(&written(std::slice::from_ref(&record))).unwrap();
            assert_eq!(
                (read.len(), read[0].side, read[0].stages.len()),
                (1, Side::Server, 2)
            );
            assert_eq!(read[0].parent, parent);
        }
    }

    #[test]
    fn servers_halves_of_calls_under_one_caller_are_told_apart() {
        let half = |call_id: u64| {
            let mut record = record(vec![stage(RPC, 0, 700), stage(SERVER_OPEN, 5, 10)]);
            record.side = Side::Server;
            record.parent = Some(SpanId::from(9));
            record.context.span_id = SpanId::from(call_id);
            record
        };
        let read = read(&written(&[half(1), half(2), half(3)])).unwrap();
        assert_eq!(read.len(), 3);
        assert!(read.iter().all(|record| record.stages.len() == 2));
    }

    #[test]
    fn stages_of_turns_beside_the_calls_are_no_calls() {
        let calls = written(&[record(vec![stage(CALL, 5, 1_000), stage(RPC, 20, 700)])]);
        let of_turn = |name: &str| {
            format!(
                r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[
                {{"traceId":"0000000000000000000000000000002a","spanId":"0000000000000009","name":"{name}",
                "parentSpanId":"0000000000000008",
                "attributes":[{{"key":"baton.stage","value":{{"stringValue":"{name}"}}}}]}}]}}]}}]}}"#
            )
        };
        for name in OF_TURNS {
            let mut file = calls.clone();
            file.extend(of_turn(name).bytes());
            let read = super::read(&file).unwrap();
            assert_eq!((read.len(), read[0].stages.len()), (1, 2), "{name}");
            let alone = super::read(of_turn(name).as_bytes());
            assert!(matches!(alone, Err(ReadError::NotBaton { spans: 1 })), "{name}");
        }
    }

    #[test]
    fn what_is_not_ours_is_named() {
        assert!(matches!(read(b"{"), Err(ReadError::NotOtlp(_))));
        assert!(matches!(read(b"[1, 2]"), Err(ReadError::NotOtlp(_))));
        assert!(matches!(read(b"{}"), Err(ReadError::NotBaton { spans: 0 })));
        let foreign = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
            {"traceId":"0000000000000000000000000000002a","spanId":"0000000000000007","name":"GET /"}]}]}]}"#;
        let error = read(foreign.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::NotBaton { spans: 1 }), "{error}");
        let missing = read_file("/nonexistent").unwrap_err();
        assert!(matches!(missing, ReadError::File { .. }));
        assert!(missing.to_string().contains("/nonexistent: "), "{missing}");
    }

    #[test]
    fn an_empty_file_is_called_empty() {
        for text in [&b""[..], b"\n", b" \r\n\t"] {
            assert!(matches!(read(text), Err(ReadError::Empty)));
        }
    }

    #[test]
    fn a_stage_of_a_newer_version_is_shown_as_unknown() {
        let text = String::from_utf8(written(&[record(vec![stage(DISPATCH, 0, 5)])])).unwrap();
        let read = read(text.replace("dispatch", "hologram").as_bytes()).unwrap();
        assert!(waterfall(&read[0], &WaterfallStyle::default()).contains("unknown(0)"));
    }

    #[test]
    fn a_cycle_of_parents_ends() {
        let text = String::from_utf8(written(&[record(vec![stage(DISPATCH, 0, 5)])])).unwrap();
        let dispatch = baton_trace::stage::span_id(TraceId::from(42), SpanId::from(7), DISPATCH, 0);
        let cyclic = text.replace("\"call\"", "\"rpc\"");
        let cyclic = cyclic.replace(
            "\"parentSpanId\":\"\"",
            &format!("\"parentSpanId\":\"{dispatch}\""),
        );
        assert!(read(cyclic.as_bytes()).is_ok());
    }

    fn records() -> impl Strategy<Value = CallRecord> {
        let stages = prop::collection::vec(
            (
                0u8..45,
                -1_000_000i64..1_000_000,
                -100i64..1_000_000,
                0u8..3,
                any::<bool>(),
            ),
            0..40,
        );
        (stages, -1i32..20, any::<Option<(i64, u32)>>()).prop_map(|(stages, code, clock)| {
            let stages = stages
                .into_iter()
                .map(|(id, start, length, attempt, estimated)| StageRecord {
                    attempt,
                    estimated,
                    ..stage(StageId(id), start, start + length)
                });
            let mut record = record(stages.collect());
            record.status = RpcStatus(code);
            record.clock = clock.map(|(offset_ns, error_ns)| ClockOffset {
                offset_ns,
                error_ns: error_ns.into(),
            });
            record
        })
    }

    proptest! {
        #[test]
        fn the_waterfall_from_a_file_is_the_waterfall_from_the_record(record in records()) {
            let read = read(&written(std::slice::from_ref(&record))).unwrap();
            prop_assert_eq!(read.len(), 1);
            let style = WaterfallStyle::default();
            prop_assert_eq!(waterfall(&read[0], &style), waterfall(&record, &style));
        }

        #[test]
        fn no_text_panics(text in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), byte: u8) {
            let _ = read(&text);
            let mut damaged = written(&[record(vec![stage(RPC, 20, 700)])]);
            let at = at.index(damaged.len());
            damaged[at] = byte;
            for record in read(&damaged).unwrap_or_default() {
                waterfall(&record, &WaterfallStyle::default());
            }
        }
    }
}
