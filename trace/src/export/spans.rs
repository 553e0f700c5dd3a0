//! Records as spans: names, kinds, attributes, links and status.
//!
//! `call` and `rpc` are named after the method and carry the conventional RPC attributes (OpenTelemetry semantic
//! conventions for gRPC); every other span is named after its stage.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Link, SpanContext, SpanKind, Status, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, SpanId, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, RPC_METHOD, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME,
};

use super::attribute;
use super::layout::{self, Placed};
use crate::limits::{ATTRIBUTE_ELEMENTS_MAX, ATTRIBUTE_VALUE_MAX, RECORD_ATTRIBUTES_MAX, SPAN_NAME_MAX};
use crate::record::{CallRecord, RpcStatus, Side};
use crate::report::{Coverage, tree};
use crate::stage::{Exporter, Kind, transport};
use crate::status;
use crate::w3c::TraceContext;

/// One record's spans by the resource that they are reported under.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spans {
    /// What the client measured.
    pub client: Vec<SpanData>,
    /// What the relay stamped.
    pub relay: Vec<SpanData>,
    /// What the server measured.
    pub server: Vec<SpanData>,
}

impl Spans {
    /// Number of spans.
    pub fn len(&self) -> usize {
        self.client.len() + self.relay.len() + self.server.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The spans that the part which made `record` owes a collector, in whole microseconds: a client those of its own
/// stages and the relay's, a server those of its own.
pub fn owed(record: &CallRecord) -> Spans {
    convert(record, layout::owed(record))
}

/// All spans of `record`, to the nanosecond, for a trace file.
pub fn whole(record: &CallRecord) -> Spans {
    convert(record, layout::whole(record))
}

fn convert(record: &CallRecord, placed: Vec<Placed>) -> Spans {
    let state = trace_state(&record.context);
    let mut spans = Spans::default();
    for placed in placed {
        let group = match placed.part {
            Exporter::Client => &mut spans.client,
            Exporter::Relay => &mut spans.relay,
            Exporter::Server => &mut spans.server,
        };
        group.push(span(record, &state, placed));
    }
    spans
}

/// One stage's span. `state` is the record's [`trace_state`].
pub(super) fn span(record: &CallRecord, state: &TraceState, placed: Placed) -> SpanData {
    let details = Details::of(record, &placed);
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

/// What a span says beside its ids and times.
pub(super) struct Details {
    pub(super) kind: SpanKind,
    pub(super) name: Cow<'static, str>,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) dropped_attributes: u32,
    pub(super) links: SpanLinks,
    pub(super) status: Status,
}

impl Details {
    pub(super) fn of(record: &CallRecord, placed: &Placed) -> Self {
        let stage = placed.stage.stage;
        let mut details = Self {
            kind: match stage.def().map(|def| def.kind) {
                Some(Kind::Client) => SpanKind::Client,
                Some(Kind::Server) => SpanKind::Server,
                Some(Kind::Internal) | None => SpanKind::Internal,
            },
            name: tree::label(stage),
            attributes: stage_attributes(placed),
            dropped_attributes: 0,
            links: SpanLinks::default(),
            status: Status::Unset,
        };
        if stage == transport::CALL || stage == transport::RPC {
            rpc(record, stage == transport::CALL, &mut details);
        } else if stage.is_background() && record.side == Side::Server {
            background(record, &mut details);
        }
        details
    }
}

/// What all spans are instrumented by.
pub(super) static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder("baton")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
});

fn stage_attributes(placed: &Placed) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(attribute::STAGE, tree::label(placed.stage.stage))];
    if placed.stage.attempt > 0 {
        attributes.push(KeyValue::new(attribute::ATTEMPT, i64::from(placed.stage.attempt)));
    }
    if placed.stage.estimated {
        attributes.push(KeyValue::new(attribute::ESTIMATED, true));
    }
    attributes
}

/// What only the two spans of the RPC itself carry.
fn rpc(record: &CallRecord, is_call: bool, span: &mut Details) {
    let method = cut(record.method.clone(), SPAN_NAME_MAX);
    if !method.is_empty() {
        span.name = method.clone();
    }
    span.attributes.push(KeyValue::new(RPC_SYSTEM_NAME, "grpc"));
    span.attributes.push(KeyValue::new(RPC_METHOD, method));

    // A server's span as its client reports it: how the handler ended is not known, only how the call did.
    let is_own = is_call == (record.side == Side::Client);
    if !is_own {
        return;
    }
    let is_error = match record.side {
        Side::Client => status::is_client_error(record.status),
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
    }
    own(record, span);
}

/// What happened beside calls.
fn background(record: &CallRecord, span: &mut Details) {
    if record.status != RpcStatus(0) {
        span.status = error(record.status);
        span.attributes
            .push(KeyValue::new(ERROR_TYPE, status::name(record.status)));
    }
    own(record, span);
}

/// The record's own attributes and links.
fn own(record: &CallRecord, span: &mut Details) {
    let kept = record.attributes.iter().take(RECORD_ATTRIBUTES_MAX).map(capped);
    span.attributes.extend(kept);
    let dropped = record.attributes.len().saturating_sub(RECORD_ATTRIBUTES_MAX);
    span.dropped_attributes = u32::try_from(dropped).unwrap_or(u32::MAX);
    for link in &record.links {
        let context = SpanContext::new(link.trace_id, link.span_id, link.flags, true, trace_state(link));
        span.links.links.push(Link::new(context, Vec::new(), 0));
    }
}

fn call(record: &CallRecord, span: &mut Details) {
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

/// The description says nothing that a peer wrote.
fn error(status: RpcStatus) -> Status {
    Status::Error {
        description: status::name(status),
    }
}

/// Level 2 keys that the SDK refuses cost the export its tracestate, never the span.
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
    use opentelemetry::TraceFlags;

    use super::*;
    use crate::clock::Offset;
    use crate::record::StageRecord;
    use crate::report::tests::{record, stage};
    use crate::stage::exec::PROCESS;
    use crate::stage::transport::*;

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
    fn the_remainder_is_an_attribute_of_the_call_alone() {
        let mut record = sample(Side::Client);
        let spans = owed(&record);
        assert_eq!(
            value(&spans.client[0], "baton.remainder_ns"),
            Some(&Value::I64(100_000))
        );
        assert_eq!(value(&spans.client[1], "baton.remainder_ns"), None);
        assert_eq!(value(&spans.client[0], "baton.clock.offset_ns"), None);
        record.clock = Some(Offset {
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

    #[test]
    fn flags_tracestate_and_links_are_kept() {
        let mut record = sample(Side::Client);
        record.context.tracestate = crate::w3c::Tracestate::parse("vendor=a,1tenant@sys=b").unwrap();
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
