//! `docs/vectors/waterfall.json`: where a client places a call's stages, and the remainder.

use std::time::Duration;

use baton_mux::timings::{Row, encode};
use baton_mux::{ReceivedStamps, RelayStamp, SentStamps, Stamps};
use baton_trace::clock::ClockOffset;
use baton_trace::record::{Anchor, CallRecord};
use baton_trace::report::{Coverage, tree};
use baton_trace::stage::StageId;
use baton_trace::w3c::TraceContext;
use baton_vectors::{Case, Json, Vector, check, list, object};

use super::*;

/// What a client has measured of a call that has ended. Times are in nanoseconds after the call began.
struct MeasuredCall {
    anchor_unix_ns: u64,
    queued: u64,
    taken: u64,
    sent: u64,
    /// When the last `Data` arrived, was decrypted, and was handed to the caller; and the relay's stamp on it.
    answer: Option<([u64; 3], RelayStamp)>,
    end: u64,
    clock: Option<ClockOffset>,
    timings: Vec<u8>,
}

impl MeasuredCall {
    fn record(&self) -> CallRecord {
        let anchor = Anchor {
            instant: Instant::now(),
            unix_ns: self.anchor_unix_ns,
        };
        let at = |ns| anchor.instant + Duration::from_nanos(ns);
        let stamps = Stamps {
            head_sent: SentStamps {
                queued: Some(at(self.queued)),
                taken: Some(at(self.taken)),
                sealed: Some(at(self.sent)),
            },
            last_data_received: self.answer.map(|([back, opened, _], relay)| ReceivedStamps {
                at: at(back),
                opened: at(opened),
                relay,
            }),
            ..Stamps::default()
        };
        let draft = ClientDraft {
            anchor,
            context: TraceContext::new_root(true),
            parent: None,
            method: "a.B/C".into(),
            details: CallDetails::default(),
            connect: None,
            handed: self.answer.map(|([_, _, handed], _)| at(handed)),
            head_status: None,
            observer: None,
            losses: Vec::new(),
            first_sent: None,
            calls: RecordCalls::default(),
        };
        draft.build(&stamps, Some(&self.timings), self.clock, at(self.end), 0)
    }

    fn described(&self, name: &str) -> Case {
        let record = self.record();
        let mut case = Case::new("waterfall", name)
            .with("anchor_unix_ns", self.anchor_unix_ns)
            .with("queued", self.queued)
            .with("taken", self.taken)
            .with("sent", self.sent);
        if let Some(([back, opened, handed], relay)) = self.answer {
            let answer = object([
                ("back", back.into()),
                ("opened", opened.into()),
                ("handed", handed.into()),
                ("relay_queue_ns", relay.queue_ns.into()),
                ("relay_forward_ns", relay.forward_ns.into()),
            ]);
            case = case.with("answer", answer);
        }
        if let Some(clock) = self.clock {
            let clock = object([
                ("offset_ns", clock.offset_ns.into()),
                ("error_ns", clock.error_ns.into()),
            ]);
            case = case.with("clock", clock);
        }
        case.with("end", self.end)
            .bytes("timings", &self.timings)
            .with("rows", rows(&record))
            .with("remainder_ns", Coverage::of(&record).remainder_ns())
    }
}

fn rows(record: &CallRecord) -> Json {
    list(tree::rows(record).into_iter().map(|row| {
        object([
            ("stage", row.stage.stage.0.into()),
            ("name", tree::label(row.stage.stage).into_owned().into()),
            ("depth", u64::try_from(row.depth).unwrap().into()),
            ("start_ns", row.stage.start_ns.into()),
            ("end_ns", row.stage.end_ns.into()),
        ])
    }))
}

const ANCHOR: u64 = 1_700_000_000_000_000_000;

/// The rows of an exec-server that ran a process: stage, start after the arrival of `Head`, duration, in microseconds.
const ROWS: [(u8, u64, u64); 11] = [
    (11, 0, 12),
    (12, 12, 3),
    (32, 40, 1_905),
    (33, 40, 410),
    (37, 450, 1_400),
    (38, 1_850, 95),
    (13, 0, 2_000),
    (14, 1_950, 20),
    (15, 1_970, 30),
    (9, 0, 4),
    (10, 0, 6),
];

fn timings(received_unix_ns: u64) -> Vec<u8> {
    let rows = ROWS.map(|(stage, start_us, duration_us)| Row {
        stage: StageId(stage),
        start_ns: start_us * 1_000,
        duration_ns: duration_us * 1_000,
        attempt: 0,
    });
    encode(received_unix_ns, rows.into_iter())
}

fn cases() -> Vec<Case> {
    let relay = RelayStamp {
        queue_ns: 7_000,
        forward_ns: 3_000,
    };
    let measured = || MeasuredCall {
        anchor_unix_ns: ANCHOR,
        queued: 20_000,
        taken: 25_000,
        sent: 40_000,
        answer: Some(([2_240_000, 2_255_000, 2_270_000], relay)),
        end: 2_290_000,
        clock: None,
        timings: timings(ANCHOR + 120_000),
    };
    let clock = |offset_ns, error_ns| Some(ClockOffset { offset_ns, error_ns });
    let unanswered = || MeasuredCall {
        answer: None,
        ..measured()
    };
    vec![
        measured().described("without a clock estimate"),
        MeasuredCall {
            clock: clock(5_000, 1_000),
            ..measured()
        }
        .described("with a clock estimate"),
        MeasuredCall {
            clock: clock(-3_000_000, 150_000),
            timings: timings(ANCHOR + 120_000 - 3_000_000),
            ..measured()
        }
        .described("a clock that is 3 ms behind, with a large error"),
        MeasuredCall {
            timings: timings(0),
            clock: clock(0, 10),
            ..measured()
        }
        .described("an exec-server whose clock is wrong"),
        MeasuredCall {
            clock: clock(5_000, 1_000),
            ..unanswered()
        }
        .described("without Data, two clocks"),
        MeasuredCall {
            clock: clock(5_000, 6_000),
            ..unanswered()
        }
        .described("without Data, an offset within its error"),
        MeasuredCall {
            answer: Some(([2_050_000, 2_060_000, 2_070_000], relay)),
            ..measured()
        }
        .described("relay stamps longer than both transits"),
        MeasuredCall {
            answer: Some(([1_000_000, 1_010_000, 1_020_000], relay)),
            end: 1_030_000,
            ..measured()
        }
        .described("an exec-server that claims more time than there was"),
        MeasuredCall {
            timings: encode(
                ANCHOR,
                [8, 13, 200, 0, 255].into_iter().map(|stage| Row {
                    stage: StageId(stage),
                    start_ns: 0,
                    duration_ns: 1_000_000,
                    attempt: 0,
                }),
            ),
            ..measured()
        }
        .described("stages that an exec-server may not report, and an unknown one"),
        MeasuredCall {
            timings: vec![1, 2, 3],
            ..measured()
        }
        .described("malformed timings"),
    ]
}

fn decode(vector: Vector<'_>) {
    match vector.kind() {
        "waterfall" => {
            let answer = vector.has("answer").then(|| {
                let answer = vector.object("answer");
                let relay = RelayStamp {
                    queue_ns: answer.number("relay_queue_ns"),
                    forward_ns: answer.number("relay_forward_ns"),
                };
                (
                    ["back", "opened", "handed"].map(|member| answer.number(member)),
                    relay,
                )
            });
            let clock = vector.has("clock").then(|| {
                let clock = vector.object("clock");
                ClockOffset {
                    offset_ns: clock.signed("offset_ns"),
                    error_ns: clock.number("error_ns"),
                }
            });
            let measured = MeasuredCall {
                anchor_unix_ns: vector.number("anchor_unix_ns"),
                queued: vector.number("queued"),
                taken: vector.number("taken"),
                sent: vector.number("sent"),
                answer,
                end: vector.number("end"),
                clock,
                timings: vector.bytes("timings"),
            };
            let record = measured.record();
            let made: Vec<_> = tree::rows(&record)
                .iter()
                .map(|row| {
                    (
                        u64::from(row.stage.stage.0),
                        row.depth as u64,
                        row.stage.start_ns,
                        row.stage.end_ns,
                    )
                })
                .collect();
            let wanted = vector.list("rows");
            let wanted: Vec<_> = wanted
                .iter()
                .map(|row| {
                    (
                        row.number("stage"),
                        row.number("depth"),
                        row.signed("start_ns"),
                        row.signed("end_ns"),
                    )
                })
                .collect();
            assert_eq!(made, wanted);
            assert_eq!(
                Coverage::of(&record).remainder_ns(),
                vector.number("remainder_ns")
            );
        }
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_the_waterfall_hold() {
    check(
        "waterfall.json",
        "Section 8: a client's own stamps, the clock estimate and the exec-server's timings in; the rows of the waterfall without its \
         envelope, and the remainder, out. Times are in nanoseconds after the call began, which was at `anchor_unix_ns`. `clock` is \
         absent without an estimate, `answer` without Data.",
        &cases(),
        decode,
    );
}
