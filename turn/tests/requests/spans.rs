//! A matched request as spans of OpenTelemetry's SDK.

use std::time::{Duration, Instant, UNIX_EPOCH};

use baton_support::spans::Ended;
use baton_trace::record::Anchor;
use baton_turn::requests::{Correlator, ReportedPart, TimingReport};
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};

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
        .start(anchor.instant + Duration::from_nanos(100))
        .unwrap();
    let parts = [
        ReportedPart::from_ns("total", 10, 60),
        ReportedPart::from_ns("decode", 20, 30),
        ReportedPart::from_ns("flush", 90, 50),
    ];
    let TimingReport::Matched(timing) =
        correlator.report(ordinal, &parts, anchor.instant + Duration::from_nanos(200))
    else {
        panic!("matched");
    };
    timing.record(&tracer, &parent, &anchor);
    parent.span().end();

    let request = ended.named("request");
    assert_eq!(request.parent_span_id, ended.named("chat").span_context.span_id());
    let at = |ns: u64| UNIX_EPOCH + Duration::from_nanos(1_000_000_000 + ns);
    assert_eq!((request.start_time, request.end_time), (at(100), at(200)));
    assert_eq!(attribute(&request, "baton.request.ordinal"), Some("0".into()));
    assert_eq!(attribute(&request, "baton.request.covered_ns"), Some(70.into()));
    assert_eq!(attribute(&request, "baton.request.rest_ns"), Some(30.into()));
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
