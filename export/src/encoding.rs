//! Records as an encoded `ExportTraceServiceRequest` (OTLP 1, `collector/trace/v1/trace_service.proto`).
//!
//! Through `SpanData` and the generated messages, a span costs a dozen allocations and 1.2 µs to encode and send, and
//! an execution has two dozen spans. So spans are written directly into the request; only rare content (links, array
//! attributes) uses the generated messages. A test checks that both paths produce the same messages.

use baton_trace::attribute;
use baton_trace::record::CallRecord;
use baton_trace::report::tree;
use baton_trace::stage::Component;
use bytes::Bytes;
use opentelemetry::Value;
use opentelemetry::trace::Status;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope};
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, span::SpanKind, status::StatusCode};
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::layout::{self, SpanPlacement};
use super::resource;
use super::spans::{self, SpanDetails};

/// A resource and Baton's scope, encoded once.
#[derive(Debug)]
pub(super) struct EncodedResource {
    /// `ResourceSpans.resource`, tag and length included.
    resource: Vec<u8>,
    /// `ResourceSpans.schema_url`, tag and length included.
    schema_url: Vec<u8>,
    /// `ScopeSpans.scope`, tag and length included.
    scope: Vec<u8>,
    of: Resource,
}

impl EncodedResource {
    pub(super) fn new(resource: &Resource) -> Self {
        let mut encoded = Self {
            resource: Vec::new(),
            schema_url: Vec::new(),
            scope: Vec::new(),
            of: resource.clone(),
        };
        let scope = InstrumentationScope::from((&*spans::SCOPE, None));
        bytes(&mut encoded.scope, 1, &scope.encode_to_vec());
        for group in group_spans_by_resource_and_scope(Vec::new(), &resource.into()) {
            bytes(
                &mut encoded.resource,
                1,
                &group.resource.unwrap_or_default().encode_to_vec(),
            );
            bytes(&mut encoded.schema_url, 3, group.schema_url.as_bytes());
        }
        encoded
    }

    /// The same component's resource for background stages. Rarely needed, so not cached.
    fn background(&self) -> Self {
        Self::new(&resource::background(&self.of))
    }

    /// Appends `ExportTraceServiceRequest.resource_spans` with `spans`, each of them a `ScopeSpans.spans`.
    fn append(&self, out: &mut Vec<u8>, spans: &[u8]) {
        let scope_spans = self.scope.len() + spans.len();
        let inner = self.resource.len() + field_len(scope_spans) + self.schema_url.len();
        header(out, 1, inner);
        out.extend_from_slice(&self.resource);
        header(out, 2, scope_spans);
        out.extend_from_slice(&self.scope);
        out.extend_from_slice(spans);
        out.extend_from_slice(&self.schema_url);
    }
}

/// Encoded spans of the next request.
#[derive(Debug, Default)]
pub(super) struct Batch {
    own: Vec<u8>,
    relay: Vec<u8>,
    background: Vec<u8>,
    spans: usize,
    scratch: Vec<u8>,
}

impl Batch {
    /// Adds the spans of `record` that its component exports.
    pub(super) fn push(&mut self, record: &CallRecord) {
        let state = spans::trace_state(&record.context);
        let header = state.header();
        for placed in layout::owed(record) {
            self.scratch.clear();
            let stage = placed.stage.stage;
            let group = if placed.part == Component::Relay {
                &mut self.relay
            } else if stage.is_background() {
                &mut self.background
            } else {
                &mut self.own
            };
            if SpanDetails::is_plain(record, stage) {
                plain(&mut self.scratch, record, &header, &placed);
            } else if record.links.is_empty() {
                let details = SpanDetails::of(record, &placed);
                detailed(&mut self.scratch, record, &header, &placed, &details);
            } else {
                let span = Span::from(spans::span(record, &state, placed));
                // A Vec grows as needed, so this cannot fail.
                let _ = span.encode(&mut self.scratch);
            }
            bytes(group, 2, &self.scratch);
            self.spans += 1;
        }
    }

    /// Number of spans.
    pub(super) fn len(&self) -> usize {
        self.spans
    }

    /// Removes and returns the spans as one request, and keeps the buffers.
    pub(super) fn take(&mut self, own: &EncodedResource, relay: impl FnOnce() -> EncodedResource) -> Bytes {
        let mut request =
            Vec::with_capacity(self.own.len() + self.relay.len() + self.background.len() + 4_096);
        if !self.own.is_empty() {
            own.append(&mut request, &self.own);
        }
        if !self.relay.is_empty() {
            relay().append(&mut request, &self.relay);
        }
        if !self.background.is_empty() {
            own.background().append(&mut request, &self.background);
        }
        self.own.clear();
        self.relay.clear();
        self.background.clear();
        self.spans = 0;
        request.into()
    }
}

/// The body of a `Span` without attributes of its own, in the order of its fields.
fn plain(out: &mut Vec<u8>, record: &CallRecord, trace_state: &str, placed: &SpanPlacement) {
    let name = tree::label(placed.stage.stage);
    identity(out, record, trace_state, placed, &name);
    number(out, 6, SpanKind::Internal as u64);
    times(out, placed);
    // AnyValue: a string is field 1, a bool 2, an int 3.
    let value_len = field_len(name.len());
    attribute(out, attribute::STAGE, value_len, |out| {
        bytes(out, 1, name.as_bytes())
    });
    if placed.stage.attempt > 0 {
        let attempt = u64::from(placed.stage.attempt);
        let value_len = 1 + encoded_len_varint(attempt);
        attribute(out, attribute::ATTEMPT, value_len, |out| number(out, 3, attempt));
    }
    if placed.stage.estimated {
        attribute(out, attribute::ESTIMATED, 2, |out| number(out, 2, 1));
    }
    header(out, 15, 0); // An unset status.
    flags(out, record, placed);
}

/// The body of a `Span` with attributes and status of its own, and without links.
fn detailed(
    out: &mut Vec<u8>,
    record: &CallRecord,
    trace_state: &str,
    placed: &SpanPlacement,
    details: &SpanDetails,
) {
    identity(out, record, trace_state, placed, &details.name);
    number(out, 6, SpanKind::from(details.kind.clone()) as u64);
    times(out, placed);
    for kv in &details.attributes {
        let key = kv.key.as_str();
        match &kv.value {
            Value::String(text) => {
                let text = text.as_str().as_bytes();
                attribute(out, key, field_len(text.len()), |out| bytes(out, 1, text));
            }
            Value::Bool(yes) => attribute(out, key, 2, |out| number(out, 2, (*yes).into())),
            Value::I64(integer) => {
                // Negative numbers take ten bytes (protobuf's int64).
                let integer = integer.cast_unsigned();
                let value_len = 1 + encoded_len_varint(integer);
                attribute(out, key, value_len, |out| number(out, 3, integer));
            }
            other => {
                let value = AnyValue::from(other.clone()).encode_to_vec();
                attribute(out, key, value.len(), |out| out.extend_from_slice(&value));
            }
        }
    }
    if details.dropped_attributes > 0 {
        number(out, 10, details.dropped_attributes.into());
    }
    match &details.status {
        Status::Error { description } => {
            header(out, 15, field_len(description.len()) + 2);
            bytes(out, 2, description.as_bytes());
            number(out, 3, StatusCode::Error as u64);
        }
        Status::Ok | Status::Unset => header(out, 15, 0),
    }
    flags(out, record, placed);
}

fn identity(out: &mut Vec<u8>, record: &CallRecord, trace_state: &str, placed: &SpanPlacement, name: &str) {
    bytes(out, 1, &record.context.trace_id.to_bytes());
    bytes(out, 2, &placed.span_id.to_bytes());
    if !trace_state.is_empty() {
        bytes(out, 3, trace_state.as_bytes());
    }
    if let Some(parent) = placed.parent {
        bytes(out, 4, &parent.to_bytes());
    }
    bytes(out, 5, name.as_bytes());
}

fn times(out: &mut Vec<u8>, placed: &SpanPlacement) {
    fixed64(out, 7, placed.start_ns);
    fixed64(out, 8, placed.end_ns);
}

fn flags(out: &mut Vec<u8>, record: &CallRecord, placed: &SpanPlacement) {
    let mut flags = u32::from(record.context.flags.to_u8()) | SpanFlags::ContextHasIsRemoteMask as u32;
    if placed.parent_is_remote {
        flags |= SpanFlags::ContextIsRemoteMask as u32;
    }
    tag(out, 16, 5);
    out.extend_from_slice(&flags.to_le_bytes());
}

/// `Span.attributes`, whose value `value` writes in `value_len` bytes.
fn attribute(out: &mut Vec<u8>, key: &str, value_len: usize, value: impl FnOnce(&mut Vec<u8>)) {
    header(out, 9, field_len(key.len()) + field_len(value_len));
    bytes(out, 1, key.as_bytes());
    header(out, 2, value_len);
    value(out);
}

fn tag(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    encode_varint(field << 3 | wire_type, out);
}

/// Tag and length of a string, bytes or message field.
fn header(out: &mut Vec<u8>, field: u64, len: usize) {
    tag(out, field, 2);
    encode_varint(len as u64, out);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    header(out, field, value.len());
    out.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, 0);
    encode_varint(value, out);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Length of a length-delimited field whose tag is below 16.
fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use baton_proto::ProcessId;
    use baton_trace::command::{CallerIds, CommandExit, TracedCommand};
    use baton_trace::outcome::Outcome;
    use baton_trace::record::{Side, StageRecord};
    use baton_trace::stage::StageId;
    use baton_trace::status::RpcStatus;
    use baton_trace::test_records::{record, stage};
    use baton_trace::w3c::{TraceContext, Tracestate};
    use opentelemetry::KeyValue;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
    use proptest::prelude::*;

    use super::*;

    /// The long way for everything.
    fn generated(records: &[CallRecord], own: &Resource, relay: &Resource) -> ExportTraceServiceRequest {
        let mut ours = Vec::new();
        let mut relays = Vec::new();
        let mut background = Vec::new();
        for spans in records.iter().map(spans::owed) {
            ours.extend(spans.client);
            ours.extend(spans.server);
            relays.extend(spans.relay);
            background.extend(spans.background);
        }
        let beside = &resource::background(own);
        let groups = [(ours, own), (relays, relay), (background, beside)]
            .into_iter()
            .filter(|(spans, _)| !spans.is_empty());
        let grouped = groups.flat_map(|(spans, by)| group_spans_by_resource_and_scope(spans, &by.into()));
        ExportTraceServiceRequest {
            resource_spans: grouped.collect(),
        }
    }

    fn records() -> impl Strategy<Value = CallRecord> {
        let stages = (0u8..52, -9_000i64..900_000, 0i64..90_000, 0u8..200, any::<bool>());
        (
            prop::collection::vec(stages, 0..40),
            any::<(bool, bool, bool, u8)>(),
        )
            .prop_map(|(stages, more)| {
                let stages = stages
                    .into_iter()
                    .map(|(id, start, length, attempt, estimated)| StageRecord {
                        attempt,
                        estimated,
                        ..stage(StageId(id), start, start + length)
                    });
                let (is_server, has_state, has_link, code) = more;
                let ids = CallerIds {
                    thread: Some("t"),
                    turn: NonZeroU64::new(code.into()),
                    step: Some("s").filter(|_| has_link),
                };
                let command = TracedCommand::new(None, b"make", ProcessId([code; 16]), ids);
                command.ended(Outcome::of_exit(
                    CommandExit::Signal(code.into()),
                    false,
                    false,
                    None,
                ));
                let mut record = record(stages.collect());
                record.command = (code % 2 == 0).then(|| Box::new(command.summary()));
                record.side = if is_server { Side::Server } else { Side::Client };
                record.status = RpcStatus((code % 20).into());
                if has_state {
                    record.context.tracestate = Tracestate::parse("vendor=a,other=b").unwrap();
                }
                record
                    .links
                    .extend(has_link.then(|| TraceContext::new_root(true)));
                record.attributes = vec![
                    KeyValue::new("text", "value"),
                    KeyValue::new("negative", -1 - i64::from(code)),
                    KeyValue::new("flag", is_server),
                    KeyValue::new("ratio", 0.5),
                    KeyValue::new("list", Value::Array(vec![1, 2].into())),
                ];
                record
                    .attributes
                    .resize(usize::from(code), KeyValue::new("more", true));
                record
            })
    }

    fn resources() -> (Resource, Resource) {
        let own = resource::own(Component::Client, None);
        let relay = resource::reported(Component::Relay, &own);
        (own, relay)
    }

    proptest! {
        #[test]
        fn what_is_written_by_hand_is_what_the_generated_messages_write(
            records in prop::collection::vec(records(), 0..4)
        ) {
            let (own, relay) = resources();
            let mut batch = Batch::default();
            for record in &records {
                batch.push(record);
            }
            let wanted = generated(&records, &own, &relay);
            prop_assert_eq!(batch.len(), count(&wanted.resource_spans));
            let request = batch.take(&EncodedResource::new(&own), || EncodedResource::new(&relay));
            let mut read = ExportTraceServiceRequest::decode(request.clone()).unwrap();
            for (read, wanted) in read.resource_spans.iter_mut().zip(&wanted.resource_spans) {
                same_attributes(read, wanted);
            }
            prop_assert_eq!(&read, &wanted);
            prop_assert_eq!(request.len(), wanted.encoded_len());
            prop_assert_eq!(batch.len(), 0);
        }
    }

    fn count(groups: &[ResourceSpans]) -> usize {
        groups
            .iter()
            .flat_map(|group| &group.scope_spans)
            .map(|scope| scope.spans.len())
            .sum()
    }

    /// The SDK keeps a resource's attributes in a hash map: their order says nothing.
    fn same_attributes(read: &mut ResourceSpans, wanted: &ResourceSpans) {
        let (Some(read), Some(wanted)) = (&mut read.resource, &wanted.resource) else {
            return;
        };
        let place = |key: &str| {
            wanted
                .attributes
                .iter()
                .position(|attribute| attribute.key == key)
        };
        read.attributes.sort_by_key(|attribute| place(&attribute.key));
    }
}
