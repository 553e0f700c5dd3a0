//! A loop whose parts follow each other is on Jaeger's critical path in full.

use std::time::{SystemTime, UNIX_EPOCH};

use baton_trace::report::critical_path::{PathSpan, critical_path};
use futures_util::StreamExt;
use opentelemetry::SpanId;
use opentelemetry_sdk::trace::SpanData;
use tokio::time::sleep;

use crate::support::{MS, Traced, is_text, model};

fn us(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_micros().try_into().expect("microseconds")
}

/// As Jaeger reads it from OTLP: start and duration, each rounded down.
fn path_span(span: &SpanData) -> PathSpan {
    let start_us = us(span.start_time);
    let length = span.end_time.duration_since(span.start_time).expect("in order");
    PathSpan {
        id: span.span_context.span_id(),
        parent: Some(span.parent_span_id).filter(|parent| *parent != SpanId::INVALID),
        kind: span.span_kind.clone(),
        start_us,
        end_us: start_us + u64::try_from(length.as_micros()).expect("microseconds"),
        stage: None,
        remainder_ns: None,
    }
}

#[tokio::test(start_paused = true)]
async fn every_part_of_a_sequential_loop_is_on_the_critical_path() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    for _ in 0..3 {
        let step = turn.step().expect("a step");
        step.stream(model(&[(5, "a"), (7, "b")]), is_text)
            .for_each(async |_| ())
            .await;
        for id in ["1", "2"] {
            let call = step.tool_call("grep", id).expect("a tool call");
            sleep(MS).await;
            call.remote_parent();
            sleep(MS).await;
            call.end();
        }
        step.end();
    }
    turn.end();
    let spans = traced.ended.all();
    let path = critical_path(&spans.iter().map(path_span).collect::<Vec<_>>());
    for (index, span) in spans.iter().enumerate() {
        let own: u64 = path
            .iter()
            .filter(|at| at.span == index)
            .map(|at| at.duration_us())
            .sum();
        let expected = match &*span.name {
            "ttft" => 5_000,
            "decode" => 7_000,
            "tool.dispatch" => 1_000,
            // The rest is a microsecond between children.
            "execute_tool" => 1_000,
            _ => 0,
        };
        assert!((expected..expected + 10).contains(&own), "{}: {own}", span.name);
    }
}
