//! The channel between a caller and a handler that both use `tracing`, exported by OpenTelemetry's SDK: one trace.
//!
//! This is a separate binary, because a subscriber is global to its process. All tests share it, and identify their
//! spans by trace id.

#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
#[path = "../channel/support/mod.rs"]
mod support;

use std::sync::OnceLock;

use baton_channel::RecordTo;
use baton_export::bridge;
use baton_support::spans::Ended;
use baton_trace::SpanId;
use baton_trace::record::CallRecord;
use baton_trace::stage::{self, transport};
use baton_trace::w3c::TraceContext;
use bytes::Bytes;
use futures_util::stream;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::Request;
use tracing::Instrument;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use support::service::{Mounted, answer, message};
use support::{Stack, eventually, within};

/// The subscriber of this process, and the spans that it has seen.
struct Collector(Ended);

impl Collector {
    /// Installs the subscriber at the first call.
    fn installed() -> &'static Self {
        static COLLECTOR: OnceLock<Collector> = OnceLock::new();
        COLLECTOR.get_or_init(|| {
            let ended = Ended::default();
            let provider = SdkTracerProvider::builder()
                .with_span_processor(ended.clone())
                .build();
            let layer = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("test"))
                // Ignores the spans of libraries.
                .with_filter(filter_fn(|metadata| {
                    metadata.target().starts_with(module_path!())
                }));
            tracing_subscriber::registry().with(layer).init();
            // Dropping the provider would shut it down.
            std::mem::forget(provider);
            Self(ended)
        })
    }

    /// Waits until a span with this name and this parent has ended.
    async fn child_of(&self, parent: &TraceContext, name: &str) {
        eventually("the span ends", || {
            self.0.all().iter().any(|span| {
                span.name == name
                    && span.span_context.trace_id() == parent.trace_id
                    && span.parent_span_id == parent.span_id
            })
        })
        .await;
    }
}

/// A service whose handlers open spans before they answer and while they stream.
fn traced() -> Mounted {
    Mounted::default()
        .on("/test/Work", |_| async {
            async { tokio::task::yield_now().await }
                .instrument(tracing::info_span!("work"))
                .await;
            Ok(message(""))
        })
        .on("/test/Stream", |_| async {
            Ok(answer(stream::once(async {
                tracing::info_span!("late").in_scope(|| ());
                Ok(Bytes::new())
            })))
        })
}

async fn call(stack: &Stack, path: &'static str, mut request: Request<Bytes>) -> CallRecord {
    let (record_to, told) = RecordTo::channel();
    request.extensions_mut().insert(record_to);
    within(stack.caller().unary(path, request)).await.unwrap();
    within(told).await.unwrap()
}

fn empty() -> Request<Bytes> {
    Request::new(Bytes::new())
}

fn rpc(record: &CallRecord) -> TraceContext {
    let context = &record.context;
    let id = stage::span_id(context.trace_id, context.span_id, transport::RPC, 0);
    context.with_span(id)
}

/// The context of the caller's span, and the record of a call inside it.
async fn call_in_span(stack: &Stack, request: Request<Bytes>) -> (TraceContext, CallRecord) {
    async {
        let span = bridge::current_parent().expect("this span is taken");
        (span, call(stack, "/test/Work", request).await)
    }
    .instrument(tracing::info_span!("caller"))
    .await
}

#[tokio::test]
async fn the_callers_span_the_call_and_the_handlers_spans_form_one_branch() {
    let spans = Collector::installed();
    let stack = Stack::start(traced()).await;
    let (caller, record) = call_in_span(&stack, empty()).await;
    assert_eq!(record.context.trace_id, caller.trace_id);
    assert_eq!(record.parent, Some(caller.span_id));
    spans.child_of(&rpc(&record), "work").await;
}

#[tokio::test]
async fn spans_opened_while_a_response_streams_are_the_handlers_too() {
    let spans = Collector::installed();
    let stack = Stack::start(traced()).await;
    let record = call(&stack, "/test/Stream", empty()).await;
    spans.child_of(&rpc(&record), "late").await;
}

#[tokio::test]
async fn a_call_outside_of_any_span_starts_a_trace() {
    let spans = Collector::installed();
    let stack = Stack::start(traced()).await;
    let record = call(&stack, "/test/Work", empty()).await;
    assert_eq!(record.parent, None);
    spans.child_of(&rpc(&record), "work").await;
}

#[tokio::test]
async fn a_context_extension_precedes_metadata_which_precedes_the_current_span() {
    Collector::installed();
    let stack = Stack::start(traced()).await;
    let told = TraceContext::new_root(true);
    let mut request = empty();
    let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request
        .metadata_mut()
        .insert("traceparent", header.parse().unwrap());
    let (_, by_metadata) = call_in_span(&stack, request).await;
    assert_eq!(
        by_metadata.context.trace_id.to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(
        by_metadata.parent,
        Some(SpanId::from_hex("b7ad6b7169203331").unwrap())
    );

    let mut request = empty();
    request
        .metadata_mut()
        .insert("traceparent", header.parse().unwrap());
    request.extensions_mut().insert(told.clone());
    let (_, by_extension) = call_in_span(&stack, request).await;
    assert_eq!(by_extension.context.trace_id, told.trace_id);
    assert_eq!(by_extension.parent, Some(told.span_id));
}

#[tokio::test]
async fn a_malformed_traceparent_starts_a_trace_and_fails_nothing() {
    let spans = Collector::installed();
    let stack = Stack::start(traced()).await;
    for malformed in [
        "",
        "nonsense",
        "00-0-0-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let mut request = empty();
        request
            .metadata_mut()
            .insert("traceparent", malformed.parse().unwrap());
        let record = call(&stack, "/test/Work", request).await;
        assert_eq!(record.parent, None, "{malformed:?}");
        spans.child_of(&rpc(&record), "work").await;
    }
}
