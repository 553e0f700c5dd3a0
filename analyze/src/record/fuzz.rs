//! Whatever is in a trace file: its calls are bounded, can be drawn and exported, and are the same after being written
//! and read once more.

use baton_export::{clock, json, spans};
use baton_fuzz::Target;
use baton_trace::report::{Coverage, WaterfallStyle, waterfall};

use super::*;

/// The input: the file.
pub(crate) const TRACE_FILE: Target = Target {
    name: "trace-file",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let (calls, summary) = read_text(bytes).expect("no temporary file is needed");
    assert!(summary.is_whole() || summary.fault_count + summary.spans_without_id > 0);
    assert!(calls.len() as u64 <= summary.spans);
    for call in &calls {
        assert!((1..=RECORD_STAGES_MAX).contains(&call.stages.len()));
        assert!(call.attributes.len() <= RECORD_ATTRIBUTES_MAX);
        assert!(call.stages.iter().all(|stage| stage.start_ns <= stage.end_ns));
        let coverage = Coverage::of(call);
        assert!(coverage.remainder_ns() <= coverage.envelope.duration_ns());
        for (ascii, width) in [(false, 80), (true, 0)] {
            let style = WaterfallStyle {
                width,
                color: false,
                ascii,
            };
            let drawn = waterfall(call, &style);
            assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'), "{drawn:?}");
            assert!(drawn.lines().count() <= call.stages.len() + 8, "{drawn}");
        }
        drop(spans::owed(call));
    }
    let mut file = Vec::new();
    json::write(&mut file, &calls).expect("a Vec takes it");
    let (again, _) = read_text(&file).expect("no temporary file is needed");
    assert!(again.len() <= calls.len(), "calls were made up");
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    use baton_trace::stage::exec;
    let stage = |stage, start_ns, end_ns| StageRecord {
        stage,
        attempt: 0,
        start_ns,
        end_ns,
        estimated: false,
    };
    let record = |side, trace: u128, stages| CallRecord {
        side,
        context: TraceContext {
            trace_id: TraceId::from(trace),
            span_id: SpanId::from(7),
            flags: TraceFlags::SAMPLED,
            tracestate: Tracestate::parse("a=1").unwrap_or_default(),
            baggage: Baggage::default(),
        },
        parent: Some(SpanId::from(5)),
        links: Vec::new(),
        method: "baton.exec.v1.Exec/Run".into(),
        anchor: Anchor {
            unix_ns: 1_700_000_000_000_000_000,
            ..clock::anchor()
        },
        stages,
        status: RpcStatus(0),
        server_unix_ns: None,
        server_calls: Vec::new(),
        clock: Some(ClockOffset {
            offset_ns: -5_000,
            error_ns: 700,
        }),
        attributes: vec![KeyValue::new("k", "v"), KeyValue::new("n", 3)],
        command: None,
    };
    let whole = vec![
        stage(transport::CALL, 0, 900_000),
        stage(transport::DISPATCH, 0, 9_000),
        stage(transport::TRANSIT, 20_000, 60_000),
        stage(transport::RELAY_QUEUE, 30_000, 31_000),
        stage(transport::RPC, 60_000, 700_000),
        stage(exec::PROCESS, 70_000, 690_000),
    ];
    let written = |records: &[CallRecord]| {
        // Without the resource, which names this machine.
        let mut spans = Vec::new();
        json::write(&mut spans, records).expect("a Vec takes it");
        let mut request: serde_json::Value = serde_json::from_slice(&spans).expect("JSON");
        for group in request["resourceSpans"].as_array_mut().into_iter().flatten() {
            group["resource"] = serde_json::json!({});
            group["schemaUrl"] = "".into();
            for scope in group["scopeSpans"].as_array_mut().into_iter().flatten() {
                scope["scope"] = serde_json::json!({});
            }
        }
        request.to_string().into_bytes()
    };
    let span = |id: &str, parent: &str, stage: &str, start: &str, end: &str| {
        let file = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0000000000000000000000000000002a","spanId":"ID","parentSpanId":"PARENT","name":"\u001b[2J","startTimeUnixNano":"START","endTimeUnixNano":"END","attributes":[{"key":"baton.stage","value":{"stringValue":"STAGE"}}]}]}]}]}"#;
        file.replace("ID\"", &format!("{id}\""))
            .replace(&format!("trace{id}"), "traceId")
            .replace("PARENT", parent)
            .replace("STAGE", stage)
            .replace("START", start)
            .replace("END", end)
    };
    let at = |id, parent, stage| span(id, parent, stage, "1", "9").into_bytes();
    vec![
        ("call", written(&[record(Side::Client, 42, whole.clone())])),
        (
            "both-sides",
            written(&[
                record(Side::Client, 42, whole.clone()),
                record(Side::Server, 43, whole),
            ]),
        ),
        ("no-call", at("0000000000000001", "0000000000000002", "transit")),
        (
            "cycle",
            [
                at("0000000000000001", "0000000000000002", "rpc"),
                at("0000000000000002", "0000000000000001", "process"),
            ]
            .concat(),
        ),
        ("unknown", at("0000000000000001", "", "of.another.version")),
        (
            "backwards",
            span("0000000000000001", "", "call", "18446744073709551615", "0").into_bytes(),
        ),
        (
            "twice",
            [
                at("0000000000000001", "", "call"),
                at("0000000000000001", "", "call"),
            ]
            .concat(),
        ),
        ("empty", b"{}".to_vec()),
        ("not-json", b"{\"resourceSpans\":[".to_vec()),
    ]
}

#[cfg(test)]
#[test]
fn no_trace_file_breaks_what_reads_and_draws_it() {
    baton_fuzz::replay(&TRACE_FILE);
}
