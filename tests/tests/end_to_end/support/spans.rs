//! Assertions on the spans of one call that runs `echo`: each is present exactly once, with the right parent and
//! bounds.

use std::time::Duration;

use baton_analyze::check::{CheckOptions, Finding, check};
use baton_analyze::model::Trace;
use baton_analyze::read::Reader;
use baton_support::collector::ReceivedSpan;
use baton_trace::report::critical_path::{PathSpan, SpanKind as Kinds};
use baton_trace::stage::{self, Component, StageDef, StageKind, exec, span_id, transport};
use baton_trace::w3c::TraceContext;
use baton_trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};

/// Tolerance between the clocks of two processes, which may be descheduled between two readings.
const SKEW: Duration = Duration::from_secs(1);

const METHOD: &str = "baton.exec.v1.Exec/Run";

/// Whether the call had to open its session.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Session {
    Cold,
    Warm,
}

/// The source of the spans.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum At {
    /// A collector: whole microseconds, each component on its own clock.
    Collector,
    /// A trace file: as measured, all on the client's clock.
    File,
}

/// The stages of an `echo` that prints only to stdout.
fn of_echo(session: Session) -> impl Iterator<Item = &'static StageDef> {
    stage::all().filter(move |def| {
        !["process.stderr", "start.durable", "recover"].contains(&def.name)
            && !def.name.starts_with("family.")
            && (session == Session::Cold || !def.name.starts_with("connect."))
    })
}

/// The stage of a span.
pub(crate) fn stage_of(span: &ReceivedSpan) -> &str {
    span.attribute("baton.stage").unwrap()
}

/// Whether a stage may be absent: a frame that arrives in one piece takes no time to receive, and a stage of length 0
/// is not exported.
pub(crate) fn may_be_absent(stage: &str) -> bool {
    stage.ends_with("relay.forward")
}

/// Checks each trace with the checker of `baton trace check`.
#[track_caller]
pub(crate) fn assert_checked(spans: &[ReceivedSpan]) {
    let options = CheckOptions {
        clock_slack: SKEW,
        ..CheckOptions::default()
    };
    for trace in read_traces(spans) {
        let mut findings = check(&trace, &options);
        // A client that exports nothing forwards its caller's context.
        let has_root = trace.spans().iter().any(|span| span.parent.is_none());
        findings.retain(
            |finding| !matches!(finding, Finding::Orphan { span, .. } if span.name == "rpc" && !has_root),
        );
        let drawn: Vec<_> = of_trace(spans, trace.id()).iter().map(path_span).collect();
        assert!(
            findings.is_empty(),
            "{}: {findings:#?}\n{}",
            trace.id(),
            drawn_spans(&drawn)
        );
    }
}

/// The traces, as `baton` reads them from a file.
fn read_traces(spans: &[ReceivedSpan]) -> Vec<Trace> {
    let group = |received: &ReceivedSpan| ResourceSpans {
        resource: Some(Resource {
            attributes: received.resource.clone(),
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: vec![received.span.clone()],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: spans.iter().map(group).collect(),
    };
    read_request(&request)
}

/// What the checker of `baton trace check` finds in a trace file.
pub(crate) fn findings(file: &ExportTraceServiceRequest) -> Vec<Finding> {
    let traces = read_request(file);
    let options = CheckOptions::default();
    traces.iter().flat_map(|trace| check(trace, &options)).collect()
}

fn read_request(request: &ExportTraceServiceRequest) -> Vec<Trace> {
    let text = serde_json::to_vec(request).unwrap();
    let mut traces = Vec::new();
    let mut deliver = |trace| traces.push(trace);
    let mut reader = Reader::new(&mut deliver);
    reader.input("the collector", &text[..]).unwrap();
    let summary = reader.finish().unwrap();
    assert!(summary.is_whole(), "{summary:?}");
    traces
}

/// A span as the critical path needs it.
pub(crate) fn path_span(received: &ReceivedSpan) -> PathSpan {
    let span = &received.span;
    let id = |bytes: &[u8]| bytes.try_into().ok().map(SpanId::from_bytes);
    let remainder = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == "baton.remainder_ns");
    let remainder = remainder.and_then(|attribute| attribute.value.clone()?.value);
    PathSpan {
        id: id(&span.span_id).unwrap(),
        parent: id(&span.parent_span_id),
        kind: match span.kind() {
            SpanKind::Producer => Kinds::Producer,
            SpanKind::Consumer => Kinds::Consumer,
            _ => Kinds::Internal,
        },
        start_us: span.start_time_unix_nano / 1_000,
        end_us: span.end_time_unix_nano / 1_000,
        stage: received
            .attribute("baton.stage")
            .and_then(stage::by_name)
            .map(|def| def.id),
        remainder_ns: match remainder {
            Some(Value::IntValue(ns)) => u64::try_from(ns).ok(),
            _ => None,
        },
    }
}

/// The spans of a trace for a message, one line each, in microseconds after the first.
fn drawn_spans(spans: &[PathSpan]) -> String {
    let mut spans: Vec<_> = spans.iter().collect();
    spans.sort_by_key(|span| span.start_us);
    let first = spans.first().map_or(0, |span| span.start_us);
    let line = |span: &&PathSpan| {
        let name = span.stage.map_or("(a child's)", |stage| stage.name());
        let (start, end) = (span.start_us - first, span.end_us - first);
        format!("{start:>9} {end:>9} {name} {} under {:?}\n", span.id, span.parent)
    };
    spans.iter().map(line).collect()
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

/// Asserts that `spans` are one complete `echo`, under `parent` if there is one. Returns the context that an exporting
/// exec-server gives its process: that of the `process.wait` span.
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
    wanted.retain(|stage| !may_be_absent(stage) || found.contains(stage));
    assert_eq!(found, wanted, "every stage that applies, exactly once");

    let [trace] = traces(spans)[..] else {
        panic!("one trace: {:?}", traces(spans))
    };
    let call = &envelope(spans).span;
    let call_id = SpanId::from_bytes(call.span_id[..].try_into().unwrap());
    let derived = |def: &StageDef| span_id(trace, call_id, def.id, 0);
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
            // The name of the executable; no test that calls this sets a label.
            StageKind::Client => received.attribute("process.executable.name").unwrap(),
            StageKind::Server => METHOD,
            StageKind::Internal => def.name,
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
        if let Some(parent) = def.parent.and_then(|id| id.def()) {
            let parent_id = derived(parent).to_bytes();
            assert_eq!(span.parent_span_id, parent_id, "{}: parent", def.name);
        }
    }
    assert_checked(spans);
    for span in spans {
        let exporter = stage::by_name(stage_of(span)).unwrap().exporter;
        let is_others = match at {
            At::Collector => exporter == Component::Relay,
            At::File => exporter != Component::Client,
        };
        assert_eq!(
            is_reported(span),
            is_others,
            "baton.reported_by is set on spans of other components: {span:?}"
        );
    }
    TraceContext {
        trace_id: trace,
        span_id: span_id(trace, call_id, exec::PROCESS_WAIT, 0),
        ..parent.cloned().unwrap_or_else(|| TraceContext::new_root(true))
    }
}

fn is_reported(span: &ReceivedSpan) -> bool {
    span.resource
        .iter()
        .any(|attribute| attribute.key == "baton.reported_by")
}

fn service(def: &StageDef) -> &'static str {
    match def.exporter {
        Component::Client => "baton-client",
        Component::Relay => "baton-relay",
        Component::Server => "baton-exec-server",
    }
}

fn kind(def: &StageDef) -> SpanKind {
    match def.kind {
        StageKind::Internal => SpanKind::Internal,
        StageKind::Client => SpanKind::Client,
        StageKind::Server => SpanKind::Server,
    }
}

/// The envelope's span among the spans.
pub(crate) fn envelope(spans: &[ReceivedSpan]) -> &ReceivedSpan {
    let call = transport::CALL.name();
    spans.iter().find(|span| stage_of(span) == call).unwrap()
}
