//! The bridge against a real subscriber: tracing-subscriber's registry, tracing-opentelemetry and the SDK, its spans
//! collected in memory.
//!
//! Each test installs a subscriber of its own for its own thread.

use baton_export::bridge;
use baton_support::spans::Ended;
use baton_trace::w3c::{Baggage, ExtractedContext, TraceContext, Tracestate};
use baton_trace::{SpanId, TraceFlags};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{FutureExt, SpanContext, TraceContextExt, TraceState, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Instrument;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

struct Installed {
    spans: Ended,
    provider: SdkTracerProvider,
    _guard: DefaultGuard,
}

fn install(sampler: Sampler, context_activation: bool) -> Installed {
    let spans = Ended::default();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(spans.clone())
        .with_sampler(sampler)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("test"))
        .with_context_activation(context_activation);
    let guard = tracing_subscriber::registry().with(layer).set_default();
    Installed {
        spans,
        provider,
        _guard: guard,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// A context as it arrives, with everything that OpenTelemetry's own types cannot hold: a key of Level 2, a doubled
/// baggage key, an order, white space inside a member.
fn inbound() -> TraceContext {
    TraceContext {
        flags: TraceFlags::new(3),
        tracestate: Tracestate::parse("a@b@c=1,rojo=2").unwrap(),
        baggage: Baggage::parse("z=1;p,b = a%20b,b=2"),
        ..TraceContext::new_root(true)
    }
}

#[test]
fn a_callers_tracing_span_is_the_parent() {
    let installed = install(Sampler::AlwaysOn, true);
    assert!(bridge::is_active());
    assert_eq!(bridge::current_parent(), None);
    let parent = tracing::info_span!("caller")
        .in_scope(bridge::current_parent)
        .unwrap();
    let span = installed.spans.named("caller");
    assert_eq!(parent.trace_id, span.span_context.trace_id());
    assert_eq!(parent.span_id, span.span_context.span_id());
    assert!(parent.is_sampled());
    assert!(parent.tracestate.is_empty() && parent.baggage.is_empty());
    assert_eq!(bridge::current_parent(), None);
}

#[test]
fn a_callers_tracing_span_is_the_parent_without_context_activation() {
    let installed = install(Sampler::AlwaysOn, false);
    let parent = tracing::info_span!("caller")
        .in_scope(bridge::current_parent)
        .unwrap();
    assert_eq!(
        parent.span_id,
        installed.spans.named("caller").span_context.span_id()
    );
}

#[test]
fn the_innermost_span_is_the_parent_whoever_opened_it() {
    let installed = install(Sampler::AlwaysOn, true);
    let tracer = installed.provider.tracer("caller");
    let (inner, innermost) = tracing::info_span!("outer").in_scope(|| {
        tracer.in_span("inner", |_| {
            let innermost = tracing::info_span!("innermost").in_scope(bridge::current_parent);
            (bridge::current_parent(), innermost)
        })
    });
    assert_eq!(
        inner.unwrap().span_id,
        installed.spans.named("inner").span_context.span_id()
    );
    let span = installed.spans.named("innermost");
    assert_eq!(innermost.unwrap().span_id, span.span_context.span_id());
    assert_eq!(
        span.parent_span_id,
        installed.spans.named("inner").span_context.span_id()
    );
}

#[test]
fn a_span_opened_in_an_attached_future_is_a_child() {
    let installed = install(Sampler::AlwaysOn, true);
    let inbound = inbound();
    let outbound = block_on(
        async {
            tokio::task::yield_now().await;
            async { bridge::current_parent() }
                .instrument(tracing::info_span!("handler"))
                .await
        }
        .with_context(bridge::attach(&inbound)),
    )
    .unwrap();
    let span = installed.spans.named("handler");
    assert_eq!(span.span_context.trace_id(), inbound.trace_id);
    assert_eq!(span.parent_span_id, inbound.span_id);
    assert!(span.parent_span_is_remote);
    // And what the handler calls hangs under its span, with the rest verbatim.
    assert_eq!(outbound, inbound.with_span(span.span_context.span_id()));
}

#[test]
fn an_attached_context_wins_over_an_outer_tracing_span() {
    let installed = install(Sampler::AlwaysOn, true);
    let inbound = inbound();
    let found = tracing::info_span!("connection").in_scope(|| {
        block_on(
            async {
                tracing::info_span!("handler").in_scope(|| ());
                bridge::current_parent()
            }
            .with_context(bridge::attach(&inbound)),
        )
    });
    assert_eq!(installed.spans.named("handler").parent_span_id, inbound.span_id);
    assert_eq!(found, Some(inbound));
}

#[test]
fn an_unsampled_span_stays_unsampled_and_random() {
    let _installed = install(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)), true);
    let inbound = TraceContext {
        flags: TraceFlags::new(2),
        ..inbound()
    };
    let _attached = bridge::attach(&inbound).attach();
    let parent = tracing::info_span!("handler")
        .in_scope(bridge::current_parent)
        .unwrap();
    assert_ne!(parent.span_id, inbound.span_id);
    assert_eq!(parent, inbound.with_span(parent.span_id));
}

#[test]
fn without_spans_the_attached_context_comes_back_whole() {
    let inbound = inbound();
    let _attached = bridge::attach(&inbound).attach();
    assert_eq!(bridge::current_parent(), Some(inbound));
}

#[test]
fn a_handler_reads_tracestate_and_baggage_through_opentelemetry() {
    let context = bridge::attach(&inbound());
    let span = context.span().span_context().clone();
    assert!(span.is_remote());
    assert_eq!(span.trace_state().get("rojo"), Some("2"));
    assert_eq!(context.baggage().get("b").unwrap().as_str(), "2");
    let (value, properties) = context.baggage().get_with_metadata("z").unwrap();
    assert_eq!((value.as_str(), properties.as_str()), ("1", "p"));
}

#[test]
fn what_a_handler_replaces_is_what_travels_on() {
    let inbound = inbound();
    let replaced =
        bridge::attach(&inbound).with_baggage([KeyValue::new("y", "2 3"), KeyValue::new("x", "1")]);
    let _attached = replaced.clone().attach();
    let found = bridge::current_parent().unwrap();
    assert_eq!(found.baggage.as_str(), "x=1,y=2%203");
    assert_eq!(found.tracestate, inbound.tracestate);

    let _cleared = replaced.with_cleared_baggage().attach();
    assert!(bridge::current().baggage.is_empty());

    let state = TraceState::from_key_value([("new", "1"), ("rojo", "2")]).unwrap();
    let span = SpanContext::new(inbound.trace_id, SpanId::from(7), inbound.flags, false, state);
    let _respanned = bridge::attach(&inbound).with_remote_span_context(span).attach();
    assert_eq!(
        bridge::current_parent().unwrap().tracestate.as_str(),
        "new=1,rojo=2"
    );
}

#[test]
fn another_trace_inherits_neither_tracestate_nor_flags() {
    let other = TraceContext::new_root(false);
    let span = SpanContext::new(
        other.trace_id,
        other.span_id,
        TraceFlags::default(),
        false,
        TraceState::NONE,
    );
    let _attached = bridge::attach(&inbound()).with_remote_span_context(span).attach();
    let found = bridge::current_parent().unwrap();
    assert_eq!(
        (found.trace_id, found.flags),
        (other.trace_id, TraceFlags::default())
    );
    assert!(found.tracestate.is_empty());
}

#[test]
fn a_callers_baggage_is_found_without_a_span() {
    let _attached = Context::new()
        .with_baggage([KeyValue::new("user", "a,b")])
        .attach();
    assert_eq!(
        bridge::current(),
        ExtractedContext {
            context: None,
            baggage: Baggage::parse("user=a%2Cb"),
        }
    );
}

#[test]
fn a_malformed_trace_state_is_left_behind() {
    // OpenTelemetry lets a line break into a value; a header may not hold one.
    let state = TraceState::from_key_value([("a", "1\n2")]).unwrap();
    let inbound = inbound();
    let span = SpanContext::new(inbound.trace_id, inbound.span_id, inbound.flags, false, state);
    let _attached = Context::new().with_remote_span_context(span).attach();
    assert!(bridge::current_parent().unwrap().tracestate.is_empty());
}
