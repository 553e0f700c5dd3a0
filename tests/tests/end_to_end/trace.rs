//! One command is one trace: whole at a real receiver, continued from the caller, and handed on to the command.

use std::sync::Arc;

use baton_client::{Client, Command};
use baton_tests::collector::{Collector, ReceivedSpan};
use baton_trace::export::{Exporter, Settings};
use baton_trace::record::Side;
use baton_trace::recorder::Recorder;
use baton_trace::w3c::{TraceContext, Traceparent};
use baton_trace::{SpanId, TraceId};

use crate::support::spans::{At, Session, assert_echo, envelope, of_trace, traces};
use crate::support::{PATIENCE, World, run};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Prints what a command sees of its trace, a line each.
const SHOW_CONTEXT: &str = r#"printf '%s\n' "$TRACEPARENT" "$TRACESTATE" "$BAGGAGE""#;

/// The parts, and the receiver they export to.
struct Traced {
    world: World,
    collector: Collector,
}

impl Traced {
    fn new() -> Self {
        let collector = Collector::start().unwrap();
        let world = World::with_collector(Some(collector.endpoint()));
        Self { world, collector }
    }

    /// `baton exec -- COMMAND` with variables in the caller's environment.
    fn exec(&self, variables: &[(&str, &str)], command: &[&str]) -> std::process::Command {
        let mut exec = self.world.exec(command);
        exec.envs(variables.iter().copied());
        exec
    }

    /// Everything that was ever exported: the exec-server sends the rest when it ends, and commands have ended.
    fn all_spans(mut self) -> Vec<ReceivedSpan> {
        self.world.stop_exec_server();
        // Records are written in traces of their own, whenever their writer comes to it.
        let mut spans = self.collector.spans();
        spans.retain(|span| {
            let is_beside = span
                .attribute("baton.stage")
                .is_some_and(|stage| stage.starts_with("meta."));
            assert!(!is_beside || (span.span.parent_span_id.is_empty() && !span.span.links.is_empty()));
            !is_beside
        });
        spans
    }
}

/// What [`SHOW_CONTEXT`] printed: the traceparent, the tracestate, the baggage.
fn shown(printed: &str) -> (Option<Traceparent>, &str, &str) {
    let lines: Vec<_> = printed.lines().collect();
    let [traceparent, tracestate, baggage] = lines[..] else {
        panic!("{printed:?}")
    };
    (Traceparent::parse(traceparent), tracestate, baggage)
}

fn caller(tracestate: &str) -> TraceContext {
    let read = |name: &str| match name {
        "TRACEPARENT" => Some(format!("00-{TRACE}-{CALLER}-01").into()),
        "TRACESTATE" => Some(tracestate.into()),
        _ => None,
    };
    TraceContext::from_environment(read).context.unwrap()
}

#[test]
fn an_echo_over_a_cold_session_is_one_whole_trace() {
    let traced = Traced::new();
    run(traced.exec(&[], &["echo", "ok"])).assert_printed("ok\n");
    let spans = traced.all_spans();
    assert_echo(&spans, At::Collector, Session::Cold, None);
}

#[test]
fn an_echo_over_a_warm_session_is_a_whole_trace_of_its_own_without_connecting() {
    let traced = Traced::new();
    let endpoint = traced.collector.endpoint().to_owned();
    let settings =
        Settings::from_lookup(|name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| endpoint.clone()));
    let exporter = Arc::new(Exporter::new(Side::Client, settings.unwrap().unwrap()).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let key = traced.world.home.seed().client_key().unwrap();
        let recorder = Recorder::to(exporter.clone());
        let client = Client::with_recorder(traced.world.ticket.clone(), key, recorder);
        for _ in 0..3 {
            let output = client.run(Command::new("echo").arg("ok")).await.unwrap();
            assert_eq!(output.stdout, b"ok\n");
        }
        client.close().await;
    });
    exporter.shutdown(PATIENCE);
    let spans = traced.all_spans();
    let traces = traces(&spans);
    assert_eq!(traces.len(), 3);
    for trace in traces {
        let spans = of_trace(&spans, trace);
        let is_cold = spans
            .iter()
            .any(|span| span.attribute("baton.stage") == Some("connect.dial"));
        let session = if is_cold { Session::Cold } else { Session::Warm };
        assert_echo(&spans, At::Collector, session, None);
    }
    let dialled = spans.iter().filter(|span| span.span.name == "connect.dial");
    assert_eq!(dialled.count(), 1, "only the first call waits for the session");
}

#[test]
fn the_caller_s_context_is_continued_and_handed_on_from_the_process_span() {
    let traced = Traced::new();
    let variables = [
        ("TRACEPARENT", &*format!("00-{TRACE}-{CALLER}-01")),
        ("TRACESTATE", "vendor=opaque,other=1"),
        ("BAGGAGE", "user=7,tenant=blue"),
    ];
    let finished = run(traced.exec(&variables, &["sh", "-c", SHOW_CONTEXT]));
    assert_eq!(finished.code, 0, "{finished:?}");
    let spans = traced.all_spans();
    let caller = caller("vendor=opaque,other=1");
    let process = assert_echo(&spans, At::Collector, Session::Cold, Some(&caller));
    let (traceparent, tracestate, baggage) = shown(finished.text());
    let traceparent = traceparent.unwrap();
    assert_eq!(traceparent, process.traceparent().unwrap());
    assert_eq!(
        (tracestate, baggage),
        ("vendor=opaque,other=1", "user=7,tenant=blue")
    );
}

#[test]
fn a_malformed_traceparent_starts_a_new_trace_and_fails_nothing() {
    let malformed = [
        "",
        "nonsense",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    ];
    let traced = Traced::new();
    let mut seen = Vec::new();
    for traceparent in malformed {
        let variables = [("TRACEPARENT", traceparent), ("TRACESTATE", "vendor=opaque")];
        let finished = run(traced.exec(&variables, &["sh", "-c", SHOW_CONTEXT]));
        assert_eq!(finished.code, 0, "{traceparent:?}: {finished:?}");
        let (handed_on, tracestate, _) = shown(finished.text());
        seen.push(handed_on.unwrap().trace_id());
        assert_eq!(
            tracestate, "",
            "a tracestate without its traceparent means nothing"
        );
    }
    let spans = traced.all_spans();
    assert_eq!(traces(&spans).len(), malformed.len());
    for trace in seen {
        assert_ne!(trace, TraceId::from_hex(TRACE).unwrap());
        assert_echo(&of_trace(&spans, trace), At::Collector, Session::Cold, None);
    }
}

#[test]
fn baggage_without_a_trace_travels_and_leaves_no_orphan() {
    let traced = Traced::new();
    for traceparent in [None, Some("malformed")] {
        let mut exec = traced.exec(&[("BAGGAGE", "user=7")], &["sh", "-c", SHOW_CONTEXT]);
        exec.envs(traceparent.map(|traceparent| ("TRACEPARENT", traceparent)));
        let finished = run(exec);
        assert_eq!(shown(finished.text()).2, "user=7", "{finished:?}");
    }
    let spans = traced.all_spans();
    let traces = traces(&spans);
    assert_eq!(traces.len(), 2);
    for trace in traces {
        assert_echo(&of_trace(&spans, trace), At::Collector, Session::Cold, None);
    }
}

#[test]
fn a_caller_s_context_travels_where_nothing_is_recorded() {
    let world = World::new();
    let mut exec = world.exec(["sh", "-c", SHOW_CONTEXT]);
    exec.env("TRACEPARENT", format!("00-{TRACE}-{CALLER}-01"));
    exec.env("TRACESTATE", "vendor=opaque").env("BAGGAGE", "user=7");
    let finished = run(exec);
    let (handed_on, tracestate, baggage) = shown(finished.text());
    assert_eq!(handed_on.unwrap().trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_eq!((tracestate, baggage), ("vendor=opaque", "user=7"));
    let mut exec = world.exec(["sh", "-c", SHOW_CONTEXT]);
    exec.env("BAGGAGE", "user=7");
    assert_eq!(shown(run(exec).text()).2, "user=7", "baggage needs no trace");
}

#[test]
fn an_unsampled_call_exports_nothing_and_travels_all_the_same() {
    let traced = Traced::new();
    let variables = [("TRACEPARENT", &*format!("00-{TRACE}-{CALLER}-00"))];
    let finished = run(traced.exec(&variables, &["sh", "-c", SHOW_CONTEXT]));
    assert_eq!(finished.code, 0, "{finished:?}");
    let (handed_on, ..) = shown(finished.text());
    let handed_on = handed_on.unwrap();
    assert_eq!(handed_on.trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_ne!(handed_on.span_id(), SpanId::from_hex(CALLER).unwrap());
    assert!(!handed_on.flags().is_sampled());
    // One that is sampled shows that exporting works.
    run(traced.exec(&[], &["echo", "ok"])).assert_printed("ok\n");
    assert_echo(&traced.all_spans(), At::Collector, Session::Cold, None);
}

#[test]
fn a_failed_command_is_an_error_in_a_whole_trace() {
    let traced = Traced::new();
    run(traced.exec(&[], &["no-such-command"])).assert_failed(127, "command not found");
    let spans = traced.all_spans();
    assert_eq!(traces(&spans).len(), 1);
    let ids: Vec<_> = spans.iter().map(|span| &span.span.span_id).collect();
    for (nth, span) in spans.iter().enumerate() {
        let parent = &span.span.parent_span_id;
        assert!(parent.is_empty() || ids.contains(&parent), "orphan: {span:?}");
        assert!(!ids[..nth].contains(&&span.span.span_id), "twice: {span:?}");
    }
    let call = envelope(&spans);
    assert_eq!(call.attribute("rpc.response.status_code"), Some("NOT_FOUND"));
    assert!(!spans.iter().any(|span| span.span.name == "process"));
}

#[test]
fn a_dead_collector_changes_no_exit_code_and_no_output() {
    let world = World::new();
    let mut exec = world.exec(["sh", "-c", "echo ok; exit 7"]);
    exec.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let finished = run(exec);
    assert_eq!((finished.code, finished.text()), (7, "ok\n"), "{finished:?}");
    assert!(
        finished.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{finished:?}"
    );
}
