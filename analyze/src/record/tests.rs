use std::num::NonZeroU64;

use baton_export::json;
use baton_proto::ProcessId;
use baton_trace::command::{CallerIds, TracedCommand};
use baton_trace::family::{Family, Unavailable};
use baton_trace::report::{WaterfallStyle, waterfall};
use baton_trace::stage::exec::PROCESS;
use baton_trace::stage::transport::*;
use baton_trace::test_records::{record, stage};
use baton_trace::w3c::random_span_id;
use proptest::prelude::*;

use super::*;

fn written(records: &[CallRecord]) -> Vec<u8> {
    let mut out = Vec::new();
    json::write(&mut out, records).unwrap();
    out
}

fn read(text: &[u8]) -> Result<Vec<CallRecord>, ReadSummary> {
    match read_text(text).unwrap() {
        (records, summary) if summary.is_whole() => Ok(records),
        (_, summary) => Err(summary),
    }
}

#[test]
fn a_record_comes_back_whole() {
    let mut record = record(vec![stage(CALL, 5, 1_000), stage(RPC, 20, 700)]);
    record.parent = Some(random_span_id());
    record.links = vec![TraceContext::new_root(true)];
    record.status = RpcStatus(14);
    record.context.tracestate = Tracestate::parse("vendor=a").unwrap();
    record.attributes = vec![KeyValue::new("process.exit.code", 3)];
    let read = read(&written(&[record.clone()])).unwrap().remove(0);
    assert_eq!(read.context, record.context);
    assert_eq!(
        (read.side, read.parent, read.links),
        (record.side, record.parent, record.links)
    );
    assert_eq!((read.method, read.status), (record.method, record.status));
    assert_eq!(read.attributes, record.attributes);
}

#[test]
fn the_command_of_a_record_comes_back_too() {
    let command = TracedCommand::new(
        Some("build".into()),
        b"make",
        ProcessId([1; 16]),
        CallerIds {
            thread: Some("t"),
            turn: NonZeroU64::new(2),
            step: Some("s"),
        },
    );
    command.started(7);
    command.measured(FamilySummary {
        family: Family::Prompt,
        unavailable: [Some(Unavailable::NotSeen), None, Some(Unavailable::NoOutput)],
        remainder_ns: 9,
    });
    for outcome in [
        Outcome::Exited { code: 3 },
        Outcome::of_exit(CommandExit::Signal(9), false, false, None),
        Outcome::of_exit(CommandExit::Signal(9), false, true, None),
        Outcome::of_exit(CommandExit::Code(0), false, false, Some(CallEnd::Revoked)),
        Outcome::TimedOut { exit: None },
        Outcome::FailedToStart(StartFailure::BadCwd),
        Outcome::Lost(Loss::Server),
        Outcome::Lost(Loss::Connection),
        Outcome::Lost(Loss::Superseded),
        Outcome::Unknown,
    ] {
        let known = command.summary();
        let mut record = record(vec![stage(CALL, 5, 1_000), stage(PROCESS, 6, 900)]);
        record.attributes = vec![KeyValue::new("server.address", "relay.example")];
        record.command = Some(Box::new(CommandSummary { outcome, ..known }));
        let read = read(&written(&[record.clone()])).unwrap().remove(0);
        assert_eq!(
            (read.command, read.attributes),
            (record.command, record.attributes)
        );
    }
}

#[test]
fn several_calls_of_one_trace_are_told_apart_also_line_by_line() {
    let mut calls = vec![
        record(vec![stage(RPC, 20, 700)]),
        record(vec![stage(RPC, 30, 800)]),
    ];
    calls[1].context.span_id = SpanId::from(8);
    let mut lines = written(&calls[..1]);
    lines.extend(written(&calls[1..]));
    for text in [written(&calls), lines] {
        let read = read(&text).unwrap();
        let ids: Vec<_> = read.iter().map(|record| record.context.span_id).collect();
        assert_eq!(ids, [SpanId::from(7), SpanId::from(8)]);
        assert!(read.iter().all(|record| record.stages.len() == 2));
    }
}

#[test]
fn a_servers_half_is_read_too() {
    let mut record = record(vec![stage(RPC, 20, 700), stage(SERVER_OPEN, 5, 10)]);
    record.side = Side::Server;
    for parent in [None, Some(SpanId::from(9))] {
        record.parent = parent;
        let read = read(&written(std::slice::from_ref(&record))).unwrap();
        assert_eq!(
            (read.len(), read[0].side, read[0].stages.len()),
            (1, Side::Server, 2)
        );
        assert_eq!(read[0].parent, parent);
    }
}

#[test]
fn servers_halves_of_calls_under_one_caller_are_told_apart() {
    let half = |call_id: u64| {
        let mut record = record(vec![stage(RPC, 0, 700), stage(SERVER_OPEN, 5, 10)]);
        record.side = Side::Server;
        record.parent = Some(SpanId::from(9));
        record.context.span_id = SpanId::from(call_id);
        record
    };
    let read = read(&written(&[half(1), half(2), half(3)])).unwrap();
    assert_eq!(read.len(), 3);
    assert!(read.iter().all(|record| record.stages.len() == 2));
}

#[test]
fn stages_of_turns_beside_the_calls_are_no_calls() {
    let calls = written(&[record(vec![stage(CALL, 5, 1_000), stage(RPC, 20, 700)])]);
    let of_turn = |name: &str| {
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[
            {{"traceId":"0000000000000000000000000000002a","spanId":"0000000000000009","name":"{name}",
            "parentSpanId":"0000000000000008",
            "attributes":[{{"key":"baton.stage","value":{{"stringValue":"{name}"}}}}]}}]}}]}}]}}"#
        )
    };
    for name in ["ttft", "decode", "tool.dispatch"] {
        let mut file = calls.clone();
        file.extend(of_turn(name).bytes());
        let read = super::tests::read(&file).unwrap();
        assert_eq!((read.len(), read[0].stages.len()), (1, 2), "{name}");
        let alone = read_text(of_turn(name).as_bytes()).unwrap();
        assert_eq!((alone.0.len(), alone.1.spans), (0, 1), "{name}");
    }
}

#[test]
fn a_stage_of_a_newer_version_is_shown_as_unknown() {
    let text = String::from_utf8(written(&[record(vec![stage(DISPATCH, 0, 5)])])).unwrap();
    let read = read(text.replace("dispatch", "hologram").as_bytes()).unwrap();
    assert!(waterfall(&read[0], &WaterfallStyle::default()).contains("unknown(0)"));
}

#[test]
fn a_cycle_of_parents_ends() {
    let text = String::from_utf8(written(&[record(vec![stage(DISPATCH, 0, 5)])])).unwrap();
    let dispatch = baton_trace::stage::span_id(TraceId::from(42), SpanId::from(7), DISPATCH, 0);
    let cyclic = text.replace("\"call\"", "\"rpc\"");
    let cyclic = cyclic.replace(
        "\"parentSpanId\":\"\"",
        &format!("\"parentSpanId\":\"{dispatch}\""),
    );
    assert!(read(cyclic.as_bytes()).is_ok());
}

fn records() -> impl Strategy<Value = CallRecord> {
    let stages = prop::collection::vec(
        (
            0u8..45,
            -1_000_000i64..1_000_000,
            -100i64..1_000_000,
            0u8..3,
            any::<bool>(),
        ),
        0..40,
    );
    (stages, -1i32..20, any::<Option<(i64, u32)>>()).prop_map(|(stages, code, clock)| {
        let stages = stages
            .into_iter()
            .map(|(id, start, length, attempt, estimated)| StageRecord {
                attempt,
                estimated,
                ..stage(StageId(id), start, start + length)
            });
        let mut record = record(stages.collect());
        record.status = RpcStatus(code);
        record.clock = clock.map(|(offset_ns, error_ns)| ClockOffset {
            offset_ns,
            error_ns: error_ns.into(),
        });
        record
    })
}

proptest! {
    #[test]
    fn the_waterfall_from_a_file_is_the_waterfall_from_the_record(record in records()) {
        let read = read(&written(std::slice::from_ref(&record))).unwrap();
        prop_assert_eq!(read.len(), 1);
        let style = WaterfallStyle::default();
        prop_assert_eq!(waterfall(&read[0], &style), waterfall(&record, &style));
    }

    #[test]
    fn no_text_panics(text in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), byte: u8) {
        drop(read_text(&text));
        let mut damaged = written(&[record(vec![stage(RPC, 20, 700)])]);
        let at = at.index(damaged.len());
        damaged[at] = byte;
        for record in read(&damaged).unwrap_or_default() {
            waterfall(&record, &WaterfallStyle::default());
        }
    }
}
