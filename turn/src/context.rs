//! Trace contexts, between OpenTelemetry's types and those that Baton sends.

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage as OtelBaggage, BaggageExt, KeyValueMetadata};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};

use baton_trace::w3c::{Baggage, ExtractedContext, TraceContext, Traceparent, Tracestate};

/// An OpenTelemetry context whose span is `context`, marked remote, with its tracestate and baggage: a parent for
/// [`Thread::turn_under`](crate::Thread::turn_under).
///
/// OpenTelemetry has the key grammar of Trace Context Level 1: members of the tracestate that it refuses are dropped.
pub fn remote(context: &TraceContext) -> Context {
    let members = context
        .tracestate
        .members()
        .filter(|member| TraceState::from_key_value([*member]).is_ok());
    let span = SpanContext::new(
        context.trace_id,
        context.span_id,
        context.flags,
        true,
        TraceState::from_key_value(members).unwrap_or_default(),
    );
    let remote = Context::new().with_remote_span_context(span);
    match context.baggage.is_empty() {
        true => remote,
        false => remote.with_baggage(otel_baggage(&context.baggage)),
    }
}

/// The span and the baggage of an OpenTelemetry context, as they travel. Without a valid span there is no context.
pub fn extract(context: &Context) -> ExtractedContext {
    let baggage = baggage(context.baggage());
    let span = context.span();
    let span = span.span_context();
    let parent = Traceparent::new(span.trace_id(), span.span_id(), span.trace_flags());
    ExtractedContext {
        context: parent.map(|parent| TraceContext {
            trace_id: parent.trace_id(),
            span_id: parent.span_id(),
            flags: parent.flags(),
            tracestate: Tracestate::parse(span.trace_state().header()).unwrap_or_default(),
            baggage: baggage.clone(),
        }),
        baggage,
    }
}

fn otel_baggage(baggage: &Baggage) -> OtelBaggage {
    baggage
        .members()
        .map(|member| {
            KeyValueMetadata::new(
                member.key.to_owned(),
                member.value().into_owned(),
                member.properties.to_owned(),
            )
        })
        .collect()
}

fn baggage(baggage: &OtelBaggage) -> Baggage {
    let mut members: Vec<_> = baggage
        .iter()
        .map(|(key, (value, properties))| (key.as_str(), value.as_str(), properties.as_str()))
        .collect();
    // Sorted, because the order of a hash map would produce a different header each time.
    members.sort_unstable();
    Baggage::from_members(members)
}
