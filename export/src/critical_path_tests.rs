//! Jaeger's critical path over the spans that a client and a server export of one call contains every awaited stage.

use baton_trace::clock::ClockOffset;
use baton_trace::record::{CallRecord, Side, StageRecord};
use baton_trace::report::Coverage;
use baton_trace::report::critical_path::{PathFinding, PathSpan, check, critical_path};
use baton_trace::stage::exec::*;
use baton_trace::stage::transport::*;
use baton_trace::stage::{self, StageId};
use baton_trace::test_records::{record, stage};
use opentelemetry::trace::SpanKind;
use opentelemetry::{SpanId, TraceId};
use proptest::prelude::*;

use super::layout::{self, SpanPlacement};

/// How long each stage of a call took, in nanoseconds. The time between them belongs to no stage.
#[derive(Debug, Clone)]
struct Lengths {
    dispatch: i64,
    client_queue: i64,
    client_seal: i64,
    transit: i64,
    relay: i64,
    server_open: i64,
    server_queue: i64,
    before_process: i64,
    spawn: i64,
    wait: i64,
    close: i64,
    after_process: i64,
    terminal_queue: i64,
    terminal_seal: i64,
    terminal_transit: i64,
    terminal_open: i64,
    terminal_notify: i64,
    after: i64,
    /// Of the time between exec and end, in hundredths: when output began and ended.
    output: (i64, i64),
    /// Where in the clock's error the estimate of the offset is, in hundredths of it.
    estimate: i64,
}

/// From nothing to 60 µs.
fn short() -> impl Strategy<Value = i64> {
    prop_oneof![0i64..900, 0i64..60_000]
}

fn lengths() -> impl Strategy<Value = Lengths> {
    let out = (short(), short(), short(), 15_000i64..200_000, 0i64..4_000);
    let server = (
        short(),
        short(),
        short(),
        1_000i64..90_000,
        30_000i64..900_000,
        short(),
        short(),
    );
    let back = (short(), short(), 15_000i64..200_000, short(), short(), short());
    let beside = ((0i64..=100, 0i64..=100), -100i64..=100);
    (out, server, back, beside).prop_map(|(out, server, back, (output, estimate))| Lengths {
        dispatch: out.0,
        client_queue: out.1,
        client_seal: out.2,
        transit: out.3,
        relay: out.4,
        server_open: server.0,
        server_queue: server.1,
        before_process: server.2,
        spawn: server.3,
        wait: server.4,
        close: server.5,
        after_process: server.6,
        terminal_queue: back.0,
        terminal_seal: back.1,
        terminal_transit: back.2,
        terminal_open: back.3,
        terminal_notify: back.4,
        after: back.5,
        output: (output.0.min(output.1), output.0.max(output.1)),
        estimate,
    })
}

/// Adds stages one after the other.
struct Chain {
    at: i64,
    stages: Vec<StageRecord>,
}

impl Chain {
    fn add(&mut self, id: StageId, length: i64) -> &mut Self {
        self.stages.push(stage(id, self.at, self.at + length));
        self.at += length;
        self
    }
}

/// The server's stages, after the arrival of the call.
fn server_stages(of: &Lengths) -> Vec<StageRecord> {
    let mut chain = Chain {
        at: 0,
        stages: Vec::new(),
    };
    chain
        .add(SERVER_OPEN, of.server_open)
        .add(SERVER_QUEUE, of.server_queue);
    chain.at += of.before_process;
    let begun = chain.at;
    chain.add(PROCESS_SPAWN, of.spawn);
    let exec = chain.at;
    chain.add(PROCESS_WAIT, of.wait).add(PROCESS_CLOSE, of.close);
    let closed = chain.at;
    let at = |hundredths: i64| exec + (closed - exec) * hundredths / 100;
    let (first, end_of_file) = (at(of.output.0), at(of.output.1));
    chain.stages.extend([
        stage(PROCESS, begun, closed),
        stage(PROCESS_FIRST_OUTPUT, exec, first),
        stage(PROCESS_STDOUT, first, end_of_file),
        stage(PROCESS_STDERR, first, closed),
    ]);
    chain.at += of.after_process;
    chain
        .add(TERMINAL_QUEUE, of.terminal_queue)
        .add(TERMINAL_SEAL, of.terminal_seal);
    let sealed = chain.at;
    chain.stages.push(stage(RPC, 0, sealed));
    chain.stages
}

/// The records of both components of one call, on one machine. The client's clock estimate is wrong by up to the clock
/// error.
fn records(of: &Lengths) -> (CallRecord, CallRecord) {
    let mut chain = Chain {
        at: 0,
        stages: Vec::new(),
    };
    chain
        .add(DISPATCH, of.dispatch)
        .add(CLIENT_QUEUE, of.client_queue);
    chain.add(CLIENT_SEAL, of.client_seal);
    let (sent, received) = (chain.at, chain.at + of.transit);
    let server = server_stages(of);
    let sealed = server.iter().map(|stage| stage.end_ns).max().unwrap_or(0);
    let back = received + sealed + of.terminal_transit;
    // Neither transit gets shorter than the relay's stamp.
    let error = (of.transit.min(of.terminal_transit) - of.relay) / 2;
    let offset = error * of.estimate / 100;
    let placed = received - offset;
    chain.add(TRANSIT, placed - sent);
    let middle = sent + (placed - sent - of.relay) / 2;
    chain.stages.push(stage(RELAY_QUEUE, middle, middle + of.relay));
    let on_clients_clock = server
        .iter()
        .map(|told| stage(told.stage, told.start_ns + placed, told.end_ns + placed));
    chain.stages.extend(on_clients_clock);
    chain.stages.push(stage(TERMINAL_TRANSIT, placed + sealed, back));
    chain.at = back;
    chain
        .add(TERMINAL_OPEN, of.terminal_open)
        .add(TERMINAL_NOTIFY, of.terminal_notify);
    chain.stages.push(stage(CALL, 0, chain.at + of.after));

    let mut client = record(chain.stages);
    client.clock = Some(ClockOffset {
        offset_ns: offset,
        error_ns: error.unsigned_abs(),
    });
    let arrival = client.anchor.unix_ns_at(received);
    client.server_unix_ns = Some(arrival..arrival + sealed.unsigned_abs());
    let mut server = record(server);
    server.side = Side::Server;
    server.parent = Some(server.context.span_id);
    server.anchor.unix_ns = arrival;
    (client, server)
}

fn exported(record: &CallRecord) -> Vec<PathSpan> {
    let remainder_ns = Coverage::of(record).remainder_ns();
    let span = |placed: &SpanPlacement| PathSpan {
        id: placed.span_id,
        parent: placed.parent,
        kind: SpanKind::Internal,
        start_us: placed.start_ns / 1_000,
        end_us: placed.end_ns / 1_000,
        stage: Some(placed.stage.stage),
        remainder_ns: (placed.stage.stage == CALL).then_some(remainder_ns),
    };
    layout::owed(record).iter().map(span).collect()
}

fn of(spans: &[PathSpan], stage: StageId) -> &PathSpan {
    spans.iter().find(|span| span.stage == Some(stage)).unwrap()
}

/// A span that the child process made under the parent in its `TRACEPARENT`.
fn childs(spans: &[PathSpan]) -> PathSpan {
    let wait = of(spans, PROCESS_WAIT);
    PathSpan {
        id: SpanId::from(99),
        parent: Some(stage::span_id(
            TraceId::from(42),
            SpanId::from(7),
            PROCESS_WAIT,
            0,
        )),
        stage: None,
        start_us: wait.start_us + 5,
        end_us: wait.end_us - 5,
        ..wait.clone()
    }
}

proptest! {
    #[test]
    fn the_path_of_an_exported_call_is_what_was_awaited(lengths in lengths()) {
        let (client, server) = records(&lengths);
        let mut spans = exported(&client);
        let outside = spans.len();
        spans.extend(exported(&server));
        spans.push(childs(&spans));
        prop_assert_eq!(check(&spans), [], "{:#?}", spans);
        let (transit, rpc, back) = (of(&spans, TRANSIT), of(&spans, RPC), of(&spans, TERMINAL_TRANSIT));
        prop_assert!(transit.end_us < rpc.start_us && rpc.end_us < back.start_us);
        let childs = critical_path(&spans).into_iter().find(|section| section.span == spans.len() - 1);
        prop_assert_eq!(childs.map(|section| section.duration_us()), spans.last().map(|span| span.end_us - span.start_us));

        // If the client records nothing, only the server's spans are exported.
        prop_assert_eq!(check(&spans[outside..]), [], "{:#?}", &spans[outside..]);
    }

    #[test]
    fn where_the_clocks_differ_no_stamp_is_moved(lengths in lengths(), ahead in 1_000_000i64..1_000_000_000) {
        let (mut client, _) = records(&lengths);
        let placed = exported(&CallRecord { server_unix_ns: None, ..client.clone() });
        client.clock = client.clock.map(|clock| ClockOffset { offset_ns: clock.offset_ns + ahead, ..clock });
        prop_assert_eq!(exported(&client), placed);
    }
}

#[test]
fn a_transit_that_reaches_into_the_servers_part_would_be_found() {
    let lengths = Lengths {
        dispatch: 10_000,
        client_queue: 5_000,
        client_seal: 5_000,
        transit: 50_000,
        relay: 2_000,
        server_open: 5_000,
        server_queue: 5_000,
        before_process: 5_000,
        spawn: 100_000,
        wait: 500_000,
        close: 20_000,
        after_process: 2_000,
        terminal_queue: 3_000,
        terminal_seal: 4_000,
        terminal_transit: 50_000,
        terminal_open: 3_000,
        terminal_notify: 5_000,
        after: 10_000,
        output: (10, 100),
        estimate: 100,
    };
    let (client, server) = records(&lengths);
    // Without the server's stamps the way back begins where the clock's estimate has it.
    let mut spans = exported(&CallRecord {
        server_unix_ns: None,
        ..client
    });
    spans.extend(exported(&server));
    assert!(
        matches!(check(&spans)[..], [PathFinding::OwnTime { .. }]),
        "{:?}",
        check(&spans)
    );
}
