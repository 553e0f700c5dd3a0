//! A matched request as spans of OpenTelemetry's SDK.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use baton_support::spans::Ended;
use baton_trace::record::Anchor;
use baton_turn::requests::{Correlator, ReportedPart, TimingReport};
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use proptest::prelude::*;

fn attribute(span: &SpanData, name: &str) -> Option<Value> {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.clone())
}

#[test]
fn a_request_is_a_span_with_a_child_for_each_part() {
    let ended = Ended::default();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(ended.clone())
        .build();
    let tracer = provider.tracer("test");
    let parent = Context::new().with_span(tracer.start("chat"));

    let anchor = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let mut correlator = Correlator::default();
    let ordinal = correlator
        .start(anchor.instant + Duration::from_micros(100))
        .unwrap();
    let parts = [
        ReportedPart::from_ns("total", 10_000, 60_000),
        ReportedPart::from_ns("decode", 20_000, 30_000),
        ReportedPart::from_ns("flush", 90_000, 50_000),
    ];
    let TimingReport::Matched(timing) =
        correlator.report(ordinal, &parts, anchor.instant + Duration::from_micros(200))
    else {
        panic!("matched");
    };
    timing.record(&tracer, &parent, &anchor);
    parent.span().end();

    let request = ended.named("request");
    assert_eq!(request.parent_span_id, ended.named("chat").span_context.span_id());
    let at = |us: u64| UNIX_EPOCH + Duration::from_secs(1) + Duration::from_micros(us);
    assert_eq!((request.start_time, request.end_time), (at(100), at(200)));
    assert_eq!(attribute(&request, "baton.request.ordinal"), Some("0".into()));
    assert_eq!(
        attribute(&request, "baton.request.covered_ns"),
        Some(70_000.into())
    );
    assert_eq!(attribute(&request, "baton.request.rest_ns"), Some(30_000.into()));
    assert_eq!(attribute(&request, "baton.request.dropped_parts"), None);

    let expected = [
        ("server.total", 110, 170, Some("encloses"), None),
        ("server.decode", 120, 150, Some("nested"), None),
        ("server.flush", 190, 200, None, Some(true)),
    ];
    for (name, start, end, relation, clamped) in expected {
        let part = ended.named(name);
        assert_eq!(part.parent_span_id, request.span_context.span_id());
        assert_eq!((part.start_time, part.end_time), (at(start), at(end)), "{name}");
        assert_eq!(attribute(&part, "baton.estimated"), Some(true.into()));
        assert_eq!(
            attribute(&part, "baton.request.part_relation"),
            relation.map(Value::from)
        );
        assert_eq!(
            attribute(&part, "baton.request.part_clamped"),
            clamped.map(Value::from)
        );
    }

    let counted: Vec<_> = correlator
        .counters()
        .attributes()
        .map(|attribute| format!("{}={}", attribute.key, attribute.value))
        .into();
    assert_eq!(
        counted,
        [
            "baton.requests.started=1",
            "baton.requests.matched=1",
            "baton.requests.lost=0",
            "baton.requests.late=0",
            "baton.requests.duplicate=0",
            "baton.requests.unknown=0"
        ]
    );
}

/// The exported intervals of the server's parts, in the order of the report, in nanoseconds after the request's start.
fn exported(parts: &[(u64, u64)], total_ns: u64) -> Vec<(u64, u64)> {
    let ended = Ended::default();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(ended.clone())
        .build();
    let tracer = provider.tracer("test");
    let anchor = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let names: Vec<_> = (0..parts.len()).map(|index| index.to_string()).collect();
    let parts: Vec<_> = parts
        .iter()
        .zip(&names)
        .map(|((offset, length), name)| ReportedPart::from_ns(name, *offset, *length))
        .collect();
    let mut correlator = Correlator::default();
    let ordinal = correlator.start(anchor.instant).unwrap();
    let end = anchor.instant + Duration::from_nanos(total_ns);
    let TimingReport::Matched(timing) = correlator.report(ordinal, &parts, end) else {
        panic!("matched");
    };
    timing.record(&tracer, &Context::new(), &anchor);
    let ns = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH + Duration::from_nanos(1_000_000_000));
        u64::try_from(since.unwrap().as_nanos()).unwrap()
    };
    names
        .iter()
        .map(|name| ended.named(&format!("server.{name}")))
        .map(|span| (ns(span.start_time), ns(span.end_time)))
        .collect()
}

#[test]
fn parts_that_follow_each_other_at_once_are_exported_a_microsecond_apart() {
    // Queue, prefill and decode, each at the end of the one before, below a part that encloses them.
    let parts = [(0, 9_000), (0, 2_000), (2_000, 3_000), (5_000, 4_000)];
    assert_eq!(
        exported(&parts, 20_000),
        [(0, 9_000), (0, 1_000), (2_000, 4_000), (5_000, 9_000)]
    );
    // Half a microsecond apart; and a part that is too short for the distance.
    assert_eq!(
        exported(&[(0, 2_000), (2_500, 400), (2_900, 100)], 3_000),
        [(0, 1_500), (2_500, 2_500), (2_900, 3_000)]
    );
    // Parts that overlap say so, and stay as they are.
    assert_eq!(
        exported(&[(0, 2_000), (1_999, 400)], 3_000),
        [(0, 2_000), (1_999, 2_399)]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_part_moves_and_none_touches_the_next_unless_it_is_too_short(
        parts in proptest::collection::vec((0_u64..9_000, 0_u64..9_000), 0..8)
    ) {
        let shown = exported(&parts, 30_000);
        for ((start, end), (offset, length)) in shown.iter().zip(&parts) {
            prop_assert!(start == offset && *start <= *end && *end <= offset + length);
            for (next, _) in parts.iter().filter(|(next, _)| *next >= offset + length) {
                prop_assert!(end + 1_000 <= *next || end == start, "{parts:?} {shown:?}");
            }
            let is_followed = parts
                .iter()
                .any(|(next, _)| (offset + length..offset + length + 1_000).contains(next));
            prop_assert!(is_followed || *end == offset + length, "{parts:?} {shown:?}");
        }
    }
}
