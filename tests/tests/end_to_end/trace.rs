//! One command is one trace: complete at a real receiver, continued from the caller, and propagated to the command.

mod turns;

use std::collections::HashSet;
use std::sync::Arc;

use baton_core_client::{ChannelConfig, Client, Command};
use baton_export::{Exporter, ExporterSettings};
use baton_support::collector::{Collector, ReceivedSpan};
use baton_support::process::RunningProgram;
use baton_trace::record::Side;
use baton_trace::recorder::Recorder;
use baton_trace::report::critical_path::critical_path;
use baton_trace::stage::StageId;
use baton_trace::stage::exec::PROCESS_WAIT;
use baton_trace::w3c::{TraceContext, Traceparent};
use baton_trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustix::process::Signal;

use crate::support::spans::{
    At, Session, assert_checked, assert_echo, envelope, of_trace, path_span, stage_of, traces,
};
use crate::support::{Home, Input, Mark, PATIENCE, Running, Testbed, relay, run, signal};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Prints the trace context that a command gets: traceparent, tracestate and baggage, one line each.
const SHOW_CONTEXT: &str = r#"printf '%s\n' "$TRACEPARENT" "$TRACESTATE" "$BAGGAGE""#;

/// The components, and the collector that they export to.
struct Traced {
    testbed: Testbed,
    collector: Collector,
}

impl Traced {
    fn new() -> Self {
        let collector = Collector::start().unwrap();
        let testbed = Testbed::with_collector(Some(collector.endpoint()));
        Self { testbed, collector }
    }

    /// `baton exec -- COMMAND` with variables in the caller's environment.
    fn exec(&self, variables: &[(&str, &str)], command: &[&str]) -> std::process::Command {
        let mut exec = self.testbed.exec(command);
        exec.envs(variables.iter().copied());
        exec
    }

    /// A client's exporter.
    fn exporter(&self) -> Arc<Exporter> {
        let endpoint = self.collector.endpoint().to_owned();
        let settings = ExporterSettings::from_lookup(|name| {
            (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| endpoint.clone())
        });
        Arc::new(Exporter::new(Side::Client, settings.unwrap().unwrap()).unwrap())
    }

    /// A client of the library whose calls are exported.
    fn client(&self, exporter: &Arc<Exporter>) -> Client {
        let key = self.testbed.home.seed().client_key().unwrap();
        let config = ChannelConfig {
            recorder: Recorder::to(exporter.clone()),
            ..ChannelConfig::default()
        };
        Client::with_config(self.testbed.ticket.clone(), key, config)
    }

    /// Stops the exec-server, which then exports its remaining spans, and returns all spans. All commands must have
    /// ended.
    fn all_spans(mut self) -> Vec<ReceivedSpan> {
        self.testbed.stop_exec_server();
        self.exported()
    }

    /// All exported spans of calls. The exec-server and all commands must have ended.
    fn exported(self) -> Vec<ReceivedSpan> {
        // The metadata writer exports its spans in separate traces, at any time; they are checked and removed here.
        let mut spans = self.collector.spans();
        spans.retain(|span| {
            let is_beside = span
                .attribute("baton.stage")
                .is_some_and(|stage| stage.starts_with("metadata."));
            assert!(!is_beside || (span.span.parent_span_id.is_empty() && !span.span.links.is_empty()));
            assert_eq!(is_beside, span.service == "baton-exec-server-background");
            !is_beside
        });
        assert_checked(&spans);
        spans
    }

    /// `baton exec` that exports nothing: it forwards its caller's context.
    fn silent_exec(&self, traceparent: &str, command: &[&str]) -> std::process::Command {
        let mut exec = self.exec(&[("TRACEPARENT", traceparent)], command);
        exec.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        exec
    }
}

/// Parses the output of [`SHOW_CONTEXT`]: the traceparent, the tracestate, the baggage.
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
fn a_search_for_a_root_is_a_whole_trace_that_names_no_path() {
    let traced = Traced::new();
    let dir = tempfile::tempdir().unwrap();
    let start = dir.path().join("a-secret-name");
    std::fs::create_dir(&start).unwrap();
    std::fs::write(dir.path().join(".secret-marker"), b"").unwrap();
    let exporter = traced.exporter();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = traced.client(&exporter);
        let workspace = client.workspace();
        let found = workspace.project_root(&start, [".secret-marker"]).await.unwrap();
        assert_eq!(found.root.unwrap().depth, 1);
        let missing = start.join("missing");
        workspace
            .project_root(&missing, [".secret-marker"])
            .await
            .unwrap_err();
        client.close().await;
    });
    exporter.shutdown(PATIENCE);
    let spans = traced.all_spans();
    for trace in traces(&spans) {
        let stages: Vec<_> = of_trace(&spans, trace)
            .iter()
            .map(|span| stage_of(span).to_owned())
            .collect();
        for stage in ["call", "dispatch", "transit", "rpc"] {
            assert_eq!(
                stages.iter().filter(|name| *name == stage).count(),
                1,
                "{stage}: {stages:?}"
            );
        }
    }
    assert_eq!(traces(&spans).len(), 2);
    let rpc: Vec<_> = spans.iter().filter(|span| stage_of(span) == "rpc").collect();
    assert_eq!(rpc.len(), 2);
    for span in rpc {
        assert_eq!(span.span.name, "baton.files.v1.Files/FindUp");
        assert_eq!(span.attribute("rpc.method"), Some("baton.files.v1.Files/FindUp"));
    }
    let exported = format!("{spans:?}");
    assert!(!exported.contains("secret"), "{exported}");
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
    let exporter = traced.exporter();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = traced.client(&exporter);
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
fn the_callers_context_is_continued_and_the_process_gets_the_process_wait_span() {
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
    let waiting = assert_echo(&spans, At::Collector, Session::Cold, Some(&caller));
    let (traceparent, tracestate, baggage) = shown(finished.text());
    let traceparent = traceparent.unwrap();
    assert_eq!(traceparent, waiting.traceparent().unwrap());
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
            "the tracestate of a malformed traceparent is ignored"
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
    let testbed = Testbed::new();
    let mut exec = testbed.exec(["sh", "-c", SHOW_CONTEXT]);
    exec.env("TRACEPARENT", format!("00-{TRACE}-{CALLER}-01"));
    exec.env("TRACESTATE", "vendor=opaque").env("BAGGAGE", "user=7");
    let finished = run(exec);
    let (handed_on, tracestate, baggage) = shown(finished.text());
    assert_eq!(handed_on.unwrap().trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_eq!((tracestate, baggage), ("vendor=opaque", "user=7"));
    let mut exec = testbed.exec(["sh", "-c", SHOW_CONTEXT]);
    exec.env("BAGGAGE", "user=7");
    assert_eq!(shown(run(exec).text()).2, "user=7", "baggage needs no trace");
}

#[test]
fn calls_under_one_span_of_a_caller_that_records_nothing_share_no_ids() {
    let traced = Traced::new();
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let parents: HashSet<_> = (0..3)
        .map(|_| {
            let finished = run(traced.silent_exec(&traceparent, &["sh", "-c", SHOW_CONTEXT]));
            shown(finished.text()).0.unwrap().span_id()
        })
        .collect();
    assert_eq!(parents.len(), 3, "each child has a parent of its own");
    let spans = traced.all_spans();
    let ids: HashSet<_> = spans.iter().map(|span| &span.span.span_id).collect();
    assert_eq!(ids.len(), spans.len());
    let rpcs: Vec<_> = spans.iter().filter(|span| stage_of(span) == "rpc").collect();
    assert_eq!(rpcs.len(), 3);
    for rpc in rpcs {
        let caller = SpanId::from_hex(CALLER).unwrap().to_bytes();
        assert_eq!(rpc.span.parent_span_id, caller, "{rpc:?}");
    }
}

/// The longest section of a stage on the critical path of a trace, in milliseconds. `None`: of a span that is no stage.
fn on_path_ms(spans: &[ReceivedSpan], stage: Option<StageId>) -> u64 {
    let spans: Vec<_> = spans.iter().map(path_span).collect();
    let sections = critical_path(&spans);
    let of_stage = sections
        .iter()
        .filter(|section| spans[section.span].stage == stage);
    of_stage
        .map(|section| section.duration_us() / 1_000)
        .max()
        .unwrap_or(0)
}

#[test]
fn a_command_is_on_the_critical_path_of_its_trace() {
    let traced = Traced::new();
    for nth in 0..20 {
        let sleep = ["sleep", "0.2"];
        let finished = match nth % 2 {
            0 => run(traced.exec(&[], &sleep)),
            _ => run(traced.silent_exec(
                &format!("00-{TRACE}-{CALLER}-01").replace("4736", &format!("47{nth:02}")),
                &sleep,
            )),
        };
        finished.assert_printed("");
    }
    let spans = traced.all_spans();
    let traces = traces(&spans);
    assert_eq!(traces.len(), 20);
    for trace in traces {
        let ms = on_path_ms(&of_trace(&spans, trace), Some(PROCESS_WAIT));
        assert!(ms >= 190, "{trace}: {ms} ms of the command are on the path");
    }
}

#[test]
fn the_critical_path_goes_through_commands_of_any_kind() {
    let traced = Traced::new();
    let commands: [&[&str]; 6] = [
        &["true"],
        &["echo", "ok"],
        &["sh", "-c", "echo early; sleep 0.05; echo late >&2; sleep 0.05"],
        &["sh", "-c", "exec >&- 2>&-; sleep 0.05"],
        &["sh", "-c", "(sleep 0.05; echo orphan) & echo first"],
        &["head", "-c", "3000000", "/dev/zero"],
    ];
    for command in commands {
        assert_eq!(run(traced.exec(&[], command)).code, 0, "{command:?}");
        let finished = run(traced.silent_exec(&format!("00-{TRACE}-{CALLER}-01"), command));
        assert_eq!(finished.code, 0, "{command:?}");
    }
    // `all_spans` checks the critical path of each trace.
    assert_eq!(traces(&traced.all_spans()).len(), commands.len() + 1);
}

/// Prints the command's parent, and the start and end of a span that the test adds for it.
const SPAN_OF_ITS_OWN: &str = r#"echo "$TRACEPARENT"; date +%s%N; sleep 0.1; date +%s%N"#;

#[test]
fn the_spans_that_a_command_makes_itself_are_on_the_critical_path() {
    let traced = Traced::new();
    let mut finished = vec![run(traced.exec(&[], &["sh", "-c", SPAN_OF_ITS_OWN]))];
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    finished.push(run(
        traced.silent_exec(&traceparent, &["sh", "-c", SPAN_OF_ITS_OWN])
    ));
    let spans = traced.all_spans();
    for finished in finished {
        let mut lines = finished.text().lines();
        let parent = Traceparent::parse(lines.next().unwrap()).unwrap();
        let mut trace = of_trace(&spans, parent.trace_id());
        let mut own = trace[0].clone();
        own.span.attributes.clear();
        own.span.span_id = vec![7; 8];
        own.span.parent_span_id = parent.span_id().to_bytes().to_vec();
        own.span.start_time_unix_nano = lines.next().unwrap().parse().unwrap();
        own.span.end_time_unix_nano = lines.next().unwrap().parse().unwrap();
        trace.push(own);
        assert_checked(&trace);
        assert!(on_path_ms(&trace, None) >= 95, "{finished:?}");
    }
}

#[test]
fn a_server_that_restarts_or_clamps_traces_exports_whole_ones_with_a_root() {
    for (trust, count) in [("restart", 2), ("clamp", 1)] {
        let traced = Traced::new();
        traced.testbed.home.allow(trust);
        run(traced.exec(&[], &["sleep", "0.05"])).assert_printed("");
        let spans = traced.all_spans();
        let traces = traces(&spans);
        assert_eq!(traces.len(), count, "{trust}");
        let mut roots: Vec<_> = spans
            .iter()
            .filter(|span| span.span.parent_span_id.is_empty())
            .map(stage_of)
            .collect();
        roots.sort_unstable();
        assert_eq!(
            roots,
            if count == 2 {
                &["call", "rpc"][..]
            } else {
                &["call"]
            },
            "{trust}"
        );
        let waited = traces
            .iter()
            .map(|trace| on_path_ms(&of_trace(&spans, *trace), Some(PROCESS_WAIT)));
        assert!(waited.max() >= Some(45), "{trust}");
    }
}

#[test]
fn an_unsampled_call_exports_nothing_and_its_context_is_propagated() {
    let traced = Traced::new();
    let variables = [("TRACEPARENT", &*format!("00-{TRACE}-{CALLER}-00"))];
    let finished = run(traced.exec(&variables, &["sh", "-c", SHOW_CONTEXT]));
    assert_eq!(finished.code, 0, "{finished:?}");
    let (handed_on, ..) = shown(finished.text());
    let handed_on = handed_on.unwrap();
    assert_eq!(handed_on.trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_ne!(handed_on.span_id(), SpanId::from_hex(CALLER).unwrap());
    assert!(!handed_on.flags().is_sampled());
    // A sampled call is exported, which proves that the export works.
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
    assert_eq!(call.span.name, "no-such-command");
    assert_eq!(call.attribute("baton.outcome"), Some("failed_to_start"));
    // `error.type` of a failed call is its status, not the outcome of its command.
    assert_eq!(call.attribute("error.type"), Some("NOT_FOUND"));
    assert!(!spans.iter().any(|span| span.span.name == "process"));
}

/// Whether the status of a span is an error, and its `error.type`.
fn error(span: &ReceivedSpan) -> (bool, Option<&str>) {
    let status = span.span.status.clone().unwrap_or_default();
    (status.code() == StatusCode::Error, span.attribute("error.type"))
}

#[test]
fn a_command_s_outcome_is_on_its_call_and_on_its_process_and_never_on_the_rpc() {
    let traced = Traced::new();
    let options = ["--thread", "nightly", "--label", "build"];
    let mut ids = Vec::new();
    for (script, code) in [
        ("exit 0 # a-secret-argument", 0),
        ("exit 3", 3),
        ("kill -TERM $$", 143),
    ] {
        let mut exec = traced.testbed.exec_with(&options, ["/bin/sh", "-c", script]);
        exec.env("A_SECRET_VARIABLE", "a-secret-value");
        assert_eq!(run(exec).code, code);
        let mut history = traced.testbed.home.baton();
        history.args(["history", "--json", "-n1", &traced.testbed.ticket.to_string()]);
        let history = run(history);
        let record: serde_json::Value = serde_json::from_str(history.text()).unwrap();
        ids.push((
            record["id"].as_str().unwrap().to_owned(),
            record["outcome"].clone(),
        ));
    }
    let spans = traced.all_spans();
    let by_trace: Vec<_> = traces(&spans)
        .into_iter()
        .map(|trace| of_trace(&spans, trace))
        .collect();
    for (nth, (code, outcome, class)) in [
        (0, "exited", None),
        (3, "exited", Some("nonzero_exit")),
        (143, "signaled", Some("signaled")),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, on_record) = &ids[nth];
        assert_eq!(on_record, outcome, "history has the same outcome as the span");
        let about = |span: &&ReceivedSpan| span.attribute("baton.process.id") == Some(id);
        let spans = by_trace
            .iter()
            .find(|spans| spans.iter().any(|span| about(&span)))
            .unwrap();
        let [call, process, rpc] = ["call", "process", "rpc"]
            .map(|stage| spans.iter().find(|span| stage_of(span) == stage).unwrap());
        assert_eq!((&*call.span.name, &*process.span.name), ("build", "process"));
        for span in [call, process] {
            assert_eq!(span.attribute("baton.process.id"), Some(&**id));
            assert_eq!(span.attribute("process.executable.name"), Some("sh"));
            assert_eq!(span.attribute("baton.thread"), Some("nightly"));
            assert_eq!(span.attribute("baton.outcome"), Some(outcome));
            assert_eq!(span.integer("process.exit.code"), Some(code));
            assert!(span.integer("process.pid") > Some(1));
            assert_eq!(span.attribute("baton.signal"), (code > 128).then_some("TERM"));
            assert_eq!(error(span), (class.is_some(), class));
        }
        assert_eq!(call.integer("process.pid"), process.integer("process.pid"));
        assert_eq!(process.attribute("baton.client"), Some("tester"));
        assert_eq!(call.attribute("server.address"), Some("127.0.0.1"));
        assert!(call.integer("server.port").is_some());
        assert_eq!(call.attribute("rpc.response.status_code"), Some("OK"));
        assert_eq!(error(rpc), (false, None));
        assert_eq!(rpc.attribute("baton.outcome"), None);
    }
    let exported = format!("{spans:?}");
    assert!(!exported.contains("a-secret") && !exported.contains("exit 3"));
}

/// Prints the `OTEL_` variables that a command gets, sorted.
const SHOW_OTEL: &str = "env | grep ^OTEL_ | sort";

#[test]
fn a_command_exports_to_the_exec_server_s_collector_from_its_host_and_never_in_its_name() {
    let collector = Collector::start().unwrap();
    let home = Home::with_collector(Some(collector.endpoint()));
    home.allow("continue");
    let (_relay, address) = relay(&home, "127.0.0.1:0", &[]);
    let mut exec_server = home.baton_exec_server(&format!("http://{address}"));
    exec_server
        .env("OTEL_SERVICE_NAME", "builder")
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=builder,team=a")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=a-secret-token");
    let mut exec_server = RunningProgram::start("exec-server", exec_server).unwrap();
    let ticket = exec_server.line_after("ticket: ", PATIENCE).unwrap();
    let options = ["--env", "OTEL_RESOURCE_ATTRIBUTES=job=7"];
    let [bare, with_own] = [&[][..], &options].map(|options| {
        let exec = home.exec(&ticket, options, ["sh", "-c", SHOW_OTEL]);
        let finished = run(exec);
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.text().to_owned()
    });
    signal(&exec_server, Signal::TERM);
    assert!(exec_server.wait(PATIENCE).unwrap().success());
    let spans = collector.spans();
    assert_checked(&spans);
    let of_server = spans.iter().find(|span| span.service == "builder").unwrap();
    let host = of_server.of_resource("host.id").unwrap();
    let expected = |attributes: &str| {
        format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT={}\nOTEL_EXPORTER_OTLP_PROTOCOL=grpc\nOTEL_RESOURCE_ATTRIBUTES={attributes},host.id={host}\n",
            collector.endpoint()
        )
    };
    assert_eq!((bare, with_own), (expected("team=a"), expected("job=7")));
}

#[test]
fn the_parts_of_a_run_are_instances_of_their_own_and_a_service_name_is_the_client_s() {
    let collector = Collector::start().unwrap();
    let home = Home::with_collector(Some(collector.endpoint()));
    let mut baton = home.baton();
    baton.args(["run", "--quiet", "--", "echo", "ok"]);
    baton.env("OTEL_SERVICE_NAME", "mine");
    baton.env("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=7,team=a");
    run(baton).assert_printed("ok\n");
    let spans = collector.spans();
    let mut components: Vec<_> = spans
        .iter()
        .map(|span| (&*span.service, span.of_resource("service.instance.id").unwrap()))
        .collect();
    components.sort_unstable();
    components.dedup();
    let services: Vec<_> = components.iter().map(|(service, _)| *service).collect();
    assert_eq!(services, ["baton-exec-server", "baton-relay", "mine"]);
    let mut instances: Vec<_> = components.iter().map(|(_, instance)| *instance).collect();
    instances.sort_unstable();
    instances.dedup();
    assert_eq!(instances.len(), 3, "{components:?}");
    // Resource attributes of the process apply to its server too.
    let server = spans
        .iter()
        .find(|span| span.service == "baton-exec-server")
        .unwrap();
    assert_eq!(server.of_resource("team"), Some("a"));
}

#[test]
fn a_restarted_trace_has_a_root_that_links_to_the_callers_and_its_id_is_not_shown_as_zeros() {
    let traced = Traced::new();
    traced.testbed.home.allow("restart");
    run(traced.exec(&[], &["echo", "ok"])).assert_printed("ok\n");
    let ticket = traced.testbed.ticket.to_string();
    let baton = |arguments: &[&str]| {
        let mut baton = traced.testbed.home.baton();
        baton.args(arguments).arg(&ticket);
        let finished = run(baton);
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.text().to_owned()
    };
    let record: serde_json::Value = serde_json::from_str(&baton(&["history", "--json"])).unwrap();
    let shown = baton(&["show", record["id"].as_str().unwrap()]);
    assert!(!shown.contains("0000000000000000"), "{shown}");
    assert!(shown.contains(" process.wait "), "{shown}");
    let spans = traced.all_spans();
    let [client, server] = traces(&spans)[..] else {
        panic!("two traces: {:?}", traces(&spans))
    };
    let of_server = of_trace(&spans, server);
    let roots: Vec<_> = of_server
        .iter()
        .filter(|span| span.span.parent_span_id.is_empty())
        .collect();
    let [root] = roots[..] else {
        panic!("{of_server:?}")
    };
    assert_eq!(stage_of(root), "rpc");
    let call = envelope(&of_trace(&spans, client)).span.clone();
    let link = &root.span.links[0];
    assert_eq!((&link.trace_id, &link.span_id), (&call.trace_id, &call.span_id));
    for span in &of_server {
        let parent = &span.span.parent_span_id;
        let is_there = of_server.iter().any(|other| other.span.span_id == *parent);
        assert!(parent.is_empty() || is_there, "orphan: {span:?}");
    }
}

#[test]
fn what_an_exec_server_writes_beside_calls_is_a_service_of_its_own_and_one_write_in_a_hundred() {
    let mut traced = Traced::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let exporter = traced.exporter();
    runtime.block_on(async {
        let client = traced.client(&exporter);
        for _ in 0..100 {
            client.run(Command::new("true")).await.unwrap();
            client.records().flush(0).await.unwrap();
        }
        client.close().await;
    });
    exporter.shutdown(PATIENCE);
    traced.testbed.stop_exec_server();
    let mut spans = traced.collector.spans();
    spans.retain(|span| span.service == "baton-exec-server-background");
    let count = |stage| spans.iter().filter(|span| stage_of(span) == stage).count();
    let (persist, flush) = (count("metadata.persist"), count("metadata.flush"));
    assert_eq!((persist + flush, flush), (spans.len(), 100));
    // A command whose record is written before its end is in two writes.
    assert!((1..=2).contains(&persist), "{persist}");
}

#[test]
fn a_timed_out_command_has_that_outcome_at_client_and_exec_server() {
    let traced = Traced::new();
    let exec = traced.testbed.exec_with(&["--timeout", "1s"], ["sleep", "600"]);
    assert_eq!(run(exec).code, 124);
    let spans = traced.all_spans();
    for (stage, class) in [("call", "DEADLINE_EXCEEDED"), ("process", "timed_out")] {
        let span = spans.iter().find(|span| stage_of(span) == stage).unwrap();
        assert_eq!(span.attribute("baton.outcome"), Some("timed_out"), "{stage}");
        assert_eq!(error(span), (true, Some(class)), "{stage}");
    }
}

/// Stops an exec-server that runs two commands, and asserts the outcomes in the spans of client and exec-server.
fn assert_killed_by_shutdown(is_hurried: bool) {
    let mut traced = Traced::new();
    let mark = Mark::new();
    let options = ["--env", mark.variable()];
    let catches = "trap 'exit 3' TERM; sleep 600 & wait";
    let commands = [&["sleep", "600"][..], &["sh", "-c", catches]];
    let running = commands.map(|command| {
        let exec = traced.testbed.exec_with(&options, command.iter().copied());
        Running::start(exec, Input::Open)
    });
    mark.await_processes(3);
    if is_hurried {
        signal(&traced.testbed.exec_server, Signal::TERM);
        traced
            .testbed
            .await_exec_server_says("the same signal again ends them at once");
    }
    traced.testbed.stop_exec_server();
    let finished = running.map(Running::finish);
    let spans = traced.exported();
    for (program, code) in [("sleep", 143), ("sh", 3)] {
        for stage in ["call", "process"] {
            let about = |span: &&ReceivedSpan| {
                stage_of(span) == stage && span.attribute("process.executable.name") == Some(program)
            };
            let span = spans.iter().find(about).unwrap();
            let outcome = span.attribute("baton.outcome");
            assert_eq!(
                outcome,
                Some("killed"),
                "{stage} of {program}, {is_hurried}: {finished:?}"
            );
            // Unless hurried, the commands get time to end, and the session ends before they exit.
            if is_hurried || stage == "process" {
                assert_eq!(
                    span.integer("process.exit.code"),
                    Some(code),
                    "{stage} of {program}"
                );
                assert_eq!(error(span), (true, Some("killed")), "{stage} of {program}");
            } else {
                assert_eq!(error(span), (true, Some("UNAVAILABLE")), "{stage} of {program}");
            }
        }
    }
}

#[test]
fn commands_that_outlast_a_shutdown_are_killed_at_both_ends() {
    assert_killed_by_shutdown(false);
}

#[test]
fn commands_that_a_hurried_shutdown_ends_are_killed_at_both_ends() {
    assert_killed_by_shutdown(true);
}

#[test]
fn a_dead_collector_changes_no_exit_code_and_no_output() {
    let testbed = Testbed::new();
    let mut exec = testbed.exec(["sh", "-c", "echo ok; exit 7"]);
    exec.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let finished = run(exec);
    assert_eq!((finished.code, finished.text()), (7, "ok\n"), "{finished:?}");
    assert!(
        finished.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{finished:?}"
    );
}
