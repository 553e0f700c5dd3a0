//! Records as spans: names, kinds, attributes, links and status.
//!
//! `call` and `rpc` are named after the method and carry the conventional RPC attributes (OpenTelemetry semantic
//! conventions for gRPC); every other span is named after its stage. The `call` of a command is named after the
//! command, and that span and the server's `process` carry the conventional attributes of CLI programs
//! (`span.cli.client`) beside.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_trace::attribute;
use baton_trace::call_end::CallEnd;
use baton_trace::command::{CommandExit, CommandSummary, signal_name};
use baton_trace::family::FamilySummary;
use baton_trace::outcome::{Fault, StartFailure};
use baton_trace::record::{CallRecord, Side};
use baton_trace::report::{Coverage, tree};
use baton_trace::stage::{Component, StageId, StageKind, exec, transport};
use baton_trace::status;
use baton_trace::status::RpcStatus;
use baton_trace::w3c::TraceContext;
use opentelemetry::trace::{Link, SpanContext, SpanKind, Status, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, SpanId, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, PROCESS_EXIT_CODE, RPC_METHOD, RPC_METHOD_ORIGINAL, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME,
};

use super::layout::{self, SpanPlacement};
use crate::limits::{ATTRIBUTE_ELEMENTS_MAX, ATTRIBUTE_VALUE_MAX, RECORD_ATTRIBUTES_MAX, SPAN_NAME_MAX};

/// The spans of one record, by the resource that they are reported under.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpansByComponent {
    /// Stages that the client measured.
    pub client: Vec<SpanData>,
    /// Stages that the relay stamped.
    pub relay: Vec<SpanData>,
    /// Stages that the server measured.
    pub server: Vec<SpanData>,
    /// Background stages.
    pub background: Vec<SpanData>,
}

impl SpansByComponent {
    /// Number of spans.
    pub fn len(&self) -> usize {
        self.client.len() + self.relay.len() + self.server.len() + self.background.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The spans of `record` that its component exports, in whole microseconds: a client those of its own stages and the
/// relay's, a server those of its own.
pub fn owed(record: &CallRecord) -> SpansByComponent {
    convert(record, layout::owed(record))
}

/// All spans of `record`, to the nanosecond, for a trace file.
pub fn whole(record: &CallRecord) -> SpansByComponent {
    convert(record, layout::whole(record))
}

fn convert(record: &CallRecord, placed: Vec<SpanPlacement>) -> SpansByComponent {
    let state = trace_state(&record.context);
    let mut spans = SpansByComponent::default();
    for placed in placed {
        let group = match placed.part {
            Component::Client => &mut spans.client,
            Component::Relay => &mut spans.relay,
            Component::Server if record.side == Side::Server && placed.stage.stage.is_background() => {
                &mut spans.background
            }
            Component::Server => &mut spans.server,
        };
        group.push(span(record, &state, placed));
    }
    spans
}

/// One stage's span. `state` is the record's [`trace_state`].
pub(super) fn span(record: &CallRecord, state: &TraceState, placed: SpanPlacement) -> SpanData {
    let details = SpanDetails::of(record, &placed);
    SpanData {
        span_context: SpanContext::new(
            record.context.trace_id,
            placed.span_id,
            record.context.flags,
            false,
            state.clone(),
        ),
        parent_span_id: placed.parent.unwrap_or(SpanId::INVALID),
        parent_span_is_remote: placed.parent_is_remote,
        span_kind: details.kind,
        name: details.name,
        start_time: time(placed.start_ns),
        end_time: time(placed.end_ns),
        attributes: details.attributes,
        dropped_attributes_count: details.dropped_attributes,
        events: SpanEvents::default(),
        links: details.links,
        status: details.status,
        instrumentation_scope: SCOPE.clone(),
    }
}

/// The fields of a span other than its ids and times.
pub(super) struct SpanDetails {
    pub(super) kind: SpanKind,
    pub(super) name: Cow<'static, str>,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) dropped_attributes: u32,
    pub(super) links: SpanLinks,
    pub(super) status: Status,
}

impl SpanDetails {
    pub(super) fn of(record: &CallRecord, placed: &SpanPlacement) -> Self {
        let stage = placed.stage.stage;
        let mut details = Self {
            kind: match stage.def().map(|def| def.kind) {
                Some(StageKind::Client) => SpanKind::Client,
                Some(StageKind::Server) => SpanKind::Server,
                Some(StageKind::Internal) | None => SpanKind::Internal,
            },
            name: tree::label(stage),
            attributes: stage_attributes(
                placed,
                if Self::is_plain(record, stage) {
                    1
                } else {
                    TYPICAL_ATTRIBUTES
                },
            ),
            dropped_attributes: 0,
            links: SpanLinks::default(),
            status: Status::Unset,
        };
        if stage == transport::CALL || stage == transport::RPC {
            rpc(record, placed, &mut details);
        } else if stage.is_background() && record.side == Side::Server {
            background(record, &mut details);
        } else if let Some(command) = record.command.as_deref().filter(|_| stage == exec::PROCESS) {
            add_command(command, &mut details);
            let family = command.family.iter().flat_map(FamilySummary::attributes);
            details.attributes.extend(family);
        }
        details
    }

    /// Whether a span of this stage has only ids and times.
    pub(super) fn is_plain(record: &CallRecord, stage: StageId) -> bool {
        let is_of_command = stage == exec::PROCESS && record.command.is_some();
        stage != transport::CALL && stage != transport::RPC && !stage.is_background() && !is_of_command
    }
}

/// The RPC system, which is also the span name of an unimplemented method.
const SYSTEM: &str = "grpc";

/// The method name of the conventions for an unknown method.
pub(super) const UNKNOWN_METHOD: &str = "_OTHER";

/// The instrumentation scope of all spans.
pub(super) static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder("baton")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
});

/// Attributes that the span of a call or of a command mostly has.
const TYPICAL_ATTRIBUTES: usize = 15;

fn stage_attributes(placed: &SpanPlacement, capacity: usize) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(capacity);
    attributes.push(KeyValue::new(attribute::STAGE, tree::label(placed.stage.stage)));
    if placed.stage.attempt > 0 {
        attributes.push(KeyValue::new(attribute::ATTEMPT, i64::from(placed.stage.attempt)));
    }
    if placed.stage.estimated {
        attributes.push(KeyValue::new(attribute::ESTIMATED, true));
    }
    attributes
}

/// Adds the attributes that only the two spans of the RPC have.
fn rpc(record: &CallRecord, placed: &SpanPlacement, span: &mut SpanDetails) {
    let is_call = placed.stage.stage == transport::CALL;
    if let Some(announced) = placed.announced {
        span.attributes
            .push(KeyValue::new(attribute::SPANS, i64::from(announced)));
    }
    let method = record.method_of(placed.stage.stage, placed.stage.attempt);
    let method = cut(method.clone(), SPAN_NAME_MAX);
    span.attributes.push(KeyValue::new(RPC_SYSTEM_NAME, SYSTEM));
    if record.status == RpcStatus::UNIMPLEMENTED {
        // A method name that a caller invented must not become a span name, because span names must have low
        // cardinality.
        span.name = SYSTEM.into();
        span.attributes.push(KeyValue::new(RPC_METHOD, UNKNOWN_METHOD));
        span.attributes.push(KeyValue::new(RPC_METHOD_ORIGINAL, method));
    } else {
        if !method.is_empty() {
            span.name = method.clone();
        }
        span.attributes.push(KeyValue::new(RPC_METHOD, method));
    }

    // A server's span as its client reports it: how the handler ended is not known, only how the call did.
    let is_own = is_call == (record.side == Side::Client);
    if !is_own {
        return;
    }
    // A call that its caller has cancelled is no error.
    let is_cancelled = record.status == RpcStatus::CANCELLED
        && record
            .command
            .as_ref()
            .is_some_and(|command| command.outcome.is_cancelled());
    let is_error = match record.side {
        Side::Client => status::is_client_error(record.status) && !is_cancelled,
        Side::Server => status::is_server_error(record.status),
    };
    span.attributes.push(KeyValue::new(
        RPC_RESPONSE_STATUS_CODE,
        status::name(record.status),
    ));
    if is_error {
        span.status = error(record.status);
        span.attributes
            .push(KeyValue::new(ERROR_TYPE, status::name(record.status)));
    }
    if is_call {
        call(record, span);
        if let Some(command) = &record.command {
            span.name = cut(command.label.as_str().to_owned().into(), SPAN_NAME_MAX);
            add_command(command, span);
        }
    }
    own(record, span);
}

/// Adds the command that the call runs. The error of a failed call takes precedence.
fn add_command(command: &CommandSummary, span: &mut SpanDetails) {
    let outcome = command.outcome;
    let kept = command.attributes.iter().take(RECORD_ATTRIBUTES_MAX).map(capped);
    span.attributes.extend(kept);
    span.attributes
        .push(KeyValue::new(attribute::OUTCOME, outcome.as_str()));
    for (key, name) in [
        (attribute::FAULT, outcome.fault().map(Fault::as_str)),
        (
            attribute::START_FAILURE,
            outcome.start_failure().map(StartFailure::as_str),
        ),
        (attribute::CALL_END, outcome.call_end().map(CallEnd::name)),
    ] {
        span.attributes.extend(name.map(|name| KeyValue::new(key, name)));
    }
    if let Some(exit) = outcome.exit() {
        span.attributes
            .push(KeyValue::new(PROCESS_EXIT_CODE, i64::from(exit.code())));
        if let CommandExit::Signal(signal) = exit {
            span.attributes
                .push(KeyValue::new(attribute::SIGNAL, signal_name(signal)));
        }
    }
    if let (Some(class), Status::Unset) = (outcome.error_type(), &span.status) {
        span.status = Status::error(class);
        span.attributes.push(KeyValue::new(ERROR_TYPE, class));
    }
}

/// Background stages.
fn background(record: &CallRecord, span: &mut SpanDetails) {
    if record.status != RpcStatus(0) {
        span.status = error(record.status);
        span.attributes
            .push(KeyValue::new(ERROR_TYPE, status::name(record.status)));
    }
    own(record, span);
}

/// The record's own attributes and links.
fn own(record: &CallRecord, span: &mut SpanDetails) {
    let kept = record.attributes.iter().take(RECORD_ATTRIBUTES_MAX).map(capped);
    span.attributes.extend(kept);
    let dropped = record.attributes.len().saturating_sub(RECORD_ATTRIBUTES_MAX);
    span.dropped_attributes = u32::try_from(dropped).unwrap_or(u32::MAX);
    for link in &record.links {
        let context = SpanContext::new(link.trace_id, link.span_id, link.flags, true, trace_state(link));
        span.links.links.push(Link::new(context, Vec::new(), 0));
    }
}

fn call(record: &CallRecord, span: &mut SpanDetails) {
    let remainder = Coverage::of(record).remainder_ns();
    span.attributes
        .push(KeyValue::new(attribute::REMAINDER_NS, saturating(remainder)));
    if let Some(clock) = record.clock {
        span.attributes
            .push(KeyValue::new(attribute::CLOCK_OFFSET_NS, clock.offset_ns));
        span.attributes.push(KeyValue::new(
            attribute::CLOCK_ERROR_NS,
            saturating(clock.error_ns),
        ));
    }
}

/// The description contains no text from a peer.
fn error(status: RpcStatus) -> Status {
    Status::Error {
        description: status::name(status),
    }
}

/// Level 2 keys that the SDK refuses remove the tracestate from the export, never the span.
pub(super) fn trace_state(context: &TraceContext) -> TraceState {
    if context.tracestate.is_empty() {
        return TraceState::NONE;
    }
    TraceState::from_str(context.tracestate.as_str()).unwrap_or_default()
}

fn time(unix_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_ns)
}

fn saturating(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

fn capped(attribute: &KeyValue) -> KeyValue {
    let short = |text: &StringValue| match cut_str(text.as_str(), ATTRIBUTE_VALUE_MAX) {
        whole if whole.len() == text.as_str().len() => text.clone(),
        part => StringValue::from(part.to_owned()),
    };
    let value = match &attribute.value {
        Value::String(text) => Value::String(short(text)),
        Value::Array(Array::String(texts)) => {
            let texts = texts.iter().take(ATTRIBUTE_ELEMENTS_MAX).map(short);
            Value::Array(Array::String(texts.collect()))
        }
        Value::Array(Array::Bool(all)) => Value::Array(Array::Bool(first(all))),
        Value::Array(Array::I64(all)) => Value::Array(Array::I64(first(all))),
        Value::Array(Array::F64(all)) => Value::Array(Array::F64(first(all))),
        other => other.clone(),
    };
    KeyValue::new(attribute.key.clone(), value)
}

fn first<T: Copy>(all: &[T]) -> Vec<T> {
    all[..all.len().min(ATTRIBUTE_ELEMENTS_MAX)].to_vec()
}

fn cut(text: Cow<'static, str>, max: usize) -> Cow<'static, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(cut_str(text, max)),
        Cow::Owned(mut text) => {
            text.truncate(text.floor_char_boundary(max));
            Cow::Owned(text)
        }
    }
}

/// The longest prefix of at most `max` bytes that ends between two characters.
fn cut_str(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU64;

    use baton_proto::ProcessId;
    use baton_trace::clock::ClockOffset;
    use baton_trace::command::{CallerIds, TracedCommand};
    use baton_trace::family::{Family, Unavailable};
    use baton_trace::outcome::{Loss, Outcome};
    use baton_trace::record::{ServerCallRef, StageRecord};
    use baton_trace::stage::exec::PROCESS;
    use baton_trace::stage::transport::*;
    use baton_trace::test_records::{record, stage};
    use opentelemetry::TraceFlags;

    use super::*;

    fn value<'a>(span: &'a SpanData, key: &str) -> Option<&'a Value> {
        let mut values = span.attributes.iter().filter(|kv| kv.key.as_str() == key);
        let found = values.next().map(|kv| &kv.value);
        assert!(values.next().is_none(), "{key} twice");
        found
    }

    fn sample(side: Side) -> CallRecord {
        let mut record = record(vec![
            stage(CALL, 0, 1_000_000),
            stage(DISPATCH, 0, 900_000),
            StageRecord {
                estimated: true,
                ..stage(RELAY_QUEUE, 50_000, 55_000)
            },
            stage(RPC, 110_000, 900_000),
            stage(PROCESS, 110_000, 890_000),
        ]);
        record.side = side;
        record.parent = (side == Side::Server).then_some(record.context.span_id);
        record
    }

    #[test]
    fn the_rpc_spans_follow_the_conventions() {
        let client = owed(&sample(Side::Client));
        let server = owed(&sample(Side::Server));
        assert_eq!(
            (client.client.len(), client.relay.len(), client.server.len()),
            (2, 1, 0)
        );
        assert_eq!(
            (server.client.len(), server.relay.len(), server.server.len()),
            (0, 0, 2)
        );

        let (call, rpc) = (&client.client[0], &server.server[0]);
        for (span, kind, name) in [(call, SpanKind::Client, "call"), (rpc, SpanKind::Server, "rpc")] {
            assert_eq!(span.name, "baton.exec.v1.Exec/Run");
            assert_eq!(span.span_kind, kind);
            assert_eq!(value(span, "baton.stage"), Some(&name.into()));
            assert_eq!(value(span, "rpc.system.name"), Some(&"grpc".into()));
            assert_eq!(value(span, "rpc.method"), Some(&"baton.exec.v1.Exec/Run".into()));
            assert_eq!(value(span, "rpc.response.status_code"), Some(&"OK".into()));
            assert_eq!(span.status, Status::Unset);
        }
        assert_eq!(rpc.parent_span_id, call.span_context.span_id());
        assert!(rpc.parent_span_is_remote);
        assert_eq!(server.server[1].parent_span_id, rpc.span_context.span_id());
    }

    #[test]
    fn a_continued_call_has_the_servers_spans_as_the_server_exports_them() {
        let again = |stage, start, end| StageRecord {
            attempt: 1,
            ..self::stage(stage, start, end)
        };
        let call = |id: u64, method: &'static str| ServerCallRef {
            call_id: id.into(),
            method: method.into(),
        };
        // The first start was lost. The session of the second one was lost too, after its process had started.
        let (repeated, attached) = (
            call(8, "baton.exec.v1.Exec/Run"),
            call(9, "baton.exec.v1.Exec/Attach"),
        );
        let mut client = sample(Side::Client);
        client.stages.extend([
            again(RPC, 910_000, 990_000),
            again(TERMINAL_SEAL, 950_000, 990_000),
        ]);
        client.server_calls = vec![repeated.clone(), attached.clone()];
        let exported = |call: ServerCallRef, inner| {
            let mut server = record(vec![stage(RPC, 0, 900_000), stage(inner, 0, 800_000)]);
            server.side = Side::Server;
            server.context.span_id = call.call_id;
            server.parent = Some(client.context.span_id);
            server.method = call.method;
            owed(&server).server
        };
        let key = |span: &SpanData| {
            let id = span.span_context.span_id().to_bytes();
            (id, span.parent_span_id.to_bytes(), span.name.clone())
        };
        let keys = |spans: Vec<SpanData>| spans.iter().map(key).collect::<HashSet<_>>();
        let servers = [exported(repeated, PROCESS), exported(attached, TERMINAL_SEAL)].concat();
        let spans = whole(&client);
        assert_eq!(keys(spans.server), keys(servers));
        assert_eq!(spans.client[0].span_context.span_id(), SpanId::from(7));
    }

    #[test]
    fn the_remainder_is_an_attribute_of_the_call_alone() {
        let mut record = sample(Side::Client);
        let spans = owed(&record);
        assert_eq!(
            value(&spans.client[0], "baton.remainder_ns"),
            Some(&Value::I64(100_000))
        );
        assert_eq!(value(&spans.client[1], "baton.remainder_ns"), None);
        assert_eq!(value(&spans.client[0], "baton.clock.offset_ns"), None);
        record.clock = Some(ClockOffset {
            offset_ns: -5,
            error_ns: 9,
        });
        let spans = owed(&record);
        assert_eq!(
            value(&spans.client[0], "baton.clock.offset_ns"),
            Some(&Value::I64(-5))
        );
        assert_eq!(
            value(&spans.client[0], "baton.clock.error_ns"),
            Some(&Value::I64(9))
        );
        assert_eq!(
            value(&owed(&sample(Side::Server)).server[0], "baton.remainder_ns"),
            None
        );
    }

    #[test]
    fn each_part_says_how_many_spans_it_has() {
        let (client, server) = (owed(&sample(Side::Client)), owed(&sample(Side::Server)));
        let spans = |count: i64| Some(Value::I64(count));
        assert_eq!(value(&client.client[0], "baton.spans").cloned(), spans(3));
        assert_eq!(value(&client.client[1], "baton.spans"), None);
        assert_eq!(value(&server.server[0], "baton.spans").cloned(), spans(2));
        assert_eq!(value(&server.server[1], "baton.spans"), None);
    }

    #[test]
    fn estimated_stages_say_so() {
        let spans = owed(&sample(Side::Client));
        assert_eq!(
            value(&spans.relay[0], "baton.estimated"),
            Some(&Value::Bool(true))
        );
        assert_eq!(value(&spans.client[1], "baton.estimated"), None);
    }

    #[test]
    fn a_callers_mistake_is_an_error_of_the_call_and_not_of_the_server() {
        let failed = |side, code| {
            let mut record = sample(side);
            record.status = RpcStatus(code);
            let spans = owed(&record);
            let span = spans.client.first().or(spans.server.first()).unwrap().clone();
            (span.status.clone(), value(&span, "error.type").cloned())
        };
        let error = |name: &'static str| (Status::error(name), Some(Value::from(name)));
        assert_eq!(failed(Side::Client, 5), error("NOT_FOUND"));
        assert_eq!(failed(Side::Server, 5), (Status::Unset, None));
        assert_eq!(failed(Side::Server, 13), error("INTERNAL"));
    }

    /// The sample, of a command that ended so.
    fn of_command(side: Side, outcome: Outcome) -> CallRecord {
        let (program, process) = (b"/usr/bin/make", ProcessId([0xab; 16]));
        let ids = CallerIds {
            thread: Some("t"),
            turn: NonZeroU64::new(3),
            step: Some("s"),
        };
        let command = match side {
            Side::Client => TracedCommand::new(Some("build".into()), program, process, ids),
            Side::Server => TracedCommand::for_client("laptop", program, process, ids),
        };
        command.started(77);
        command.ended(outcome);
        CallRecord {
            command: Some(Box::new(command.summary())),
            ..sample(side)
        }
    }

    #[test]
    fn what_a_family_measured_is_on_process_at_both_ends_and_not_on_call() {
        for side in [Side::Client, Side::Server] {
            let mut record = of_command(side, Outcome::Exited { code: 0 });
            record.command.as_mut().unwrap().family = Some(FamilySummary {
                family: Family::JsonLines,
                unavailable: [
                    None,
                    Some(Unavailable::NotReported),
                    Some(Unavailable::NoSessionInit),
                ],
                remainder_ns: 5,
            });
            let spans = whole(&record);
            let all = [spans.client, spans.server].concat();
            for span in &all {
                let of_family = span
                    .attributes
                    .iter()
                    .filter(|kv| kv.key.as_str().starts_with("baton.family"));
                let count = if span.name == "process" { 4 } else { 0 };
                assert_eq!(of_family.count(), count, "{span:?}");
            }
            let process = all.iter().find(|span| span.name == "process").unwrap();
            assert_eq!(value(process, "baton.family"), Some(&"jsonl".into()));
            let remainder = value(process, "baton.family.remainder_ns");
            assert_eq!(remainder, Some(&Value::I64(5)));
            let reason = value(process, "baton.family.session_init.unavailable");
            assert_eq!(reason, Some(&"not_reported".into()));
        }
    }

    #[test]
    fn a_command_names_its_call_and_both_ends_say_the_same_of_it() {
        let end = Outcome::of_exit(CommandExit::Signal(15), false, false, None);
        let client = owed(&of_command(Side::Client, end)).client.remove(0);
        let server = owed(&of_command(Side::Server, end)).server;
        let (rpc, process) = (&server[0], &server[1]);
        assert_eq!((&*client.name, &*rpc.name), ("build", "baton.exec.v1.Exec/Run"));
        assert_eq!(process.name, "process");
        for span in [&client, process] {
            assert_eq!(value(span, "process.executable.name"), Some(&"make".into()));
            assert_eq!(value(span, "process.pid"), Some(&Value::I64(77)));
            assert_eq!(value(span, "process.exit.code"), Some(&Value::I64(143)));
            assert_eq!(value(span, "baton.process.id"), Some(&"ab".repeat(16).into()));
            assert_eq!(value(span, "baton.outcome"), Some(&"signaled".into()));
            assert_eq!(value(span, "baton.fault"), Some(&"command".into()));
            assert_eq!(value(span, "baton.signal"), Some(&"TERM".into()));
            assert_eq!(value(span, "baton.thread"), Some(&"t".into()));
            assert_eq!(value(span, "baton.turn"), Some(&3.into()));
            assert_eq!(value(span, "baton.step"), Some(&"s".into()));
            assert_eq!(value(span, "error.type"), Some(&"signaled".into()));
            assert_eq!(span.status, Status::error("signaled"));
        }
        assert_eq!(value(process, "baton.client"), Some(&"laptop".into()));
        assert_eq!(value(&client, "baton.client"), None);
        assert_eq!(
            value(&client, "rpc.method"),
            Some(&"baton.exec.v1.Exec/Run".into())
        );
        assert_eq!(value(&client, "rpc.response.status_code"), Some(&"OK".into()));
        // A command's exit is no fault of the RPC that carries it.
        assert_eq!((&rpc.status, value(rpc, "error.type")), (&Status::Unset, None));
        assert_eq!(value(rpc, "baton.outcome"), None);
    }

    #[test]
    fn a_command_is_an_error_unless_it_exits_with_0_and_a_failed_call_counts_more() {
        let error = |status: i32, end: Outcome| {
            let mut record = of_command(Side::Client, end);
            record.status = RpcStatus(status);
            let call = owed(&record).client.remove(0);
            let class = value(&call, "error.type").map(Value::to_string);
            let status = class.clone().map_or(Status::Unset, Status::error);
            assert_eq!(call.status, status);
            class
        };
        let class = |name: &str| Some(name.to_owned());
        // It handles the signal.
        let killed = |by| Outcome::of_exit(CommandExit::Code(0), false, false, Some(by));
        assert_eq!(error(0, Outcome::Exited { code: 0 }), None);
        assert_eq!(error(0, Outcome::Exited { code: 1 }), class("nonzero_exit"));
        assert_eq!(error(0, killed(CallEnd::ClientLost)), class("killed"));
        // The caller's cancellation is no error.
        for status in [0, 1] {
            assert_eq!(error(status, killed(CallEnd::Reset)), None);
        }
        assert_eq!(error(1, killed(CallEnd::ShutDown)), class("CANCELLED"));
        assert_eq!(
            error(4, Outcome::TimedOut { exit: None }),
            class("DEADLINE_EXCEEDED")
        );
        assert_eq!(error(14, Outcome::Exited { code: 1 }), class("UNAVAILABLE"));
        let lost = owed(&of_command(Side::Client, Outcome::Lost(Loss::Server)));
        assert_eq!(value(&lost.client[0], "process.exit.code"), None);
    }

    #[test]
    fn a_method_that_the_server_does_not_have_names_nothing() {
        for side in [Side::Client, Side::Server] {
            let mut record = sample(side);
            record.method = "made.Up/4711".into();
            record.status = RpcStatus::UNIMPLEMENTED;
            let spans = owed(&record);
            let span = spans.client.first().or(spans.server.first()).unwrap();
            assert_eq!(span.name, "grpc");
            assert_eq!(value(span, "rpc.method"), Some(&"_OTHER".into()));
            assert_eq!(value(span, "rpc.method_original"), Some(&"made.Up/4711".into()));
        }
    }

    #[test]
    fn flags_tracestate_and_links_are_kept() {
        let mut record = sample(Side::Client);
        record.context.tracestate = baton_trace::w3c::Tracestate::parse("vendor=a,1tenant@sys=b").unwrap();
        record.links = vec![TraceContext::new_root(false)];
        let call = &owed(&record).client[0];
        assert_eq!(call.span_context.trace_flags(), TraceFlags::new(0b11));
        assert_eq!(call.span_context.trace_state().header(), "vendor=a,1tenant@sys=b");
        let link = &call.links.links[0].span_context;
        assert_eq!(link.trace_id(), record.links[0].trace_id);
    }

    #[test]
    fn long_values_names_and_lists_are_cut_between_characters() {
        let mut record = sample(Side::Client);
        record.method = "ü".repeat(SPAN_NAME_MAX).into();
        record.attributes = vec![KeyValue::new("long", "ü".repeat(ATTRIBUTE_VALUE_MAX))];
        record
            .attributes
            .push(KeyValue::new("list", Value::Array(Array::I64(vec![1; 1_000]))));
        record
            .attributes
            .extend((0..100).map(|n| KeyValue::new(format!("k{n}"), n)));
        let call = &owed(&record).client[0];
        assert_eq!(call.name.len(), SPAN_NAME_MAX);
        assert_eq!(value(call, "long").unwrap().as_str().len(), ATTRIBUTE_VALUE_MAX);
        assert!(matches!(value(call, "list"), Some(Value::Array(Array::I64(all))) if all.len() == 32));
        assert_eq!(call.dropped_attributes_count, 38);
        assert_eq!(cut_str("aü", 2), "a");
    }
}
