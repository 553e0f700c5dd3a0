//! Where the stages of a record are, whatever the other end says.

use std::time::Duration;

use baton_mux::timings::{Row, encode};
use baton_mux::{ReceivedStamps, RelayStamp, SentStamps, Stamps};
use baton_trace::call::ServerCall;
use baton_trace::clock::ClockOffset;
use baton_trace::record::{Anchor, CallRecord, Side, StageRecord};
use baton_trace::recorder::CollectingSink;
use baton_trace::report::Coverage;
use baton_trace::stage::StageId;
use baton_trace::stage::exec::PROCESS;
use baton_trace::stage::transport::{
    CALL, CLIENT_QUEUE, CLIENT_SEAL, DISPATCH, RELAY_FORWARD, RELAY_QUEUE, RPC, SERVER_OPEN, TERMINAL_NOTIFY,
    TERMINAL_OPEN, TERMINAL_RELAY_FORWARD, TERMINAL_RELAY_QUEUE, TERMINAL_SEAL, TERMINAL_TRANSIT, TRANSIT,
};
use baton_trace::w3c::TraceContext;
use proptest::prelude::*;

use super::*;

const US: u64 = 1_000;

fn draft(anchor: Anchor) -> ClientDraft {
    ClientDraft {
        anchor,
        context: TraceContext::new_root(true),
        parent: None,
        method: "a.B/C".into(),
        details: CallDetails::default(),
        connect: None,
        handed: None,
        head_status: None,
        observer: None,
        losses: Vec::new(),
        first_sent: None,
        calls: RecordCalls::default(),
    }
}

fn timing(stage: StageId, start_us: u64, duration_us: u64) -> Row {
    Row {
        stage,
        start_ns: start_us * US,
        duration_ns: duration_us * US,
        attempt: 0,
    }
}

/// Stamps of a call that is sent after 30 µs, answered after 530 µs, and ends after 560 µs.
fn stamps(anchor: &Anchor, relay: RelayStamp) -> (Stamps, Instant) {
    let at = |us| anchor.instant + Duration::from_micros(us);
    let stamps = Stamps {
        head_sent: SentStamps {
            queued: Some(at(10)),
            taken: Some(at(20)),
            sealed: Some(at(30)),
        },
        last_data_received: Some(ReceivedStamps {
            at: at(530),
            opened: at(540),
            relay,
        }),
        ..Stamps::default()
    };
    (stamps, at(560))
}

fn span(record: &CallRecord, stage: StageId) -> (i64, i64) {
    let stage = record.stage(stage).unwrap();
    (stage.start_ns / 1_000, stage.end_ns / 1_000)
}

/// A server's draft and its handler's call.
fn server_draft(anchor: Anchor, recorder: &Recorder) -> (ServerDraft, Arc<ServerCall>) {
    let context = TraceContext::new_root(true);
    let call = Arc::new(ServerCall::new(&context, context.span_id, anchor, true));
    let record = CallRecord {
        side: Side::Server,
        context,
        parent: None,
        links: Vec::new(),
        method: "a.B/C".into(),
        anchor,
        stages: Vec::new(),
        status: RpcStatus(0),
        clock: None,
        server_unix_ns: None,
        server_calls: Vec::new(),
        attributes: Vec::new(),
        command: None,
    };
    (ServerDraft::new(record, Arc::clone(&call), recorder), call)
}

#[test]
fn a_servers_draft_is_recorded_once_whether_its_answer_was_sent_or_not() {
    let records = Arc::new(CollectingSink::default());
    let recorder = Recorder::to(records.clone());
    let anchor = clock::anchor();
    let sent = SentStamps {
        queued: Some(anchor.instant),
        taken: Some(anchor.instant),
        sealed: Some(anchor.instant),
    };
    let sealed = anchor.instant + Duration::from_micros(90);
    let sent = SentStamps {
        sealed: Some(sealed),
        ..sent
    };
    server_draft(anchor, &recorder).0.complete(&sent);
    let completed = records.take();
    assert_eq!(completed.len(), 1);
    assert_eq!(span(&completed[0], TERMINAL_SEAL), (0, 90));
    assert_eq!(
        span(&completed[0], RPC),
        (0, 90),
        "from the arrival to the end of the answer"
    );
    // A session that ends with the trailers still queued drops the draft.
    drop(server_draft(anchor, &recorder).0);
    let dropped = records.take();
    assert_eq!(dropped.len(), 1);
    assert!(dropped[0].stage(TERMINAL_SEAL).is_none());
}

#[test]
fn a_call_that_was_cut_short_is_recorded_when_its_process_has_ended() {
    let records = Arc::new(CollectingSink::default());
    let anchor = clock::anchor();
    let (draft, call) = server_draft(anchor, &Recorder::to(records.clone()));
    drop(draft);
    assert!(records.take().is_empty(), "its process still runs");
    let killed = anchor.instant + Duration::from_millis(200);
    call.record(PROCESS, anchor.instant, killed);
    drop(call);
    let [record] = &records.take()[..] else {
        panic!("the call is recorded once");
    };
    assert_eq!(span(record, PROCESS), (0, 200_000));
    assert_eq!(span(record, RPC), (0, 200_000), "around its process");
}

#[test]
fn the_clock_offset_positions_the_servers_stages() {
    let anchor = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let (stamps, end) = stamps(
        &anchor,
        RelayStamp {
            queue_ns: 10 * US,
            forward_ns: 20 * US,
        },
    );
    // The server's clock is 5 ms ahead; the request arrived 80 µs after the call began.
    let rows = [
        timing(SERVER_OPEN, 0, 5),
        timing(RPC, 10, 380),
        timing(TERMINAL_SEAL, 395, 5),
        timing(RELAY_QUEUE, 0, 4),
        timing(RELAY_FORWARD, 0, 6),
    ];
    let timings = encode(anchor.unix_ns + 80 * US + 5_000 * US, rows.into_iter());
    let clock = ClockOffset {
        offset_ns: 5_000_000,
        error_ns: 1_000,
    };
    let record = draft(anchor).build(&stamps, Some(&timings), Some(clock), end, 0);
    assert_eq!(span(&record, CALL), (0, 560));
    assert_eq!(span(&record, TRANSIT), (30, 80));
    assert_eq!(span(&record, RELAY_FORWARD), (50, 56));
    assert_eq!(span(&record, RELAY_QUEUE), (56, 60));
    assert_eq!(span(&record, SERVER_OPEN), (80, 85));
    assert_eq!(span(&record, RPC), (90, 470));
    assert_eq!(span(&record, TERMINAL_TRANSIT), (480, 530));
    assert!(record.stage(RELAY_QUEUE).unwrap().estimated);
}

#[test]
fn a_call_that_was_cut_short_has_no_terminal_stage_of_an_earlier_frame() {
    let anchor = clock::anchor();
    let (stamps, end) = stamps(&anchor, RelayStamp::default());
    let handed = |mut draft: ClientDraft| {
        draft.handed = Some(end);
        draft
    };
    let ended = handed(draft(anchor)).build(&stamps, Some(&[]), None, end, 0);
    assert!(ended.stage(TERMINAL_OPEN).is_some() && ended.stage(TERMINAL_NOTIFY).is_some());
    let cut = handed(draft(anchor)).build(&stamps, None, None, end, 1);
    let stages: Vec<_> = cut.stages.iter().map(|stage| stage.stage).collect();
    assert_eq!(stages, [CALL, DISPATCH, CLIENT_QUEUE, CLIENT_SEAL]);
}

#[test]
fn a_call_that_was_not_sent_is_all_remainder() {
    let anchor = clock::anchor();
    let end = anchor.instant + Duration::from_secs(5);
    let record = draft(anchor).build(&Stamps::default(), None, None, end, 14);
    assert_eq!(record.stages.len(), 1, "{:?}", record.stages);
    assert_eq!(Coverage::of(&record).remainder_ns(), 5_000_000_000);
}

#[test]
fn a_relay_stage_without_length_is_absent() {
    let anchor = clock::anchor();
    for (stamp, back) in [((0, 5), 5), ((5, 0), 5), ((0, 0), 0)] {
        let (queue_ns, forward_ns) = (stamp.0 * US, stamp.1 * US);
        let (stamps, end) = stamps(&anchor, RelayStamp { queue_ns, forward_ns });
        let rows = [
            timing(RPC, 0, 400),
            timing(RELAY_QUEUE, 0, stamp.0),
            timing(RELAY_FORWARD, 0, stamp.1),
        ];
        let timings = encode(anchor.unix_ns, rows.into_iter());
        let record = draft(anchor).build(&stamps, Some(&timings), None, end, 0);
        for stages in [
            [RELAY_QUEUE, RELAY_FORWARD],
            [TERMINAL_RELAY_QUEUE, TERMINAL_RELAY_FORWARD],
        ] {
            let lengths = stages.map(|stage| record.stage(stage).map(StageRecord::duration_ns));
            assert_eq!(lengths.into_iter().flatten().sum::<u64>(), back * US);
            assert!(!lengths.contains(&Some(0)), "{lengths:?}");
        }
    }
}

#[test]
fn without_a_terminal_transit_the_transit_ends_at_the_servers_stamp_if_both_may_have_one_clock() {
    let anchor = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let (mut stamps, end) = stamps(&anchor, RelayStamp::default());
    stamps.last_data_received = None;
    let timings = encode(anchor.unix_ns + 70 * US, [timing(RPC, 0, 200)].into_iter());
    for (offset_ns, received) in [(30_000, 70), (-30_000, 70), (-60_000, 130)] {
        let clock = ClockOffset {
            offset_ns,
            error_ns: 40_000,
        };
        let record = draft(anchor).build(&stamps, Some(&timings), Some(clock), end, 5);
        assert_eq!(span(&record, TRANSIT), (30, received), "{offset_ns}");
        assert!(record.stage(TERMINAL_TRANSIT).is_none());
    }
}

#[test]
fn the_record_keeps_the_servers_own_stamps() {
    let anchor = clock::anchor();
    let (stamps, end) = stamps(&anchor, RelayStamp::default());
    let rows = [timing(RPC, 0, 400), timing(PROCESS, 5, 380)];
    let timings = encode(1_000_000, rows.into_iter());
    let record = draft(anchor).build(&stamps, Some(&timings), None, end, 0);
    assert_eq!(record.server_unix_ns, Some(1_000_000..1_400_000));
    assert_eq!(
        draft(anchor).build(&stamps, None, None, end, 0).server_unix_ns,
        None
    );
}

#[test]
fn malformed_timings_add_no_stage() {
    let anchor = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let (stamps, end) = stamps(&anchor, RelayStamp::default());
    let mut timings = encode(
        anchor.unix_ns,
        [timing(RPC, 0, 400), timing(PROCESS, 0, 400)].into_iter(),
    );
    let none = draft(anchor).build(&stamps, Some(&[]), None, end, 0).stages;
    for whole in [true, false] {
        let stages = draft(anchor).build(&stamps, Some(&timings), None, end, 0).stages;
        assert_eq!(stages == none, !whole, "{stages:?}");
        timings.pop();
    }
}

#[test]
fn a_wrong_clock_moves_no_server_stage_out_of_its_interval() {
    let anchor = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let (stamps, end) = stamps(&anchor, RelayStamp::default());
    for received_unix_ns in [0, anchor.unix_ns, u64::MAX] {
        let timings = encode(received_unix_ns, [timing(PROCESS, 0, 400)].into_iter());
        let record = draft(anchor).build(&stamps, Some(&timings), None, end, 0);
        let (start, stop) = span(&record, PROCESS);
        assert!(
            start >= 30 && stop <= 530 && stop - start == 400,
            "{start} {stop}"
        );
    }
}

proptest! {
    /// Every stage lies inside the envelope, for any values from the server and the relay.
    #[test]
    fn no_claim_places_a_stage_outside_the_envelope(
        received_unix_ns: u64,
        offset_ns: i64,
        queue_ns: u64,
        forward_ns: u64,
        claims in prop::collection::vec(any::<(u8, u64, u64, u8)>(), 0..20),
    ) {
        let anchor = Anchor { instant: Instant::now(), unix_ns: 1_000_000_000 };
        let (stamps, end) = stamps(&anchor, RelayStamp { queue_ns, forward_ns });
        let rows = claims
            .into_iter()
            .map(|(stage, start_ns, duration_ns, attempt)| Row { stage: StageId(stage % 45), start_ns, duration_ns, attempt });
        let clock = ClockOffset { offset_ns, error_ns: 0 };
        let timings = encode(received_unix_ns, rows);
        let record = draft(anchor).build(&stamps, Some(&timings), Some(clock), end, 0);
        for stage in &record.stages {
            prop_assert!(0 <= stage.start_ns && stage.start_ns <= stage.end_ns && stage.end_ns <= 560_000, "{stage:?}");
        }
    }
}
