//! Converts contexts to and from the `tracing` spans of callers and handlers, and their OpenTelemetry context.
//!
//! Outbound, [`current`] finds the span that a call hangs under. Inbound, [`attach`] makes a received context the
//! parent of whatever a handler opens. Information that OpenTelemetry's types would lose is kept separately: a
//! tracestate in Level 2's grammar, the order and doubled keys of a baggage, the random flag of an unsampled trace.
//!
//! With no subscriber installed, [`current`] costs one atomic load and one thread-local.

use opentelemetry::baggage::{Baggage as OtelBaggage, BaggageExt, KeyValueMetadata};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};
use opentelemetry::{Context, TraceFlags};
use tracing::level_filters::LevelFilter;

use baton_trace::w3c::{Baggage, ExtractedContext, TraceContext, Traceparent, Tracestate};

/// The second flag of Trace Context Level 2, section 3.2.2.5: the trace id is random, which no participant may change.
const RANDOM: TraceFlags = TraceFlags::new(0b10);

/// The context that was passed to [`attach`], with OpenTelemetry's version of it. Spans opened below inherit both.
struct AttachedContext {
    context: TraceContext,
    /// Detects whether the tracestate or the baggage was replaced since. Keeps the originals alive, so that comparing
    /// addresses is sound.
    converted: Context,
}

/// Whether a `tracing` subscriber is installed that enables any span.
///
/// A handler that uses OpenTelemetry's API without `tracing` is not detected.
pub fn is_active() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// The span that the calling code is in, with its tracestate and baggage: the parent of a call made now.
///
/// [`current`] also finds baggage outside of any span.
pub fn current_parent() -> Option<TraceContext> {
    current().context
}

/// The span and the baggage that the calling code is in.
///
/// OpenTelemetry's current context comes first, since tracing-opentelemetry makes every entered span current there:
/// what is found is the innermost span, whichever of the two opened it. If a layer does not do so
/// (`with_context_activation(false)`) and there is no such context, the current `tracing` span is used.
pub fn current() -> ExtractedContext {
    let current = Context::map_current(extract);
    if current.context.is_some() || !is_active() {
        return current;
    }
    let tracing = tracing::dispatcher::get_default(|dispatch| {
        let span = dispatch.current_span();
        let context = tracing_opentelemetry::get_otel_context(span.id()?, dispatch)?;
        Some(extract(&context))
    });
    match tracing {
        Some(tracing) if tracing.context.is_some() => tracing,
        _ => current,
    }
}

/// An OpenTelemetry context whose span is `context`, marked remote, with its tracestate and baggage.
///
/// Wrap a handler's future in it with [`opentelemetry::trace::FutureExt::with_context`]: the `tracing` spans that the
/// handler opens become children of `context`, and so do the calls it makes through [`current`]. Tasks that the handler
/// spawns are outside of the future and must be wrapped again.
pub fn attach(context: &TraceContext) -> Context {
    let span = SpanContext::new(
        context.trace_id,
        context.span_id,
        context.flags,
        true,
        to_trace_state(&context.tracestate),
    );
    let mut converted = Context::new().with_remote_span_context(span);
    if !context.baggage.is_empty() {
        converted = converted.with_baggage(to_otel_baggage(&context.baggage));
    }
    converted.with_value(AttachedContext {
        context: context.clone(),
        converted: converted.clone(),
    })
}

fn extract(current: &Context) -> ExtractedContext {
    let attached = current.get::<AttachedContext>();
    let baggage = match attached {
        Some(attached) if std::ptr::eq(current.baggage(), attached.converted.baggage()) => {
            attached.context.baggage.clone()
        }
        _ => from_otel_baggage(current.baggage()),
    };
    let span = current.span();
    let span = span.span_context();
    let context = Traceparent::new(span.trace_id(), span.span_id(), span.trace_flags()).map(|parent| {
        let attached = attached.filter(|attached| attached.context.trace_id == parent.trace_id());
        // A sampler that drops a span clears every flag of it.
        let random = attached.map_or(TraceFlags::NOT_SAMPLED, |attached| {
            attached.context.flags & RANDOM
        });
        let tracestate = match attached {
            Some(attached)
                if attached.converted.span().span_context().trace_state() == span.trace_state() =>
            {
                attached.context.tracestate.clone()
            }
            _ => from_trace_state(span.trace_state()),
        };
        TraceContext {
            trace_id: parent.trace_id(),
            span_id: parent.span_id(),
            flags: parent.flags() | random,
            tracestate,
            baggage: baggage.clone(),
        }
    });
    ExtractedContext { context, baggage }
}

/// OpenTelemetry still has the key grammar of Level 1: members that it refuses stay in [`AttachedContext`] alone.
fn to_trace_state(tracestate: &Tracestate) -> TraceState {
    if tracestate.is_empty() {
        return TraceState::NONE;
    }
    TraceState::from_key_value(tracestate.members()).unwrap_or_else(|_| {
        let accepted = tracestate
            .members()
            .filter(|member| TraceState::from_key_value([*member]).is_ok());
        TraceState::from_key_value(accepted).unwrap_or_default()
    })
}

fn from_trace_state(state: &TraceState) -> Tracestate {
    if state.into_iter().len() == 0 {
        return Tracestate::default();
    }
    Tracestate::parse(state.header()).unwrap_or_default()
}

fn to_otel_baggage(baggage: &Baggage) -> OtelBaggage {
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

fn from_otel_baggage(baggage: &OtelBaggage) -> Baggage {
    if baggage.is_empty() {
        return Baggage::default();
    }
    let mut members: Vec<_> = baggage
        .iter()
        .map(|(key, (value, properties))| (key.as_str(), value.as_str(), properties.as_str()))
        .collect();
    // Sorted, because the order of a hash map would produce a different header each time.
    members.sort_unstable();
    Baggage::from_members(members)
}
