//! The example `agent` as a process: what it prints, and its trace in the file and in a real OTLP receiver.

mod guide;
mod spans;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use baton_support::collector::Collector;
use opentelemetry_proto::tonic::trace::v1::Span;

use spans::{Spans, bool_of, int_of, text_of};

/// Distance between two spans that follow each other (`baton_turn::limits::SPAN_GAP_NS`).
const GAP_NS: u64 = 1_000;

/// Spans that have their turn and their step, by name or stage.
const OF_A_STEP: [&str; 8] = [
    "chat",
    "ttft",
    "decode",
    "request",
    "execute_tool",
    "tool.dispatch",
    "call",
    "process",
];

/// `cargo test` builds the examples of a package, in the folder `examples` beside that of its tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("a profile's folder");
    let path = profile.join("examples/agent");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p baton-turn --example agent` with this profile first",
        path.display()
    );
    path
}

fn run(arguments: &[&str], endpoint: Option<&str>) -> Output {
    command(arguments, endpoint).output().expect("the example runs")
}

fn command(arguments: &[&str], endpoint: Option<&str>) -> Command {
    let mut command = Command::new(example());
    command.args(arguments);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
        command.env_remove(name);
    }
    if let Some(endpoint) = endpoint {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    }
    command
}

fn trace_of(file: &Path, endpoint: Option<&str>) -> Spans {
    let output = run(&["--trace-json", file.to_str().expect("a path")], endpoint);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert_eq!(err, "");
    for said in ["notes.txt", "no content", "still warm", "It has four lines."] {
        assert!(out.contains(said), "{said} is not in\n{out}");
    }
    Spans::read(file)
}

#[test]
fn the_trace_in_the_file_has_every_span_with_the_right_parent() {
    let folder = tempfile::tempdir().expect("a folder");
    let spans = trace_of(&folder.path().join("trace.json"), None);
    assert_is_complete(&spans);
    guide::assert_tree(&spans);
}

#[test]
fn a_real_receiver_gets_the_same_trace_and_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::start().expect("a collector");
    let file = trace_of(&folder.path().join("trace.json"), Some(collector.endpoint()));
    let received = Spans::new(collector.spans().into_iter().map(|received| received.span));
    assert_is_complete(&file);
    assert_is_complete(&received);
    received.assert_no_awaited_sibling_touches_the_next();
    // A name of a stage, and of a span of a turn.
    for name in [
        "invoke_agent",
        "chat",
        "ttft",
        "decode",
        "execute_tool",
        "tool.dispatch",
    ]
    .into_iter()
    .chain(["request", "call", "rpc", "process"])
    {
        assert_eq!(file.ids(name), received.ids(name), "{name}");
    }
}

/// The turns, their steps, their tools and Baton's calls, as the script of the example has them.
fn assert_is_complete(spans: &Spans) {
    spans.assert_is_a_forest();
    let [first, second] = spans.named("invoke_agent")[..] else {
        panic!("not two turns")
    };
    assert_ne!(first.trace_id, second.trace_id);
    for (turn, number) in [(first, 1), (second, 2)] {
        assert!(turn.parent_span_id.is_empty());
        assert_eq!(int_of(turn, "baton.turn"), Some(number));
        assert_eq!(text_of(turn, "gen_ai.conversation.id"), Some("conversation-1"));
        assert_eq!(text_of(turn, "gen_ai.operation.name"), Some("invoke_agent"));
        assert_sums(spans, turn);
        // A turn's own calls belong to no step.
        let own: Vec<_> = spans.children(turn, "call");
        for span in spans.below(turn).into_iter().filter(|span| !own.contains(span)) {
            if OF_A_STEP.iter().any(|name| spans::is_named(span, name)) {
                assert_eq!(int_of(span, "baton.turn"), Some(number), "{}", span.name);
                assert!(text_of(span, "baton.step").is_some(), "{}", span.name);
            }
        }
    }
    assert!(first.links.is_empty());
    let [link] = &second.links[..] else {
        panic!("{:?}", second.links)
    };
    assert_eq!(
        (&link.trace_id, &link.span_id),
        (&first.trace_id, &first.span_id),
        "the second turn is linked to the first"
    );

    let [tools, empty, answer] = spans.children(first, "chat")[..] else {
        panic!("not three steps in turn 1")
    };
    assert_stream(spans, tools);
    assert_stream(spans, answer);
    assert_tools(
        spans,
        tools,
        &[("list_files", "call_1", "ls"), ("read_file", "call_2", "cat")],
    );
    assert_empty_stream(spans, empty);
    let [tool, answer] = spans.children(second, "chat")[..] else {
        panic!("not two steps in turn 2")
    };
    assert_stream(spans, tool);
    assert_stream(spans, answer);
    assert_tools(spans, tool, &[("count_lines", "call_3", "wc")]);
    // A method that the exec-server has not is named `grpc`, and its spans are errors.
    assert!(!spans.named("baton.warm.v1.Warm/Ping").is_empty());
    assert!(spans.named("grpc").is_empty());
    for (turn, searches) in [(first, 0), (second, 1)] {
        let calls = spans.children(turn, "call");
        assert_eq!(
            calls.len(),
            searches,
            "the first turn has the root of the start-up"
        );
        assert!(
            calls
                .iter()
                .all(|call| call.name == "baton.files.v1.Files/FindUp")
        );
    }
    for (turn, ids) in [(first, &["0", "1", "2"][..]), (second, &["0", "1"])] {
        let steps = spans.children(turn, "chat");
        let found: Vec<_> = steps
            .iter()
            .filter_map(|step| text_of(step, "baton.step"))
            .collect();
        assert_eq!(found, ids);
        for step in steps {
            assert!(text_of(step, "baton.prefix.fingerprint").is_some());
            assert!(int_of(step, "baton.requests.matched").is_some_and(|matched| matched > 0));
            let [request] = spans.children(step, "request")[..] else {
                panic!("not one request in a step")
            };
            assert_eq!(spans.all_children(request).len(), 3, "the server's parts");
        }
    }
}

/// `ttft` and `decode` of a step whose stream had content. They follow each other, so that `decode` is the stream's
/// total without `ttft`, to the nanosecond.
fn assert_stream(spans: &Spans, step: &Span) {
    let ([ttft], [decode]) = (
        &spans.children(step, "ttft")[..],
        &spans.children(step, "decode")[..],
    ) else {
        panic!("not one ttft and one decode")
    };
    assert_eq!(bool_of(ttft, "first_content"), Some(true));
    assert_eq!(text_of(decode, "baton.stream.end"), Some("ended"));
    assert_eq!(decode.start_time_unix_nano, ttft.end_time_unix_nano + GAP_NS);
    assert!(spans::double_of(step, "gen_ai.response.time_to_first_chunk").is_some());
    assert!(int_of(step, "gen_ai.usage.input_tokens").is_some_and(|tokens| tokens > 0));
}

/// A stream that ended before content has a `ttft` and no `decode`, and its step failed.
fn assert_empty_stream(spans: &Spans, step: &Span) {
    let [ttft] = spans.children(step, "ttft")[..] else {
        panic!("not one ttft")
    };
    assert_eq!(bool_of(ttft, "first_content"), Some(false));
    assert_eq!(text_of(ttft, "baton.stream.end"), Some("ended"));
    assert!(spans.children(step, "decode").is_empty());
    assert_eq!(text_of(step, "error.type"), Some("empty_stream"));
}

/// The tools of one step: its id, their order, and the calls below: tool, id of its call, program.
fn assert_tools(spans: &Spans, step: &Span, expected: &[(&str, &str, &str)]) {
    let tools = spans.children(step, "execute_tool");
    assert_eq!(tools.len(), expected.len());
    for (index, (tool, (name, id, program))) in tools.iter().zip(expected).enumerate() {
        assert_eq!(text_of(tool, "gen_ai.tool.name"), Some(*name));
        assert_eq!(text_of(tool, "gen_ai.tool.call.id"), Some(*id));
        assert_eq!(int_of(tool, "baton.tool.index"), i64::try_from(index).ok());
        assert_eq!(text_of(tool, "baton.step"), text_of(step, "baton.step"));
        assert_eq!(text_of(tool, "error.type"), None, "{name} failed");
        let ([dispatch], [call]) = (
            &spans.children(tool, "tool.dispatch")[..],
            &spans.children(tool, "call")[..],
        ) else {
            panic!("{name} has not one tool.dispatch and one call")
        };
        assert_eq!(dispatch.start_time_unix_nano, tool.start_time_unix_nano);
        assert!(dispatch.end_time_unix_nano < call.start_time_unix_nano);
        assert_eq!(call.name, *program);
        let [rpc] = spans.children(call, "rpc")[..] else {
            panic!("{name} has not one rpc")
        };
        let [_process] = spans.children(rpc, "process")[..] else {
            panic!("{name} has not one process")
        };
    }
    let overlap = |pair: &[&Span]| pair[1].start_time_unix_nano < pair[0].end_time_unix_nano;
    assert!(
        tools.windows(2).all(overlap),
        "the tools of a step run in parallel"
    );
}

/// The sums on a turn are those of its streams, and step 0's `ttft` is what the user waited for.
fn assert_sums(spans: &Spans, turn: &Span) {
    let lengths = |name: &str| -> Vec<i64> {
        let found = spans.below(turn).into_iter().filter(|span| span.name == name);
        found.map(spans::length).collect()
    };
    let (ttft, decode) = (lengths("ttft"), lengths("decode"));
    assert_eq!(int_of(turn, "baton.turn.ttft_ns"), Some(ttft.iter().sum()));
    assert_eq!(int_of(turn, "baton.turn.decode_ns"), Some(decode.iter().sum()));
    assert_eq!(
        int_of(turn, "baton.turn.user_visible_latency_ns"),
        ttft.first().copied()
    );
}

#[test]
fn an_unknown_option_is_refused_and_help_is_printed() {
    for arguments in [&["--bogus"][..], &["x"], &["--trace-json"], &["--trace-json="]] {
        let output = run(arguments, None);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains("--help"), "{err}");
    }
    let output = run(&["--help"], None);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("--trace-json FILE"));
}

#[test]
fn a_file_that_cannot_be_written_is_reported_before_anything_runs() {
    let output = run(&["--trace-json", "/dev/null/trace.json"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/dev/null/trace.json"));
}

#[test]
fn a_file_that_takes_no_bytes_is_named() {
    let output = run(&["--trace-json", "/dev/full"], None);
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("cannot write /dev/full: "), "{err}");
}

#[test]
fn spans_that_a_collector_does_not_take_are_counted_and_cost_two_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoints = [&silent, &closed].map(|listener| {
        let address = listener.local_addr().expect("its address");
        format!("http://{address}")
    });
    drop(closed);
    for endpoint in endpoints {
        let began = Instant::now();
        let output = run(&[], Some(&endpoint));
        let took = began.elapsed();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{err}");
        for of in ["turns", "calls"] {
            let said = format!(" spans of {of} were not delivered to the collector at {endpoint}");
            let line = err.lines().find(|line| line.contains(&said));
            let line = line.unwrap_or_else(|| panic!("{said}: {err}"));
            let count = line.split(' ').nth(1).and_then(|count| count.parse::<u64>().ok());
            assert!(count.is_some_and(|count| count > 10), "{line}");
        }
        // The conversation takes a part of a second. The rest is for slow machines.
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}

#[test]
fn a_reader_that_leaves_ends_the_example_as_sigpipe_does() {
    let mut agent = command(&[], None)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example runs");
    let mut first = String::new();
    let mut stdout = BufReader::new(agent.stdout.take().expect("its standard output"));
    stdout.read_line(&mut first).expect("a line");
    drop(stdout);
    let output = agent.wait_with_output().expect("it ends");
    assert!(first.starts_with("turn 1: "), "{first}");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*err), (Some(128 + 13), ""));
}
