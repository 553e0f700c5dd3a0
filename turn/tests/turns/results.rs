//! Results of the prefix guard and of the timing reports on a step.

use std::time::Duration;

use baton_turn::StepOptions;
use baton_turn::prefix::{Declaration, PrefixGuard, Section, Stability};
use baton_turn::requests::{Correlator, ReportedPart, Requests, TimingReport};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use tokio::time::advance;

use crate::support::{MS, Traced, duration, has, int, text};

#[tokio::test(start_paused = true)]
async fn a_matched_request_is_a_span_inside_its_step() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    // A step that follows another one is moved behind it, and its request with it.
    turn.step().expect("a step").end();
    let step = turn.step().expect("a step");
    let requests = Requests::new();
    let ordinal = requests.start().expect("an ordinal");
    advance(30 * MS).await;
    requests.end(ordinal).expect("stamped once");
    let part = |name, from_ms, ms| ReportedPart {
        name,
        offset: from_ms * MS,
        duration: ms * MS,
    };
    let parts = [part("prefill", 0, 10), part("decode", 5, 25)];
    let TimingReport::Matched(timing) = requests.report(ordinal, &parts) else {
        panic!("the report is in time");
    };
    step.record_request(&timing);
    for _ in 0..2 {
        step.set_request_counters(&requests.counters());
    }
    step.end();
    turn.end();

    traced.assert_contained();
    let chat = traced
        .ended
        .all()
        .into_iter()
        .filter(|span| span.name == "chat")
        .nth(1);
    let chat = chat.expect("two steps");
    let is_matched = |attribute: &&KeyValue| attribute.key.as_str() == "baton.requests.matched";
    let matched: Vec<_> = chat.attributes.iter().filter(is_matched).collect();
    assert_eq!(matched, [&KeyValue::new("baton.requests.matched", 1)]);
    let request = traced.ended.named("request");
    assert_eq!(request.parent_span_id, chat.span_context.span_id());
    assert_eq!(duration(&request), 30 * MS);
    assert_eq!(int(&request, "baton.request.rest_ns"), 0);
    for (name, length) in [("server.prefill", 10 * MS), ("server.decode", 25 * MS)] {
        let span = traced.ended.named(name);
        assert_eq!(span.parent_span_id, request.span_context.span_id());
        assert_eq!(duration(&span), length);
        assert_eq!(text(&span, "baton.request.part_relation"), "overlaps");
        assert_eq!(
            (int(&span, "baton.turn"), text(&span, "baton.step")),
            (1, "1".to_owned())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_below_a_context_has_the_turn_and_step_of_that_context() {
    let traced = Traced::new();
    let thread = traced.thread("t");
    thread.turn().expect("a turn").end();
    let turn = thread.turn().expect("a turn");
    let step = turn.step_with(StepOptions::default().id("plan")).expect("a step");
    let call = step.tool_call("agent", "1").expect("a tool call");
    // An agent that the tool runs: its own turn, in another thread, has no step yet.
    let inner = traced.thread("inner").turn_under(call.context()).expect("a turn");
    for (parent, expected) in [
        (step.context(), Some((2, "plan".to_owned()))),
        (call.context(), Some((2, "plan".to_owned()))),
        (inner.context(), None),
        (&Context::new(), None),
    ] {
        let mut correlator = Correlator::default();
        let ordinal = correlator.start(step.anchor().instant).expect("an ordinal");
        let part = ReportedPart::from_ns("decode", 0, 1);
        let end = step.anchor().instant + MS;
        let TimingReport::Matched(timing) = correlator.report(ordinal, &[part], end) else {
            panic!("the report is in time");
        };
        let before = traced.ended.all().len();
        timing.record(&traced.provider.tracer("test"), parent, &step.anchor());
        let recorded = traced.ended.all().split_off(before);
        assert_eq!(recorded.len(), 2, "request and server.decode");
        for span in recorded {
            let ids = has(&span, "baton.turn").then(|| (int(&span, "baton.turn"), text(&span, "baton.step")));
            assert_eq!(ids, expected, "{span:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_prefix_of_a_request_is_on_its_step() {
    let traced = Traced::new();
    let turn = traced.thread("t").turn().expect("a turn");
    let declared = [("system", Stability::Stable), ("date", Stability::Volatile)];
    let mut guard = PrefixGuard::new(Declaration::new(declared).expect("a declaration"));
    for system in ["Be terse.", "Be terse. It is Monday."] {
        let step = turn.step().expect("a step");
        advance(Duration::from_secs(1)).await;
        let request = [Section::text("system", system), Section::text("date", "Monday")];
        step.set_prefix(&guard.check(&request).expect("within bounds"));
        step.end();
    }
    turn.end();

    let steps: Vec<_> = traced
        .ended
        .all()
        .into_iter()
        .filter(|span| span.name == "chat")
        .collect();
    let reasons = steps
        .iter()
        .map(|step| text(step, "baton.prefix.reason"))
        .collect::<Vec<_>>();
    assert_eq!(reasons, ["first_request", "content_changed"]);
    assert!(!has(&steps[0], "baton.prefix.drift"));
    assert_eq!(text(&steps[1], "baton.prefix.drift"), "system");
    assert_ne!(
        text(&steps[0], "baton.prefix.fingerprint"),
        text(&steps[1], "baton.prefix.fingerprint")
    );
    assert!(!format!("{steps:?}").contains("Monday"));
}
