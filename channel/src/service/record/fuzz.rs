//! For any timings of a server and any stamps of a relay, the record stays inside the envelope that the client
//! measured, its stages add up, and it can be drawn, exported and read again.

use std::time::Duration;

use baton_analyze::record::read_text;
use baton_export::{json, spans};
use baton_fuzz::{Input, Script, Target};
use baton_mux::timings::{Row, encode};
use baton_mux::{ReceivedStamps, RelayStamp, SentStamps, Stamps};
use baton_proto::limits::TIMINGS_MAX;
use baton_trace::clock::{ClockOffsetEstimator, ClockSample};
use baton_trace::record::{Anchor, CallRecord};
use baton_trace::report::{Coverage, WaterfallStyle, waterfall};
use baton_trace::stage::StageId;
use baton_trace::stage::transport::{CALL, RELAY_FORWARD, RELAY_QUEUE, RPC};
use baton_trace::w3c::TraceContext;

use super::*;

/// The input: the client's stamps, the relay's, the clock samples, encoded timings.
pub(crate) const TIMINGS: Target = Target {
    name: "timings",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let anchor = Anchor {
        instant: Instant::now(),
        unix_ns: input.u64(),
    };
    let mut at = anchor.instant;
    // Monotonic, like a clock.
    let mut later = |input: &mut Input<'_>| {
        at += Duration::from_nanos(input.u32().into());
        at
    };
    let head_sent = SentStamps {
        queued: Some(later(&mut input)),
        taken: Some(later(&mut input)),
        sealed: Some(later(&mut input)),
    };
    let received = later(&mut input);
    let opened = later(&mut input);
    let handed = later(&mut input);
    let end = later(&mut input);
    let relay = RelayStamp {
        queue_ns: input.u64(),
        forward_ns: input.u64(),
    };
    let answered = input.bool();
    let mut clock = ClockOffsetEstimator::default();
    for _ in 0..input.u8() % 4 {
        clock.add(ClockSample {
            t0: input.u64(),
            t1: input.u64(),
            t2: input.u64(),
            t3: input.u64(),
        });
    }
    let stamps = Stamps {
        head_sent,
        last_data_received: answered.then_some(ReceivedStamps {
            at: received,
            opened,
            relay,
        }),
        ..Stamps::default()
    };
    // The multiplexer accepts at most this many bytes.
    let timings = input.rest();
    let timings = &timings[..timings.len().min(TIMINGS_MAX)];
    let draft = ClientDraft {
        anchor,
        context: TraceContext::new_root(true),
        parent: None,
        method: "a.B/C".into(),
        details: CallDetails::default(),
        connect: None,
        handed: answered.then_some(handed),
        head_status: None,
        observer: None,
        losses: Vec::new(),
        first_sent: None,
        calls: RecordCalls::default(),
    };
    let record = draft.build(&stamps, Some(timings), clock.offset(), end, 0);
    check(&record);
}

fn check(record: &CallRecord) {
    let call = record.stage(CALL).expect("every record has its envelope");
    for stage in &record.stages {
        assert!(stage.start_ns <= stage.end_ns, "{stage:?}");
        assert!(
            call.start_ns <= stage.start_ns && stage.end_ns <= call.end_ns,
            "{stage:?} in {call:?}"
        );
    }
    let coverage = Coverage::of(record);
    let envelope = coverage.envelope.duration_ns();
    assert!(coverage.remainder_ns() <= envelope, "{coverage:?}");
    let drawn = waterfall(record, &WaterfallStyle::default());
    assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'), "{drawn:?}");
    drop(spans::owed(record));
    let mut file = Vec::new();
    json::write(&mut file, std::slice::from_ref(record)).expect("a Vec takes it");
    let (back, summary) = read_text(&file).expect("no temporary file is needed");
    assert!(back.len() == 1 && summary.is_whole(), "{summary:?}");
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let stage = |stage: StageId, start_ns, duration_ns| Row {
        stage,
        start_ns,
        duration_ns,
        attempt: 0,
    };
    let of = |unix_ns: u64, relay: u64, samples: &[[u64; 4]], timings: &[u8]| {
        let script = [10_000, 9_000, 8_000, 500_000, 7_000, 6_000, 5_000];
        let script = script
            .into_iter()
            .fold(Script::default().u64(unix_ns), Script::u32);
        let script = script.u64(relay).u64(relay).u8(1).u8(samples.len() as u8);
        let script = samples
            .iter()
            .flatten()
            .fold(script, |script, stamp| script.u64(*stamp));
        script.raw(timings).done()
    };
    let honest = |received_unix_ns| {
        let rows = [
            stage(RELAY_QUEUE, 0, 2_000),
            stage(RELAY_FORWARD, 0, 1_000),
            stage(RPC, 3_000, 300_000),
        ];
        encode(received_unix_ns, rows.into_iter())
    };
    let lies = [
        stage(RPC, u64::MAX, u64::MAX),
        stage(CALL, 0, u64::MAX),
        stage(RELAY_QUEUE, 0, u64::MAX),
        stage(StageId(255), 1, 1),
    ];
    let lie = encode(u64::MAX, lies.into_iter());
    // Columns of a later version.
    let wide = [7, 6, RPC.0, 3, 5, 1, 99, 98, RELAY_QUEUE.0, 0, 2, 0, 97, 96];
    let now = 1_700_000_000_000_000_000;
    vec![
        (
            "honest",
            of(
                now,
                1_500,
                &[[now, now + 900, now + 1_000, now + 300]],
                &honest(now + 51_000),
            ),
        ),
        ("no-clock", of(now, 0, &[], &honest(now))),
        ("lie", of(now, u64::MAX, &[[0, u64::MAX, u64::MAX, 0]], &lie)),
        (
            "lie-at-zero",
            of(0, u64::MAX / 2, &[[u64::MAX, 0, 0, u64::MAX]], &lie),
        ),
        ("later-version", of(now, 0, &[], &wide)),
        ("cut", of(now, 0, &[], &wide[..wide.len() - 1])),
        ("nothing", of(now, 0, &[], &[])),
    ]
}

#[cfg(test)]
#[test]
fn no_timings_leave_the_envelope_that_the_client_measured() {
    baton_fuzz::replay(&TIMINGS);
}
