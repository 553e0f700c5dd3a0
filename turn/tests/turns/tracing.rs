//! Turns beside tracing-opentelemetry: as children of `tracing` spans, and as their parents.

use tracing::{Instrument, info_span};
use tracing_subscriber::layer::SubscriberExt;

use crate::support::Traced;
use opentelemetry::trace::TracerProvider;

fn subscriber(traced: &Traced) -> impl tracing::Subscriber + Send + Sync + use<> {
    let layer = tracing_opentelemetry::layer().with_tracer(traced.provider.tracer("test"));
    tracing_subscriber::registry().with(layer)
}

#[tokio::test]
async fn a_turn_is_a_child_of_the_current_tracing_span() {
    let traced = Traced::new();
    let _subscriber = tracing::subscriber::set_default(subscriber(&traced));
    let thread = traced.thread("t");
    async {
        thread.turn().expect("a turn").end();
    }
    .instrument(info_span!("request"))
    .await;
    let (turn, request) = (traced.ended.named("invoke_agent"), traced.ended.named("request"));
    assert_eq!(turn.parent_span_id, request.span_context.span_id());
    assert_eq!(turn.span_context.trace_id(), request.span_context.trace_id());
}

#[tokio::test]
async fn tracing_spans_opened_inside_become_children() {
    let traced = Traced::new();
    let _subscriber = tracing::subscriber::set_default(subscriber(&traced));
    let thread = traced.thread("t");
    async {
        let turn = thread.turn().expect("a turn");
        turn.with_context(async { info_span!("in turn").in_scope(|| ()) })
            .await;
        let step = turn.step().expect("a step");
        step.with_context(async { info_span!("in step").in_scope(|| ()) })
            .await;
        let call = step.tool_call("grep", "1").expect("a tool call");
        call.with_context(async {
            tokio::task::yield_now().await;
            async { info_span!("below").in_scope(|| ()) }
                .instrument(info_span!("in call"))
                .await;
            let _nested = traced.thread("subagent").turn().expect("a turn");
        })
        .await;
        call.end();
        step.end();
        turn.end();
    }
    .instrument(info_span!("request"))
    .await;
    let spans = traced.ended.all();
    let subagent = &spans
        .iter()
        .find(|span| span.name == "invoke_agent")
        .expect("a turn");
    let id = |name| traced.ended.named(name).span_context.span_id();
    assert_eq!(subagent.parent_span_id, id("execute_tool"));
    for (child, parent) in [
        ("in step", "chat"),
        ("in call", "execute_tool"),
        ("below", "in call"),
    ] {
        assert_eq!(traced.ended.named(child).parent_span_id, id(parent), "{child}");
    }
    let turn = spans
        .iter()
        .rfind(|span| span.name == "invoke_agent")
        .expect("a turn");
    assert_eq!(
        traced.ended.named("in turn").parent_span_id,
        turn.span_context.span_id()
    );
    assert_eq!(turn.parent_span_id, id("request"));
}
