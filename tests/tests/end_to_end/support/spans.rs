//! What must hold of the spans of one call that runs `echo`: all of them there, once, in their places.

use std::collections::HashMap;

use baton_tests::collector::ReceivedSpan;
use baton_trace::stage::{self, Exporter, Kind, StageDef, span_id, transport};
use baton_trace::w3c::TraceContext;
use baton_trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// Clocks of one machine, read at different moments by processes that may be descheduled in between.
const SKEW_NS: u64 = 1_000_000_000;

const METHOD: &str = "baton.exec.v1.Exec/Run";

/// Whether the call had to wait for its session.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Session {
    Cold,
    Warm,
}

/// Where the spans were found.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum At {
    /// At a collector: whole microseconds, each part by its own clock.
    Collector,
    /// In a trace file: as measured, all by the client's clock.
    File,
}

/// The stages of an `echo` that prints to stdout alone.
fn of_echo(session: Session) -> impl Iterator<Item = &'static StageDef> {
    stage::all().filter(move |def| {
        !["process.stderr", "start.durable"].contains(&def.name)
            && (session == Session::Cold || !def.name.starts_with("connect."))
    })
}

/// The stage of a span.
pub(crate) fn stage_of(span: &ReceivedSpan) -> &str {
    span.attribute("baton.stage").unwrap()
}

/// The spans of one trace.
pub(crate) fn of_trace(spans: &[ReceivedSpan], trace: TraceId) -> Vec<ReceivedSpan> {
    let mut spans = spans.to_vec();
    spans.retain(|span| span.span.trace_id == trace.to_bytes());
    spans
}

/// The ids of all traces among the spans, in order of arrival.
pub(crate) fn traces(spans: &[ReceivedSpan]) -> Vec<TraceId> {
    let mut traces = Vec::new();
    for span in spans {
        let trace = TraceId::from_bytes(span.span.trace_id[..].try_into().unwrap());
        if !traces.contains(&trace) {
            traces.push(trace);
        }
    }
    traces
}

/// Checks that `spans` are one `echo`, whole, under `parent` if there is one. Returns the context of its `process` span.
#[track_caller]
pub(crate) fn assert_echo(
    spans: &[ReceivedSpan],
    at: At,
    session: Session,
    parent: Option<&TraceContext>,
) -> TraceContext {
    let mut found: Vec<_> = spans.iter().map(stage_of).collect();
    let mut wanted: Vec<_> = of_echo(session).map(|def| def.name).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "every stage that applies, exactly once");

    let [trace] = traces(spans)[..] else {
        panic!("one trace: {:?}", traces(spans))
    };
    let by_stage: HashMap<_, _> = spans.iter().map(|span| (stage_of(span), &span.span)).collect();
    let call = by_stage["call"];
    let envelope = SpanId::from_bytes(call.span_id[..].try_into().unwrap());
    let derived = |def: &StageDef| span_id(trace, envelope, def.id, 0);
    if let Some(parent) = parent {
        assert_eq!(trace, parent.trace_id);
        assert_eq!(call.parent_span_id, parent.span_id.to_bytes());
    } else {
        assert!(
            call.parent_span_id.is_empty(),
            "the envelope of a new trace has no parent"
        );
    }
    let tracestate = parent.map_or("", |parent| parent.tracestate.as_str());

    for received in spans {
        let (span, def) = (&received.span, stage::by_name(stage_of(received)).unwrap());
        assert_eq!(span.span_id, derived(def).to_bytes(), "{}: derived id", def.name);
        assert_eq!(span.kind, kind(def) as i32, "{}", def.name);
        assert_eq!(received.service, service(def), "{}", def.name);
        assert_eq!(span.trace_state, tracestate, "{}", def.name);
        assert_eq!(span.flags & 1, 1, "{}: sampled", def.name);
        let name = match def.kind {
            // The command's, which no test that comes here labels.
            Kind::Client => received.attribute("process.executable.name").unwrap(),
            Kind::Server => METHOD,
            Kind::Internal => def.name,
        };
        assert_eq!(span.name, name);
        assert!(span.start_time_unix_nano < span.end_time_unix_nano || at == At::File);
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{}",
            def.name
        );
        if at == At::Collector {
            let times = [span.start_time_unix_nano, span.end_time_unix_nano];
            assert!(
                times.iter().all(|time| time % 1_000 == 0),
                "{}: whole µs",
                def.name
            );
        }
        let Some(parent) = def.parent.and_then(|id| id.def()) else {
            continue;
        };
        assert_eq!(
            span.parent_span_id,
            derived(parent).to_bytes(),
            "{}: parent",
            def.name
        );
        let outer = by_stage[parent.name];
        let slack = match at == At::File || part(def) == part(parent) {
            true => 0,
            false => SKEW_NS,
        };
        assert!(
            outer.start_time_unix_nano <= span.start_time_unix_nano + slack
                && span.end_time_unix_nano <= outer.end_time_unix_nano + slack,
            "{} within {}: {span:?} {outer:?}",
            def.name,
            parent.name
        );
    }
    if at == At::Collector {
        assert_apart(spans);
    }
    let reported: Vec<_> = spans
        .iter()
        .filter(|span| is_reported(span))
        .map(stage_of)
        .collect();
    let relay = of_echo(session).filter(|def| match at {
        At::Collector => def.exporter == Exporter::Relay,
        At::File => def.exporter != Exporter::Client,
    });
    assert_eq!(
        reported.len(),
        relay.count(),
        "who reports for others says so: {reported:?}"
    );
    let process = stage::by_name("process").unwrap();
    TraceContext {
        trace_id: trace,
        span_id: derived(process),
        ..parent.cloned().unwrap_or_else(|| TraceContext::new_root(true))
    }
}

/// Siblings of one part never touch: Jaeger's critical path skips exact contact.
#[track_caller]
fn assert_apart(spans: &[ReceivedSpan]) {
    for a in spans {
        for b in spans {
            let (first, second) = (
                stage::by_name(stage_of(a)).unwrap(),
                stage::by_name(stage_of(b)).unwrap(),
            );
            if first.id != second.id && first.parent == second.parent && part(first) == part(second) {
                let touches = a.span.end_time_unix_nano == b.span.start_time_unix_nano;
                assert!(
                    !touches,
                    "{} touches {}: {:?} {:?}",
                    first.name, second.name, a.span, b.span
                );
            }
        }
    }
}

fn is_reported(span: &ReceivedSpan) -> bool {
    span.resource
        .iter()
        .any(|attribute| attribute.key == "baton.reported_by")
}

/// The process that exports a stage: the client exports the relay's.
fn part(def: &StageDef) -> &'static str {
    match def.exporter {
        Exporter::Client | Exporter::Relay => "client",
        Exporter::Server => "server",
    }
}

fn service(def: &StageDef) -> &'static str {
    match def.exporter {
        Exporter::Client => "baton-client",
        Exporter::Relay => "baton-relay",
        Exporter::Server => "baton-exec-server",
    }
}

fn kind(def: &StageDef) -> SpanKind {
    match def.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Client => SpanKind::Client,
        Kind::Server => SpanKind::Server,
    }
}

/// The envelope's span among the spans.
pub(crate) fn envelope(spans: &[ReceivedSpan]) -> &ReceivedSpan {
    let call = transport::CALL.name();
    spans.iter().find(|span| stage_of(span) == call).unwrap()
}
