use std::io::Write as _;

use baton_trace::stage::{exec, transport};
use baton_trace::{SpanId, TraceId};
use proptest::prelude::*;

use super::*;
use crate::model::{SpanKind, Value};
use crate::test_traces::{Made, call, line, other, read, stage};

fn ids(traces: &[Trace]) -> Vec<(u128, usize)> {
    let id = |trace: &Trace| u128::from_be_bytes(trace.id().to_bytes());
    traces
        .iter()
        .map(|trace| (id(trace), trace.spans().len()))
        .collect()
}

fn calls_of(traces: std::ops::Range<u128>) -> Vec<Vec<Made>> {
    let of = |trace| call().into_iter().map(|span| span.in_trace(trace)).collect();
    traces.map(of).collect()
}

#[test]
fn a_line_of_otlp_json_is_read_whole() {
    let (traces, summary) = read(&[&line(&call())]);
    assert!(summary.is_whole());
    assert_eq!((summary.spans, summary.traces), (21, 1));
    let [trace] = &traces[..] else {
        panic!("{traces:?}")
    };
    let find = |stage| {
        trace
            .spans()
            .iter()
            .find(|span| span.stage == Some(stage))
            .unwrap()
    };
    let (call, wait) = (find(transport::CALL), find(exec::PROCESS_WAIT));
    assert_eq!(
        (call.kind, call.parent, call.duration_ns()),
        (SpanKind::Client, None, 1_000_000)
    );
    assert_eq!(trace.integer(call, "baton.remainder_ns"), Some(10_000));
    assert_eq!(trace.resource_text(call, "service.name"), Some("baton-client"));
    assert_eq!(trace.resource_text(wait, "host.id"), Some("host-b"));
    assert_eq!(wait.parent, Some(SpanId::from(11)));
}

#[test]
fn values_of_every_type_are_read() {
    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0000000000000000000000000000002a",
        "spanId":"0000000000000007","name":"a\nb","startTimeUnixNano":1,"endTimeUnixNano":"2","kind":"SPAN_KIND_CLIENT",
        "status":{"code":"STATUS_CODE_ERROR"},"attributes":[
        {"key":"i","value":{"intValue":-1}},{"key":"d","value":{"doubleValue":0.5}},{"key":"b","value":{"boolValue":true}},
        {"key":"a","value":{"arrayValue":{"values":[{"stringValue":"x"},{"intValue":"2"}]}}},
        {"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}},{"key":"e"}]}]}]}]}"#
        .replace('\n', " ");
    let (traces, summary) = read(&[&text]);
    assert!(summary.is_whole(), "{summary:?}");
    let (trace, span) = (&traces[0], &traces[0].spans()[0]);
    assert_eq!(
        (trace.name(span), span.kind, span.is_error),
        ("a\nb", SpanKind::Client, true)
    );
    assert_eq!((span.start_ns, span.end_ns), (1, 2));
    for (key, value) in [
        ("i", Value::Int(-1)),
        ("d", Value::Double(0.5)),
        ("b", Value::Bool(true)),
        ("a", Value::Other("x, 2")),
        ("m", Value::Other("k=v")),
        ("e", Value::Other("")),
    ] {
        assert_eq!(trace.attribute(span, key), Some(value), "{key}");
    }
}

#[test]
fn a_document_of_several_lines_is_one_document() {
    let value: serde_json::Value = serde_json::from_str(&line(&call())).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let (traces, summary) = read(&[&format!("{pretty}\n{pretty}"), &line(&calls_of(2..3)[0])]);
    assert!(summary.is_whole(), "{summary:?}");
    assert_eq!(ids(&traces), [(1, 21), (2, 21)]);
    assert_eq!((summary.duplicate_spans, summary.spans), (21, 63));
}

#[test]
fn a_document_longer_than_a_line_may_be_is_streamed() {
    let lines = calls_of(1..4);
    let padding = " ".repeat(LINE_BYTES_TEST);
    let text = line(&lines.concat()).replacen("\"scopeSpans\"", &format!("{padding}\"scopeSpans\""), 1);
    let (traces, summary) = read(&[&format!("{text}{}", line(&calls_of(4..5)[0]))]);
    assert!(summary.is_whole(), "{summary:?}");
    assert_eq!(ids(&traces), [(1, 21), (2, 21), (3, 21), (4, 21)]);
    assert_eq!(summary.duplicate_spans, 0);
}

const LINE_BYTES_TEST: usize = crate::limits::LINE_BYTES as usize;

#[test]
fn single_groups_arrays_and_answers_of_jaegers_api_are_documents() {
    let whole: serde_json::Value = serde_json::from_str(&line(&call())).unwrap();
    let groups = whole["resourceSpans"].as_array().unwrap();
    let group_lines: String = groups.iter().map(|group| format!("{group}\n")).collect();
    for text in [
        group_lines,
        format!("[{whole}]"),
        serde_json::json!({ "result": whole }).to_string(),
        format!("{whole}{whole}"),
    ] {
        let (traces, summary) = read(&[&text]);
        assert!(summary.is_whole(), "{summary:?}");
        assert_eq!(ids(&traces), [(1, 21)]);
    }
}

#[test]
fn a_resource_may_follow_its_spans() {
    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"2a","spanId":"7"},{"traceId":"2b","spanId":"8"}]}],
        "resource":{"attributes":[{"key":"host.id","value":{"stringValue":"h"}}]}}]}"#;
    let (traces, _) = read(&[text]);
    for trace in &traces {
        assert_eq!(trace.resource_text(&trace.spans()[0], "host.id"), Some("h"));
    }
    assert_eq!(ids(&traces), [(0x2a, 1), (0x2b, 1)]);
}

const JAEGER: &str = r#"{"data":[{"traceID":"2a","spans":[
    {"traceID":"2a","spanID":"7","operationName":"make","references":[],"startTime":1000,"duration":50,
     "tags":[{"key":"span.kind","type":"string","value":"client"},{"key":"baton.stage","type":"string","value":"call"},
             {"key":"baton.remainder_ns","type":"int64","value":5},{"key":"error","type":"bool","value":true}],"processID":"p1"},
    {"traceID":"2a","spanID":"8","operationName":"rpc","references":[{"refType":"CHILD_OF","traceID":"2a","spanID":"7"}],
     "startTime":1010,"duration":20,"tags":[{"key":"baton.stage","type":"string","value":"rpc"}],"processID":"p2","warnings":null}],
    "processes":{"p1":{"serviceName":"baton-client","tags":[{"key":"host.id","type":"string","value":"a"}]},
                 "p2":{"serviceName":"baton-exec-server","tags":[]}},"warnings":null}],"total":0,"errors":null}"#;

#[test]
fn a_download_of_jaegers_is_read() {
    let (traces, summary) = read(&[JAEGER]);
    assert!(summary.is_whole(), "{summary:?}");
    let trace = &traces[0];
    let [call, rpc] = trace.spans() else { panic!() };
    assert_eq!((call.start_ns, call.end_ns), (1_000_000, 1_050_000));
    assert_eq!((call.kind, call.is_error), (SpanKind::Client, true));
    assert_eq!(
        (call.stage, rpc.stage),
        (Some(transport::CALL), Some(transport::RPC))
    );
    assert_eq!(rpc.parent, Some(SpanId::from(7)));
    assert_eq!(trace.integer(call, "baton.remainder_ns"), Some(5));
    assert_eq!(trace.resource_text(call, "host.id"), Some("a"));
    assert_eq!(
        trace.resource_text(rpc, "service.name"),
        Some("baton-exec-server")
    );
}

#[test]
fn ids_in_base64_are_read() {
    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"AAAAAAAAAAAAAAAAAAAAKg==","spanId":"AAAAAAAAAAc="}]}]}]}"#;
    let (traces, _) = read(&[text]);
    assert_eq!(traces[0].id(), TraceId::from(42));
    assert_eq!(traces[0].spans()[0].id, SpanId::from(7));
}

#[test]
fn spans_of_one_trace_come_together_from_several_files() {
    let spans = call();
    let (client, server): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| span.part != "server");
    let others = calls_of(2..4);
    let first = format!("{}{}", line(&client), line(&others[0]));
    let (traces, summary) = read(&[&first, &line(&others[1]), &line(&server)]);
    assert_eq!(ids(&traces), [(1, 21), (2, 21), (3, 21)]);
    assert_eq!(summary.duplicate_spans, 0);
    let spans: Vec<_> = summary.files.iter().map(|file| file.spans).collect();
    let halves = (client.len() as u64, server.len() as u64);
    assert_eq!(spans, [halves.0 + 21, 21, halves.1]);
}

#[test]
fn a_file_given_twice_counts_once() {
    let text = line(&call());
    let (traces, summary) = read(&[&text, &text]);
    assert_eq!(ids(&traces), [(1, 21)]);
    assert_eq!(summary.duplicate_spans, 21);
}

/// The root says how many stages there are.
fn counted(trace: u128) -> Vec<Made> {
    let mut spans = call();
    spans[0] = spans[0].clone().with("baton.spans", 21);
    spans.into_iter().map(|span| span.in_trace(trace)).collect()
}

#[test]
fn a_counted_trace_is_delivered_before_the_end() {
    let traces = SETTLING_TRACES_TEST as u128 + 10;
    let text: String = (1..=traces).map(|trace| line(&counted(trace))).collect();
    let again = line(&counted(1));
    let (read, summary) = read(&[&text, &again]);
    assert_eq!(read.len() as u128, traces);
    // The first was delivered, so its second appearance is late.
    assert_eq!((summary.late_spans, summary.duplicate_spans), (21, 0));
    assert_eq!(summary.spilled_bytes, 0);
}

const SETTLING_TRACES_TEST: usize = crate::limits::SETTLING_TRACES;

#[test]
fn what_exceeds_memory_is_assembled_from_a_temporary_file() {
    let mut traces: Vec<_> = calls_of(1..200);
    // Interleaved: one span of each trace after the other.
    let mut texts = [String::new(), String::new()];
    while !traces.is_empty() {
        for (nth, trace) in traces.iter_mut().enumerate() {
            texts[nth % 2].push_str(&line(&[trace.remove(0)]));
        }
        traces.retain(|trace| !trace.is_empty());
    }
    let mut found = Vec::new();
    let mut deliver = |trace| found.push(trace);
    let mut reader = Reader::new(&mut deliver).with_open_bytes(100_000);
    for text in &texts {
        reader.input("file", text.as_bytes()).unwrap();
    }
    let summary = reader.finish().unwrap();
    assert!(summary.spilled_bytes > 100_000, "{}", summary.spilled_bytes);
    found.sort_by_key(|trace| trace.id().to_bytes());
    assert_eq!(ids(&found), (1..200).map(|trace| (trace, 21)).collect::<Vec<_>>());
    let plain = crate::test_traces::trace(&call());
    let (mut spilled, mut expected) = (found.remove(0).spans().to_vec(), plain.spans().to_vec());
    spilled.sort_by_key(|span| span.id.to_bytes());
    expected.sort_by_key(|span| span.id.to_bytes());
    let times = |spans: &[crate::model::Span]| -> Vec<_> {
        spans
            .iter()
            .map(|span| (span.id, span.start_ns, span.end_ns))
            .collect()
    };
    assert_eq!(times(&spilled), times(&expected));
}

#[test]
fn a_trace_of_which_a_part_was_written_out_is_delivered_once_and_whole() {
    // The client's part is counted, and the server's comes when that has settled.
    let parts = |trace: u128| {
        let (mut client, server): (Vec<_>, Vec<_>) = calls_of(trace..trace + 1)
            .remove(0)
            .into_iter()
            .partition(|span| span.part != "server");
        client[0] = client[0].clone().with("baton.spans", client.len() as i64);
        line(&client) + &line(&server)
    };
    let text: String = (1..40).map(parts).collect();
    for open_bytes in [1, 5_000, 20_000, 100_000] {
        let mut found = Vec::new();
        let mut deliver = |trace| found.push(trace);
        let mut reader = Reader::new(&mut deliver).with_open_bytes(open_bytes);
        reader.input("file", text.as_bytes()).unwrap();
        let summary = reader.finish().unwrap();
        found.sort_by_key(|trace| trace.id().to_bytes());
        let expected: Vec<_> = (1..40).map(|trace| (trace, 21)).collect();
        assert_eq!(ids(&found), expected, "{open_bytes}");
        assert_eq!(summary.traces, 39);
    }
}

#[test]
fn the_memory_of_delivered_traces_is_free_again() {
    // Of many traces few are open at a time. What each leaves behind, or takes too much, adds up.
    let text: String = (1..2_001).map(|trace| line(&counted(trace))).collect();
    let mut count = 0_u64;
    let mut deliver = |_| count += 1;
    let mut reader = Reader::new(&mut deliver).with_open_bytes(50_000);
    reader.input("file", text.as_bytes()).unwrap();
    let summary = reader.finish().unwrap();
    assert_eq!((count, summary.spilled_bytes), (2_000, 0));
}

#[test]
fn a_torn_line_costs_no_other() {
    let (first, last) = (line(&call()), line(&calls_of(2..3)[0]));
    let torn = &first[..first.len() / 2];
    let (traces, summary) = read(&[&format!("{torn}\n{last}")]);
    // The torn line's spans are a part of trace 1.
    assert_eq!((traces.len(), traces[1].spans().len()), (2, 21));
    let [fault] = &summary.faults[..] else {
        panic!("{summary:?}")
    };
    assert_eq!(
        (fault.line, fault.spans_before),
        (1, traces[0].spans().len() as u64)
    );
    assert!(fault.spans_before > 0);
    assert!(
        fault.to_string().starts_with("file0:1: EOF while parsing"),
        "{fault}"
    );

    // Without its end of line, another writer's line follows directly.
    let (traces, summary) = read(&[&format!("{torn}{last}{}", line(&calls_of(3..4)[0]))]);
    assert_eq!(summary.fault_count, 1, "{summary:?}");
    assert_eq!(traces.last().unwrap().spans().len(), 21);
}

#[test]
fn a_file_cut_off_is_said_with_its_place() {
    let text = format!("{}{}", line(&calls_of(2..3)[0]), line(&call()));
    let cut = text.len() - 300;
    let (traces, summary) = read(&[&text[..cut]]);
    assert_eq!(traces.len(), 2);
    let fault = &summary.faults[0];
    assert_eq!((fault.line, fault.offset), (2, cut as u64 - 1));
    assert!(!summary.is_whole() && summary.files[0].faults == 1);
}

#[test]
fn a_fault_inside_a_document_of_several_lines_has_its_line() {
    let value: serde_json::Value = serde_json::from_str(&line(&call())).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let at = pretty
        .lines()
        .position(|line| line.contains("\"kind\": 2"))
        .unwrap();
    let bad = pretty.replace("\"kind\": 2", "\"kind\": @");
    let (_, summary) = read(&[&format!("{bad}\n{}", line(&calls_of(2..3)[0]))]);
    assert_eq!(summary.faults[0].line, at as u64 + 1, "{summary:?}");
}

#[test]
fn what_is_no_trace_is_named() {
    for (text, what) in [
        ("", "the trace file is empty"),
        ("{}", "no traces"),
        ("{\"data\":{\"a\":[1]}}", "no traces"),
        ("[1]", "invalid type: integer `1`"),
        ("PK\u{3}\u{4}", "expected value"),
    ] {
        let (traces, summary) = read(&[text]);
        assert!(traces.is_empty());
        assert!(summary.faults[0].what.starts_with(what), "{text}: {summary:?}");
    }
    let mut ignore = |_| {};
    let missing = Reader::new(&mut ignore).file("/nonexistent").unwrap_err();
    assert!(missing.to_string().contains("/nonexistent"), "{missing}");
}

#[test]
fn spans_without_ids_and_backward_times_are_counted_or_kept() {
    let mut backwards = stage(3, 2, "transit", 0, 5);
    (backwards.start_ns, backwards.end_ns) = (backwards.end_ns, backwards.start_ns);
    let spans = [
        other(0, 0, "no id", 0, 1),
        other(1, 0, "no trace", 0, 1).in_trace(0),
        stage(2, 9, "call", 0, 5),
        backwards,
    ];
    let (traces, summary) = read(&[&line(&spans)]);
    assert_eq!((summary.spans_without_id, ids(&traces)), (2, vec![(1, 2)]));
    assert_eq!(traces[0].spans()[1].duration_ns(), 0);
}

#[test]
fn a_directory_stands_for_its_trace_files_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.json", "a.jsonl", "t.json.1", "notes.txt", ".hidden.json"] {
        let mut file = File::create(dir.path().join(name)).unwrap();
        file.write_all(b"{}").unwrap();
    }
    let files = trace_files(&[dir.path().to_owned(), "x".into()]).unwrap();
    let names: Vec<_> = files
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["a.jsonl", "b.json", "t.json.1", "x"]);
    let empty = tempfile::tempdir().unwrap();
    let refused = trace_files(&[empty.path().to_owned()]);
    assert!(matches!(refused, Err(ReadError::NoFiles { .. })));
}

proptest! {
    #[test]
    fn no_text_panics_and_every_byte_is_accounted_for(
        text in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), byte: u8, newline in any::<prop::sample::Index>(),
    ) {
        let mut damaged = format!("{}{JAEGER}", line(&call())).into_bytes();
        let index = at.index(damaged.len());
        damaged[index] = byte;
        let index = newline.index(damaged.len());
        damaged[index] = b'\n';
        for text in [text, damaged] {
            let mut spans = 0;
            let mut deliver = |trace: Trace| spans += trace.spans().len() as u64;
            let mut reader = Reader::new(&mut deliver);
            reader.input("file", &text[..]).unwrap();
            let summary = reader.finish().unwrap();
            let kept = summary.spans - summary.duplicate_spans - summary.late_spans - summary.spans_without_id;
            prop_assert_eq!(spans, kept);
            prop_assert_eq!(summary.files[0].bytes, text.len() as u64);
        }
    }
}

mod segments {
    use baton_corpus::samples::{Names, Samples};
    use baton_corpus::{Corpus, compact};
    use baton_trace::TraceId;
    use baton_trace::record::CallRecord;

    use super::*;
    use crate::model::Trace;
    use crate::record::records;

    /// A corpus with some traces, and the same traces as JSON.
    fn corpus(traces: usize) -> (tempfile::TempDir, Vec<CallRecord>, Vec<u8>) {
        const NAMES: Names = Names {
            programs: &["make", "pytest"],
            labels: &["build"],
            threads: &["t"],
            hosts: &["laptop"],
        };
        let dir = tempfile::tempdir().unwrap();
        let corpus = Corpus::open(dir.path()).unwrap();
        let mut samples = Samples::new(NAMES, 5);
        let made: Vec<_> = (0..traces).map(|_| samples.record()).collect();
        let mut json = Vec::new();
        for record in &made {
            corpus.append(&baton_corpus::record::part(record)).unwrap();
            baton_export::json::write(&mut json, std::slice::from_ref(record)).unwrap();
        }
        (dir, made, json)
    }

    fn read_dir(dir: &std::path::Path, only: Option<TraceId>) -> (Vec<Trace>, ReadSummary) {
        let mut found = Vec::new();
        let mut deliver = |trace| found.push(trace);
        let mut reader = Reader::new(&mut deliver);
        if let Some(only) = only {
            reader = reader.with_trace(only);
        }
        for file in trace_files(&[dir.to_owned()]).unwrap() {
            reader.file(&file).unwrap();
        }
        let summary = reader.finish().unwrap();
        (found, summary)
    }

    /// Everything in a trace. Attributes of a resource have no order.
    fn texts(traces: &[Trace]) -> Vec<String> {
        let of = |trace: &Trace| {
            let spans = trace.spans().iter().map(|span| {
                let mut resource: Vec<_> = trace.resource(span).map(|pair| format!("{pair:?}")).collect();
                resource.sort_unstable();
                let attributes: Vec<_> = trace.attributes(span).collect();
                let times = (span.start_ns, span.end_ns);
                let ids = (
                    span.id,
                    span.parent,
                    span.flags,
                    span.kind,
                    span.is_error,
                    span.stage,
                );
                let names = (trace.name(span), trace.trace_state(span));
                format!("{ids:?} {times:?} {names:?} {attributes:?} {resource:?}")
            });
            format!("{}: {:?}", trace.id(), spans.collect::<Vec<_>>())
        };
        traces.iter().map(of).collect()
    }

    #[test]
    fn a_corpus_has_the_same_traces_as_the_file() {
        let (dir, made, json) = corpus(20);
        let mut from_json = Vec::new();
        let mut deliver = |trace| from_json.push(trace);
        let mut reader = Reader::new(&mut deliver);
        reader.input("json", &json[..]).unwrap();
        reader.finish().unwrap();
        for _ in 0..2 {
            let (found, summary) = read_dir(dir.path(), None);
            assert!(summary.is_whole(), "{summary:?}");
            assert_eq!((summary.traces, summary.spans), (20, 480));
            assert!(texts(&found) == texts(&from_json));
            let wanted = made[7].context.trace_id;
            let (one, summary) = read_dir(dir.path(), Some(wanted));
            assert_eq!((one.len(), one[0].id(), summary.spans), (1, wanted, 24));
            assert_eq!(records(&one[0]).len(), 1);
            compact(dir.path(), true).unwrap();
        }
        let (none, summary) = read_dir(dir.path(), Some(TraceId::from(1)));
        assert!(none.is_empty() && summary.is_whole());
    }

    #[test]
    fn damage_is_described_and_the_rest_is_read() {
        let (dir, _, _) = corpus(3);
        let segment = trace_files(&[dir.path().to_owned()]).unwrap().remove(0);
        let whole = std::fs::read(&segment).unwrap();
        std::fs::write(&segment, &whole[..whole.len() - 5]).unwrap();
        let (found, summary) = read_dir(dir.path(), None);
        assert_eq!((found.len(), summary.fault_count), (2, 1));
        let fault = summary.faults[0].to_string();
        assert!(fault.contains("writing was interrupted"), "{fault}");
        let mut damaged = whole.clone();
        damaged[100] ^= 1;
        std::fs::write(&segment, &damaged).unwrap();
        let (found, summary) = read_dir(dir.path(), None);
        assert_eq!((found.len(), summary.fault_count), (2, 1));
        assert!(summary.faults[0].what.contains("damaged bytes"), "{summary:?}");
        let mut newer = whole.clone();
        newer[11] = 9;
        std::fs::write(&segment, &newer).unwrap();
        let (_, summary) = read_dir(dir.path(), None);
        assert!(summary.faults[0].what.contains("version 9"), "{summary:?}");
    }

    #[test]
    fn a_segment_is_known_by_its_content_and_may_be_empty() {
        let (dir, _, _) = corpus(2);
        let segment = trace_files(&[dir.path().to_owned()]).unwrap().remove(0);
        let mut found = 0;
        let mut deliver = |_| found += 1;
        let mut reader = Reader::new(&mut deliver);
        let bytes = std::fs::read(&segment).unwrap();
        reader.input("elsewhere", &bytes[..]).unwrap();
        std::fs::write(&segment, "").unwrap();
        reader.file(&segment).unwrap();
        assert!(reader.finish().unwrap().is_whole());
        assert_eq!(found, 2);
    }
}
