//! Streams that end, fail, are dropped, never end, or are tried again.

use std::time::Duration;

use baton_turn::{StreamEnd, semconv};
use futures_util::{StreamExt, stream};
use opentelemetry::Value;
use opentelemetry::trace::Status;
use tokio::time::sleep;

use crate::support::{MS, Traced, has, int, is_text, model, text, value};

#[tokio::test(start_paused = true)]
async fn a_stream_without_content_closes_ttft_and_has_no_decode() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    let mut tokens = Box::pin(step.stream(model(&[(4, ""), (2, "")]), is_text));
    while tokens.next().await.is_some() {}
    let timings = tokens.timings().expect("it ended");
    assert_eq!(
        (timings.ttft, timings.decode, timings.total),
        (6 * MS, None, 6 * MS)
    );
    assert_eq!((timings.end, timings.had_content()), (StreamEnd::Ended, false));
    step.end();
    let turn = turn.end();
    assert_eq!(
        (turn.ttft, turn.decode, turn.user_visible_latency),
        (Some(6 * MS), None, None)
    );
    let ttft = traced.ended.named("ttft");
    assert_eq!(value(&ttft, "first_content"), Some(Value::Bool(false)));
    assert_eq!(text(&ttft, "baton.stream.end"), "ended");
    assert!(traced.ended.all().iter().all(|span| span.name != "decode"));
    let agent = traced.ended.named("invoke_agent");
    assert!(!has(&agent, "baton.turn.decode_ns") && !has(&agent, "baton.turn.user_visible_latency_ns"));
    assert_eq!(
        value(&traced.ended.named("chat"), semconv::RESPONSE_TIME_TO_FIRST_CHUNK),
        Some(Value::F64(0.004))
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_stream_has_neither_chunk_nor_content() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    assert_eq!(step.stream(stream::empty::<&str>(), is_text).next().await, None);
    let timings = step.end();
    assert_eq!(
        (timings.streams, timings.ttft, timings.time_to_first_chunk),
        (1, Some(Duration::ZERO), None)
    );
    turn.end();
    assert!(!has(
        &traced.ended.named("chat"),
        semconv::RESPONSE_TIME_TO_FIRST_CHUNK
    ));
    assert_eq!(
        value(&traced.ended.named("ttft"), "first_content"),
        Some(Value::Bool(false))
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_before_content_fails_the_stream_and_the_retry_is_added() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    let broken = model(&[(2, "")])
        .map(Ok)
        .chain(stream::iter([Err("reset"), Ok("late")]));
    let mut first = Box::pin(step.try_stream(broken, |item: &&str| !item.is_empty()));
    assert_eq!(first.next().await, Some(Ok("")));
    assert_eq!(first.next().await, Some(Err("reset")));
    assert_eq!(first.timings().expect("it failed").end, StreamEnd::Failed);
    assert_eq!(first.next().await, Some(Ok("late")));
    assert_eq!(first.timings().expect("it failed").total, 2 * MS);
    drop(first);
    sleep(100 * MS).await;
    let retry = model(&[(3, "a"), (4, "b")]).map(Ok::<_, &str>);
    step.try_stream(retry, |item: &&str| !item.is_empty())
        .for_each(async |_| ())
        .await;
    let timings = step.end();
    assert_eq!(
        (timings.streams, timings.ttft, timings.decode),
        (2, Some(5 * MS), Some(4 * MS))
    );
    assert_eq!(timings.time_to_first_chunk, Some(2 * MS));
    assert_eq!(turn.end().user_visible_latency, Some(105 * MS));

    let streams: Vec<_> = traced
        .ended
        .all()
        .into_iter()
        .filter(|span| has(span, "baton.stage"))
        .collect();
    assert_eq!(
        streams.iter().map(|span| span.name.as_ref()).collect::<Vec<_>>(),
        ["ttft", "ttft", "decode"]
    );
    assert_eq!(value(&streams[0], "first_content"), Some(Value::Bool(false)));
    assert_eq!(text(&streams[0], "baton.stream.end"), "failed");
    assert!(!has(&streams[0], "baton.stream.index"));
    assert_eq!(
        (
            int(&streams[1], "baton.stream.index"),
            int(&streams[2], "baton.stream.index")
        ),
        (1, 1)
    );
    assert_eq!(traced.ended.named("chat").status, Status::Unset);
    traced.assert_contained();
}

#[tokio::test(start_paused = true)]
async fn an_error_after_content_ends_decode() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    let broken = model(&[(2, "a"), (3, "b")])
        .map(Ok)
        .chain(stream::iter([Err("reset")]));
    step.try_stream(broken, |item: &&str| !item.is_empty())
        .for_each(async |_| ())
        .await;
    assert_eq!(step.fail("reset").decode, Some(3 * MS));
    turn.end();
    assert_eq!(text(&traced.ended.named("decode"), "baton.stream.end"), "failed");
    let chat = traced.ended.named("chat");
    assert_eq!(text(&chat, "error.type"), "reset");
    assert_eq!(chat.status, Status::error("reset"));
    assert_eq!(traced.ended.named("invoke_agent").status, Status::Unset);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_ends_is_measured_until_it_is_dropped() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    let mut endless = Box::pin(step.stream(stream::repeat("a"), is_text));
    for _ in 0..10_000 {
        endless.next().await;
    }
    sleep(6 * MS).await;
    assert_eq!(step.timings().streams, 0);
    drop(endless);
    assert_eq!(step.timings().decode, Some(6 * MS));
    drop(step.stream(stream::pending::<&str>(), is_text));
    step.end();
    turn.end();
    assert_eq!(text(&traced.ended.named("decode"), "baton.stream.end"), "dropped");
    let last = traced.ended.all().into_iter().rfind(|span| span.name == "ttft");
    assert_eq!(
        value(&last.expect("a second stream"), "first_content"),
        Some(Value::Bool(false))
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_step_ended_passes_its_items_through() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    let mut tokens = Box::pin(step.stream(model(&[(2, "a"), (2, "b")]), is_text));
    assert_eq!(tokens.next().await, Some("a"));
    assert_eq!(step.end().decode, Some(Duration::ZERO));
    assert_eq!(tokens.next().await, Some("b"));
    assert_eq!(tokens.next().await, None);
    assert_eq!(tokens.timings(), None);
    turn.end();
    assert_eq!(traced.ended.all().len(), 4);
    assert_eq!(text(&traced.ended.named("decode"), "baton.stream.end"), "dropped");
    traced.assert_contained();
}
