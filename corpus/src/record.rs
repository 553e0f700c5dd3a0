//! Makes the part of a trace from a call record: the spans that `--trace-json` writes.

use std::borrow::Cow;

use baton_export::json;
use baton_trace::record::CallRecord;
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;

use crate::part::{Attribute, Link, Span, SpanGroup, TracePart, Value};

/// The part of the trace that `record` knows.
pub fn part(record: &CallRecord) -> TracePart<'static> {
    let request = json::request(std::slice::from_ref(record));
    let mut groups = Vec::new();
    for resource_spans in request.resource_spans {
        let mut resource = attributes(resource_spans.resource.unwrap_or_default().attributes);
        // The SDK keeps them in a hash map. The same order in every trace compresses better.
        resource.sort_by(|a, b| a.0.cmp(&b.0));
        for scope_spans in resource_spans.scope_spans {
            let scope = scope_spans.scope.unwrap_or_default();
            groups.push(SpanGroup {
                resource: resource.clone(),
                schema_url: resource_spans.schema_url.clone().into(),
                scope: scope.name.into(),
                scope_version: scope.version.into(),
                spans: scope_spans.spans.into_iter().map(span).collect(),
            });
        }
    }
    TracePart {
        trace_id: u128::from_be_bytes(record.context.trace_id.to_bytes()),
        groups,
    }
}

fn span(span: OtlpSpan) -> Span<'static> {
    let status = span.status.unwrap_or_default();
    Span {
        id: id(&span.span_id),
        parent: id(&span.parent_span_id),
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        flags: span.flags,
        kind: span.kind.cast_unsigned(),
        status: status.code.cast_unsigned(),
        status_message: status.message.into(),
        name: span.name.into(),
        trace_state: span.trace_state.into(),
        attributes: attributes(span.attributes),
        dropped_attributes: span.dropped_attributes_count,
        links: span
            .links
            .into_iter()
            .map(|link| Link {
                trace_id: link.trace_id.try_into().map_or(0, u128::from_be_bytes),
                span_id: id(&link.span_id),
                flags: link.flags,
                trace_state: link.trace_state.into(),
            })
            .collect(),
    }
}

/// A missing id is 0.
fn id(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn attributes(from: Vec<KeyValue>) -> Vec<Attribute<'static>> {
    from.into_iter()
        .map(|one| (Cow::Owned(one.key), value(one.value)))
        .collect()
}

fn value(from: Option<AnyValue>) -> Value<'static> {
    match from.and_then(|any| any.value) {
        None => Value::Empty,
        Some(OtlpValue::StringValue(text)) => Value::Text(text.into()),
        Some(OtlpValue::BoolValue(flag)) => Value::Bool(flag),
        Some(OtlpValue::IntValue(number)) => Value::Int(number),
        Some(OtlpValue::DoubleValue(number)) => Value::Double(number),
        Some(OtlpValue::BytesValue(bytes)) => Value::Bytes(bytes.into()),
        Some(OtlpValue::ArrayValue(array)) => {
            Value::Array(array.values.into_iter().map(|one| value(Some(one))).collect())
        }
        Some(OtlpValue::KvlistValue(map)) => Value::Map(attributes(map.values)),
        // An index into a table that only profiles have.
        Some(_) => Value::Empty,
    }
}
