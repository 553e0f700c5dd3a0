//! Parents, links, times and errors of the spans of turns.

use std::time::Duration;

use baton_trace::w3c::{Baggage, TraceContext};
use baton_turn::limits::TEXT_MAX;
use baton_turn::{Step, StepOptions, Thread, ToolCall, ToolCallError, Turn, Usage};
use baton_turn::{attribute, semconv};
use futures_util::{StreamExt, stream};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, Value};
use tokio::time::sleep;

use crate::support::{MS, Traced, duration, has, int, is_text, model, text, value};

#[tokio::test(start_paused = true)]
async fn a_turn_has_every_span_with_the_right_parent() {
    let traced = Traced::new();
    let turn = traced.thread("t").with_agent("coder").turn().expect("a turn");
    let options = StepOptions::default().model("gpt-4").provider("openai");
    let step = turn.step_with(options).expect("a step");
    step.stream(model(&[(5, ""), (5, "a"), (7, "b")]), is_text)
        .for_each(async |_| ())
        .await;
    let call = step.tool_call("grep", "call_1").expect("a tool call");
    sleep(3 * MS).await;
    let remote = call.remote_parent();
    sleep(4 * MS).await;
    call.end();
    step.end();
    turn.end();

    let spans = traced.ended.all();
    traced.assert_contained();
    let [ttft, decode, dispatch, tool, chat, agent] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(agent.name, "invoke_agent");
    assert_eq!(chat.name, "chat");
    assert_eq!(tool.name, "execute_tool");
    assert_eq!(
        [&ttft.name, &decode.name, &dispatch.name],
        ["ttft", "decode", "tool.dispatch"]
    );
    let parents = [ttft, decode, dispatch, tool, chat].map(|span| span.parent_span_id);
    let ids = [chat, chat, tool, chat, agent].map(|span| span.span_context.span_id());
    assert_eq!(parents, ids);
    let kinds = [agent, chat, tool].map(|span| span.span_kind.clone());
    assert_eq!(kinds, [SpanKind::Internal, SpanKind::Client, SpanKind::Internal]);

    for span in &spans {
        assert_eq!(int(span, "baton.turn"), 1, "{}", span.name);
        assert_eq!(
            has(span, "baton.step"),
            span.name != "invoke_agent",
            "{}",
            span.name
        );
    }
    for span in [ttft, decode, dispatch] {
        assert_eq!(text(span, "baton.stage"), span.name);
        assert_eq!(text(span, "baton.step"), "0");
    }
    assert_eq!(text(agent, semconv::OPERATION_NAME), "invoke_agent");
    assert_eq!(text(agent, semconv::CONVERSATION_ID), "t");
    assert_eq!(text(agent, semconv::AGENT_NAME), "coder");
    assert_eq!(text(chat, semconv::OPERATION_NAME), "chat");
    assert_eq!(text(chat, semconv::REQUEST_MODEL), "gpt-4");
    assert_eq!(text(chat, semconv::PROVIDER_NAME), "openai");
    assert_eq!(text(tool, semconv::OPERATION_NAME), "execute_tool");
    assert_eq!(text(tool, semconv::TOOL_NAME), "grep");
    assert_eq!(text(tool, semconv::TOOL_CALL_ID), "call_1");
    assert_eq!(int(tool, "baton.tool.index"), 0);

    assert_eq!(duration(ttft), 10 * MS);
    assert_eq!(duration(decode), 7 * MS);
    assert_eq!(duration(dispatch), 3 * MS);
    assert_eq!(duration(tool), 7 * MS);
    assert_eq!(value(ttft, "first_content"), Some(Value::Bool(true)));
    assert_eq!(text(decode, "baton.stream.end"), "ended");
    assert_eq!(
        value(chat, semconv::RESPONSE_TIME_TO_FIRST_CHUNK),
        Some(Value::F64(0.005))
    );
    assert_eq!(int(agent, "baton.turn.ttft_ns"), 10_000_000);
    assert_eq!(int(agent, "baton.turn.decode_ns"), 7_000_000);
    assert_eq!(int(agent, "baton.turn.user_visible_latency_ns"), 10_000_000);

    let remote = remote.context.expect("a context");
    assert_eq!(remote.span_id, tool.span_context.span_id());
    assert_eq!(remote.trace_id, agent.span_context.trace_id());
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_a_root_linked_to_the_turn_before_it() {
    let traced = Traced::new();
    let thread = traced.thread("t");
    let first = thread.turn().expect("a turn");
    let number = first.number();
    let context = first.trace_context().expect("a context");
    first.end();
    assert_eq!((thread.id(), number), ("t", 1));
    let second = thread.turn().expect("a turn");
    assert_eq!((second.thread(), second.number()), ("t", 2));
    second.end();
    let resumed = traced.with(Thread::resume("t", 2, Some(&context)).expect("a thread"));
    let third = resumed.turn().expect("a turn");
    assert_eq!(third.number(), 3);
    third.end();

    let spans = traced.ended.all();
    assert!(spans.iter().all(|span| !has(span, "baton.ended_by")));
    let traces: std::collections::HashSet<_> =
        spans.iter().map(|span| span.span_context.trace_id()).collect();
    assert_eq!(traces.len(), 3);
    assert!(spans[0].links.links.is_empty());
    for later in &spans[1..] {
        let linked = &later.links.links[0].span_context;
        assert_eq!(linked.span_id(), context.span_id);
        assert_eq!(linked.trace_id(), context.trace_id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_the_callers_child() {
    let traced = Traced::new();
    let thread = traced.thread("t");
    let outer = thread.turn().expect("a turn");
    let inner = {
        let _current = outer.context().clone().attach();
        thread.turn().expect("a turn")
    };
    let parent = TraceContext::new_root(true);
    let explicit = thread
        .turn_under(&baton_turn::context::remote(&parent))
        .expect("a turn");
    let root = {
        let _current = outer.context().clone().attach();
        thread.turn_under(&Context::new()).expect("a turn")
    };
    let contexts =
        [&outer, &inner, &explicit, &root].map(|turn| turn.context().span().span_context().clone());
    for turn in [root, explicit, inner, outer] {
        turn.end();
    }
    let spans = traced.ended.all();
    assert_eq!(spans[2].parent_span_id, contexts[0].span_id());
    assert_eq!(spans[2].span_context.trace_id(), contexts[0].trace_id());
    assert_eq!(spans[1].parent_span_id, parent.span_id);
    assert_eq!(spans[1].span_context.trace_id(), parent.trace_id);
    assert_eq!(spans[0].parent_span_id, opentelemetry::SpanId::INVALID);
    assert_ne!(spans[0].span_context.trace_id(), contexts[0].trace_id());
}

#[tokio::test(start_paused = true)]
async fn parallel_tool_calls_share_the_step_and_keep_their_order() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step_with(StepOptions::default().id("plan")).expect("a step");
    let calls: Vec<_> = ["a", "b", "c"]
        .map(|tool| step.tool_call(tool, format!("call_{tool}")).expect("a tool call"))
        .into();
    let tasks = calls.into_iter().enumerate().map(|(index, call)| {
        tokio::spawn(async move {
            assert_eq!(call.index() as usize, index);
            assert_eq!(
                (call.thread(), call.turn_number(), call.step_id()),
                ("t", 1, "plan")
            );
            sleep(Duration::from_millis(30 - 10 * index as u64)).await;
            call.end();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("the task ends");
    }
    step.end();
    turn.end();
    let mut tools: Vec<_> = traced
        .ended
        .all()
        .into_iter()
        .filter(|span| span.name == "execute_tool")
        .collect();
    assert_eq!(
        tools
            .iter()
            .map(|span| text(span, semconv::TOOL_NAME))
            .collect::<Vec<_>>(),
        ["c", "b", "a"]
    );
    tools.sort_by_key(|span| int(span, attribute::TOOL_INDEX));
    assert_eq!(
        tools
            .iter()
            .map(|span| text(span, semconv::TOOL_NAME))
            .collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert!(
        tools
            .iter()
            .all(|span| text(span, "baton.step") == "plan" && span.start_time == tools[0].start_time)
    );
    assert!(traced.ended.all().iter().all(|span| span.name != "tool.dispatch"));
    traced.assert_contained();
}

#[tokio::test(start_paused = true)]
async fn siblings_that_follow_each_other_are_a_microsecond_apart() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    for _ in 0..2 {
        let step = turn.step().expect("a step");
        step.stream(model(&[(5, "a"), (7, "b")]), is_text)
            .for_each(async |_| ())
            .await;
        for id in ["1", "2"] {
            let call = step.tool_call("grep", id).expect("a tool call");
            call.remote_parent();
            sleep(MS).await;
            call.end();
        }
        step.end();
    }
    turn.end();
    let spans = traced.ended.all();
    for parent in ["chat", "invoke_agent"] {
        for parent in spans.iter().filter(|span| span.name == parent) {
            let id = parent.span_context.span_id();
            let mut children: Vec<_> = spans.iter().filter(|span| span.parent_span_id == id).collect();
            children.sort_by_key(|span| span.start_time);
            for pair in children.windows(2) {
                let gap = pair[1]
                    .start_time
                    .duration_since(pair[0].end_time)
                    .expect("in order");
                assert_eq!(gap, Duration::from_micros(1), "{} {}", pair[0].name, pair[1].name);
            }
        }
    }
    for (name, length) in [("ttft", 5 * MS), ("decode", 7 * MS), ("execute_tool", MS)] {
        let mut named = spans.iter().filter(|span| span.name == name);
        assert!(named.all(|span| duration(span) == length), "{name}");
    }
    traced.assert_contained();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_still_gives_empty_spans_in_order() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    for _ in 0..3 {
        let step = turn.step().expect("a step");
        step.stream(stream::iter(["a", "b"]), is_text)
            .for_each(async |_| ())
            .await;
        let call = step.tool_call("grep", "1").expect("a tool call");
        call.remote_parent();
        call.end();
        let timings = step.end();
        assert_eq!(
            (timings.ttft, timings.decode),
            (Some(Duration::ZERO), Some(Duration::ZERO))
        );
    }
    assert_eq!(turn.end().user_visible_latency, Some(Duration::ZERO));
    let spans = traced.ended.all();
    for name in ["ttft", "decode", "tool.dispatch"] {
        assert!(
            spans
                .iter()
                .filter(|span| span.name == name)
                .all(|span| duration(span).is_zero()),
            "{name}"
        );
    }
    traced.assert_contained();
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_dropped_first_ends_everything_below_it() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    let call = step.tool_call("grep", "1").expect("a tool call");
    let mut tokens = Box::pin(step.stream(model(&[(2, "a")]), is_text));
    assert_eq!(tokens.next().await, Some("a"));
    drop(turn);
    let spans = traced.ended.all();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["ttft", "decode", "execute_tool", "chat", "invoke_agent"]);
    assert_eq!(text(&spans[4], "baton.ended_by"), "drop");
    assert_eq!(
        [
            text(&spans[2], "baton.ended_by"),
            text(&spans[3], "baton.ended_by")
        ],
        ["parent", "parent"]
    );
    traced.assert_contained();

    sleep(MS).await;
    assert_eq!(
        step.tool_call("grep", "2").map(drop),
        Err(ToolCallError::StepEnded)
    );
    assert_eq!(step.stream(stream::iter(["a"]), is_text).next().await, Some("a"));
    assert!(call.remote_parent().context.is_some());
    call.fail("late");
    drop(tokens);
    assert_eq!(step.end().ttft, Some(2 * MS));
    assert_eq!(traced.ended.all().len(), spans.len());
}

#[tokio::test(start_paused = true)]
async fn a_failure_sets_the_status_and_the_error_type() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    step.tool_call("grep", "1").expect("a tool call").fail("timeout");
    step.fail("");
    turn.fail("x".repeat(TEXT_MAX + 1));
    for (name, error_type) in [
        ("execute_tool", "timeout"),
        ("chat", "_OTHER"),
        ("invoke_agent", &"x".repeat(TEXT_MAX)),
    ] {
        let span = traced.ended.named(name);
        assert_eq!(text(&span, semconv::ERROR_TYPE), error_type);
        assert!(matches!(span.status, Status::Error { .. }));
        assert!(!has(&span, "baton.ended_by"));
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_first_remote_call_ends_the_dispatch() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    let call = step.tool_call("grep", "1").expect("a tool call");
    sleep(2 * MS).await;
    let first = call.remote_parent();
    sleep(2 * MS).await;
    assert_eq!(call.remote_parent(), first);
    call.end();
    step.end();
    turn.end();
    let dispatches: Vec<_> = traced
        .ended
        .all()
        .into_iter()
        .filter(|span| span.name == "tool.dispatch")
        .collect();
    assert_eq!(dispatches.len(), 1);
    assert_eq!(duration(&dispatches[0]), 2 * MS);
}

#[tokio::test(start_paused = true)]
async fn usage_is_on_the_step_once() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let step = turn.step().expect("a step");
    step.set_usage(Usage::new(100, 1));
    step.set_usage(
        Usage::new(100, 20)
            .cache_read(80)
            .cache_write(u64::MAX)
            .reasoning(0),
    );
    step.end();
    turn.end();
    let chat = traced.ended.named("chat");
    let usage: Vec<_> = chat
        .attributes
        .iter()
        .filter(|attribute| attribute.key.as_str().contains("usage"))
        .map(|attribute| (attribute.key.as_str(), attribute.value.clone()))
        .collect();
    let expected = [
        (semconv::USAGE_INPUT_TOKENS, 100),
        (semconv::USAGE_OUTPUT_TOKENS, 20),
        (semconv::USAGE_CACHE_READ_INPUT_TOKENS, 80),
        (semconv::USAGE_CACHE_WRITE_INPUT_TOKENS, i64::MAX),
        (semconv::USAGE_REASONING_OUTPUT_TOKENS, 0),
    ];
    assert_eq!(usage, expected.map(|(name, count)| (name, Value::I64(count))));
}

#[tokio::test(start_paused = true)]
async fn without_a_provider_timings_are_the_same() {
    let turn = Thread::new("t").expect("a thread").turn().expect("a turn");
    let step = turn.step().expect("a step");
    step.stream(model(&[(5, "a"), (6, "b")]), is_text)
        .for_each(async |_| ())
        .await;
    let call = step.tool_call("grep", "1").expect("a tool call");
    assert_eq!(call.remote_parent().context, None);
    assert_eq!(turn.trace_context(), None);
    drop((call, step));
    let timings = turn.end();
    assert_eq!(
        (timings.ttft, timings.decode, timings.steps),
        (Some(5 * MS), Some(6 * MS), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn tracestate_and_baggage_of_the_parent_reach_a_remote_call() {
    let mut parent = TraceContext::new_root(true);
    parent.tracestate = parent.tracestate.put("vendor", "1").expect("a member");
    parent.baggage = Baggage::parse("user=a%20b;ttl=5,team=x");
    let turn = Traced::new()
        .thread("t")
        .turn_under(&baton_turn::context::remote(&parent))
        .expect("a turn");
    let step = turn.step().expect("a step");
    let call = step.tool_call("grep", "1").expect("a tool call");
    let remote = call.remote_parent().context.expect("a context");
    assert_eq!(remote.tracestate, parent.tracestate);
    assert_eq!(remote.baggage.value("user").as_deref(), Some("a b"));
    assert_eq!(remote.baggage.value("team").as_deref(), Some("x"));
    assert!(remote.baggage.as_str().contains("ttl=5"));
}

#[test]
fn handles_may_go_to_other_tasks() {
    fn assert_sent<T: Send + Sync + 'static>() {}
    assert_sent::<Thread>();
    assert_sent::<Turn>();
    assert_sent::<Step>();
    assert_sent::<ToolCall>();
}

#[tokio::test(start_paused = true)]
async fn an_unsampled_parent_is_forwarded() {
    let traced = Traced::new();
    let parent = TraceContext::new_root(false);
    let turn = traced
        .thread("t")
        .turn_under(&baton_turn::context::remote(&parent))
        .expect("a turn");
    let step = turn.step().expect("a step");
    let call = step.tool_call("grep", "1").expect("a tool call");
    let remote = call.remote_parent().context.expect("a context");
    assert_eq!((remote.trace_id, remote.is_sampled()), (parent.trace_id, false));
    drop((call, step, turn));
    assert!(traced.ended.all().is_empty());
}
