//! Every limit is a typed error or a cut, and sums saturate.

use std::time::Duration;

use baton_turn::limits::{
    STEP_ID_MAX, STEPS_MAX, STREAMS_MAX, TEXT_MAX, THREAD_ID_MAX, TOOL_CALLS_MAX, TURN_MAX,
};
use baton_turn::{StepError, StepOptions, Thread, ThreadError, ToolCallError, TurnError};
use baton_turn::{attribute, semconv};
use futures_util::{StreamExt, stream};

use crate::support::{Traced, int, is_text, text};

/// A command takes the ids of its thread, turn and step.
#[test]
fn ids_have_the_limits_of_a_command() {
    use baton_proto::limits;
    assert_eq!(THREAD_ID_MAX, limits::THREAD_ID_MAX);
    assert_eq!(STEP_ID_MAX, limits::STEP_ID_MAX);
}

#[tokio::test(start_paused = true)]
async fn limits_are_typed_errors() {
    let traced = Traced::new();
    assert_eq!(Thread::new("").err(), Some(ThreadError::EmptyId));
    assert_eq!(Thread::new("a\nb").err(), Some(ThreadError::ControlCharacter));
    let bytes = THREAD_ID_MAX + 1;
    assert_eq!(
        Thread::new("x".repeat(bytes)).err(),
        Some(ThreadError::IdTooLong { bytes })
    );
    let number = TURN_MAX + 1;
    assert_eq!(
        Thread::resume("t", number, None).err(),
        Some(ThreadError::TurnNumber { number })
    );
    let last = Thread::resume("t", TURN_MAX, None).expect("a thread");
    assert_eq!(last.turn().map(drop), Err(TurnError::TooManyTurns));

    let turn = traced.thread("t").turn().expect("a turn");
    let with_id = |id: String| turn.step_with(StepOptions::default().id(id)).map(drop);
    assert_eq!(with_id(String::new()), Err(StepError::EmptyId));
    assert_eq!(with_id("\u{7f}".to_owned()), Err(StepError::ControlCharacter));
    let bytes = STEP_ID_MAX + 1;
    assert_eq!(with_id("x".repeat(bytes)), Err(StepError::IdTooLong { bytes }));
    let step = turn.step().expect("a step");
    for _ in 0..TOOL_CALLS_MAX {
        drop(
            step.tool_call("x".repeat(1_000), "é".repeat(200))
                .expect("a tool call"),
        );
    }
    assert_eq!(
        step.tool_call("x", "1").map(drop),
        Err(ToolCallError::TooManyToolCalls)
    );
    let tool = traced.ended.named("execute_tool");
    assert_eq!(text(&tool, semconv::TOOL_NAME).len(), TEXT_MAX);
    assert_eq!(text(&tool, semconv::TOOL_CALL_ID), "é".repeat(TEXT_MAX / 2));
    for _ in 0..STREAMS_MAX + 2 {
        assert_eq!(step.stream(stream::iter(["a"]), is_text).next().await, Some("a"));
    }
    assert_eq!(step.end().streams, STREAMS_MAX);
    assert_eq!(int(&traced.ended.named("chat"), attribute::STREAMS_UNMEASURED), 2);
    for _ in 1..STEPS_MAX {
        drop(turn.step().expect("a step"));
    }
    assert_eq!(turn.step().map(drop), Err(StepError::TooManySteps));
}

#[tokio::test(start_paused = true)]
async fn sums_saturate() {
    let turn = Thread::new("t").expect("a thread").turn().expect("a turn");
    for _ in 0..3 {
        let step = turn.step().expect("a step");
        let mut tokens = Box::pin(step.stream(stream::repeat("a"), is_text));
        tokens.next().await;
        tokio::time::advance(Duration::from_secs(400 * 365 * 86_400)).await;
    }
    assert!(turn.end().decode.expect("a sum") > Duration::from_secs(1_000 * 365 * 86_400));
}
