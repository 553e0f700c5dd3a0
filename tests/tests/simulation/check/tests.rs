//! A good history has no violation. In each bad history exactly one claim is violated.

use baton_proto::ProcessId;
use bytes::Bytes;

use super::*;
use crate::history::byte;

const RUN: RunId = RunId(3);
const ATTEMPT: Attempt = Attempt { run: RUN, number: 0 };
const EPOCH: ServerEpoch = ServerEpoch(1);
const EXIT: ExitStatus = ExitStatus::Code(7);

fn caller(trace: u128) -> Position {
    Position {
        trace: TraceId::from(trace),
        span: SpanId::from(1),
    }
}

fn envelope(trace: u128) -> SpanId {
    SpanId::from(trace as u64 + 100)
}

fn recorded(side: Side, trace: u128) -> Event {
    Event::Recorded(Recorded {
        side,
        trace: TraceId::from(trace),
        envelope: envelope(trace),
        parent: Some(match side {
            Side::Client => caller(trace).span,
            Side::Server => envelope(trace),
        }),
        has_process: true,
        misplaced: Vec::new(),
    })
}

fn spawned(run: RunId, process: u8, trace: u128) -> Event {
    let trace_id = TraceId::from(trace);
    Event::Spawned {
        run,
        process: ProcessId([process; 16]),
        epoch: EPOCH,
        position: Some(Position {
            trace: trace_id,
            span: childs_parent(trace_id, envelope(trace)),
        }),
    }
}

fn bytes(run: RunId, stream: u8, from: usize, len: usize) -> Bytes {
    pattern(run, stream, from, len).into()
}

fn stdout(from: usize, len: usize) -> Event {
    Event::Received {
        attempt: ATTEMPT,
        received: ReceivedEvent::Output(Output::Stdout, bytes(RUN, 1, from, len)),
    }
}

fn received(received: ReceivedEvent) -> Event {
    Event::Received {
        attempt: ATTEMPT,
        received,
    }
}

fn ended(end: CallResult) -> Event {
    Event::Ended {
        attempt: ATTEMPT,
        end,
    }
}

fn wrote(bytes: usize) -> Event {
    Event::Wrote {
        run: RUN,
        output: Output::Stdout,
        bytes,
    }
}

fn read(from: usize, len: usize) -> Event {
    Event::Read {
        run: RUN,
        data: bytes(RUN, 0, from, len),
    }
}

/// The history of one successful command.
fn good() -> Vec<Event> {
    vec![
        Event::Called {
            attempt: ATTEMPT,
            caller: caller(5),
            stdin: Some(20),
        },
        spawned(RUN, 1, 5),
        received(ReceivedEvent::Started),
        read(0, 20),
        Event::ReadEnd { run: RUN },
        wrote(10),
        stdout(0, 4),
        stdout(4, 6),
        Event::Exited {
            run: RUN,
            status: EXIT,
        },
        received(ReceivedEvent::Exited(EXIT)),
        received(ReceivedEvent::Closed { truncated: false }),
        ended(CallResult::Complete),
        Event::Gone { run: RUN },
        recorded(Side::Client, 5),
        recorded(Side::Server, 5),
        Event::Recovered { client: 0, ran: true },
        Event::Settled {
            processes: 0,
            sessions: 0,
            registrations: 1,
        },
    ]
}

fn claims(events: Vec<Event>) -> Vec<Claim> {
    let entries: Vec<_> = events
        .into_iter()
        .map(|event| Entry {
            at: Default::default(),
            event,
        })
        .collect();
    let mut claims: Vec<_> = check(&entries)
        .into_iter()
        .map(|violation| violation.claim)
        .collect();
    claims.dedup();
    claims
}

/// Asserts that the changed history violates this claim and no other.
#[track_caller]
fn breaks(claim: Claim, change: impl FnOnce(&mut Vec<Event>)) {
    let mut events = good();
    change(&mut events);
    assert_ne!(events, good(), "nothing was changed");
    assert_eq!(claims(events), [claim]);
}

#[track_caller]
fn holds(change: impl FnOnce(&mut Vec<Event>)) {
    let mut events = good();
    change(&mut events);
    assert_eq!(claims(events), []);
}

fn index(events: &[Event], event: &Event) -> usize {
    events
        .iter()
        .position(|other| other == event)
        .expect("the history has this event")
}

fn remove(events: &mut Vec<Event>, event: Event) {
    events.remove(index(events, &event));
}

fn replace(events: &mut [Event], from: Event, to: Event) {
    let index = index(events, &from);
    events[index] = to;
}

fn before(events: &mut Vec<Event>, event: Event, new: Event) {
    let index = index(events, &event);
    events.insert(index, new);
}

/// Changes the history so that the call failed before it received the exit.
fn fail(events: &mut Vec<Event>) {
    remove(events, received(ReceivedEvent::Exited(EXIT)));
    remove(events, received(ReceivedEvent::Closed { truncated: false }));
    replace(
        events,
        ended(CallResult::Complete),
        ended(CallResult::Failed("lost".into())),
    );
}

#[test]
fn a_good_history_passes() {
    holds(|_| {});
}

#[test]
fn a_call_that_was_cut_short_is_no_violation() {
    holds(|events| {
        fail(events);
        remove(events, stdout(4, 6));
        remove(events, Event::ReadEnd { run: RUN });
        replace(events, read(0, 20), read(0, 7));
    });
}

#[test]
fn a_second_process_of_one_id_is_found() {
    breaks(Claim::AtMostOneRun, |events| {
        events.push(spawned(RUN, 1, 5));
        events.push(Event::Gone { run: RUN });
    });
}

#[test]
fn missing_repeated_swapped_and_invented_bytes_are_found() {
    let claim = Claim::GapFreePrefix;
    breaks(claim, |events| replace(events, stdout(4, 6), stdout(5, 6)));
    breaks(claim, |events| replace(events, stdout(4, 6), stdout(3, 6)));
    breaks(claim, |events| remove(events, stdout(0, 4)));
    breaks(claim, |events| {
        events.swap(6, 7);
    });
    breaks(claim, |events| {
        fail(events);
        replace(events, wrote(10), wrote(9));
    });
}

#[test]
fn missing_output_is_found_unless_closed_reports_truncation() {
    breaks(Claim::GapFreePrefix, |events| remove(events, stdout(4, 6)));
    holds(|events| {
        remove(events, stdout(4, 6));
        let closed = |truncated| received(ReceivedEvent::Closed { truncated });
        replace(events, closed(false), closed(true));
    });
}

#[test]
fn a_second_a_missing_and_a_wrong_exit_are_found() {
    let claim = Claim::OneExit;
    let exit = received(ReceivedEvent::Exited(EXIT));
    breaks(claim, |events| before(events, exit.clone(), exit.clone()));
    breaks(claim, |events| remove(events, exit.clone()));
    breaks(claim, |events| {
        replace(
            events,
            exit.clone(),
            received(ReceivedEvent::Exited(ExitStatus::Code(0))),
        );
    });
}

/// Adds a second call for the same process.
fn again(events: &mut Vec<Event>, received: &[ReceivedEvent]) {
    let attempt = Attempt { run: RUN, number: 1 };
    let stdin = None;
    let caller = caller(6);
    events.push(Event::Called {
        attempt,
        caller,
        stdin,
    });
    events.extend(
        received
            .iter()
            .cloned()
            .map(|received| Event::Received { attempt, received }),
    );
    let end = CallResult::Complete;
    events.push(Event::Ended { attempt, end });
    events.push(recorded(Side::Client, 6));
}

#[test]
fn a_repeated_call_receives_only_the_exit_of_the_process() {
    let repeated = ReceivedEvent::Repeated;
    let end = [
        ReceivedEvent::Exited(EXIT),
        ReceivedEvent::Closed { truncated: false },
    ];
    let with = |first: &[ReceivedEvent]| [first, &end[..]].concat();
    holds(|events| again(events, &with(std::slice::from_ref(&repeated))));
    breaks(Claim::OneExit, |events| {
        again(events, &with(&[repeated.clone(), ReceivedEvent::Started]))
    });
    breaks(Claim::OneExit, |events| {
        let output = ReceivedEvent::Output(Output::Stdout, bytes(RUN, 1, 0, 10));
        again(events, &with(&[repeated.clone(), output]));
    });
    // It has to be told, once, first, and nobody else.
    breaks(Claim::RepeatsAreTold, |events| again(events, &with(&[])));
    breaks(Claim::RepeatsAreTold, |events| {
        again(events, &with(&[repeated.clone(), repeated.clone()]))
    });
    breaks(Claim::RepeatsAreTold, |events| {
        before(events, stdout(0, 4), received(repeated.clone()))
    });
}

#[test]
fn events_out_of_order_are_found() {
    let claim = Claim::OneExit;
    breaks(claim, |events| remove(events, received(ReceivedEvent::Started)));
    breaks(claim, |events| {
        remove(events, stdout(4, 6));
        before(events, ended(CallResult::Complete), stdout(4, 6));
    });
    breaks(claim, |events| {
        before(events, stdout(4, 6), received(ReceivedEvent::Started))
    });
    breaks(claim, |events| {
        remove(events, received(ReceivedEvent::Closed { truncated: false }))
    });
}

#[test]
fn a_call_without_an_end_with_two_ends_or_with_later_events_is_found() {
    let claim = Claim::EveryCallEnds;
    breaks(claim, |events| remove(events, ended(CallResult::Complete)));
    breaks(claim, |events| events.push(ended(CallResult::Complete)));
    breaks(claim, |events| {
        remove(events, received(ReceivedEvent::Closed { truncated: false }));
        events.push(received(ReceivedEvent::Closed { truncated: false }));
    });
}

#[test]
fn input_and_an_end_of_input_that_were_not_sent_are_found() {
    let claim = Claim::StdinIsWhole;
    breaks(claim, |events| replace(events, read(0, 20), read(0, 19)));
    breaks(claim, |events| remove(events, read(0, 20)));
    breaks(claim, |events| replace(events, read(0, 20), read(1, 20)));
}

#[test]
fn a_process_that_was_not_reaped_is_found() {
    breaks(Claim::NothingRunsOn, |events| {
        remove(events, Event::Gone { run: RUN })
    });
}

#[test]
fn a_span_that_is_never_closed_and_one_that_is_closed_twice_are_found() {
    let claim = Claim::EverySpanClosed;
    for side in [Side::Client, Side::Server] {
        breaks(claim, |events| remove(events, recorded(side, 5)));
        breaks(claim, |events| events.push(recorded(side, 5)));
    }
}

#[test]
fn a_record_without_the_process_span_is_found() {
    breaks(Claim::EverySpanClosed, |events| {
        let Event::Recorded(mut record) = recorded(Side::Server, 5) else {
            unreachable!()
        };
        record.has_process = false;
        replace(events, recorded(Side::Server, 5), Event::Recorded(record));
    });
}

#[test]
fn a_stage_outside_its_envelope_is_found() {
    breaks(Claim::EverySpanClosed, |events| {
        let Event::Recorded(mut record) = recorded(Side::Client, 5) else {
            unreachable!()
        };
        record.misplaced.push("transit");
        replace(events, recorded(Side::Client, 5), Event::Recorded(record));
    });
}

#[test]
fn a_crash_excuses_missing_records() {
    holds(|events| {
        fail(events);
        events.push(Event::ServerCrashed { epoch: EPOCH });
        remove(events, recorded(Side::Server, 5));
    });
    holds(|events| {
        fail(events);
        replace(
            events,
            ended(CallResult::Failed("lost".into())),
            ended(CallResult::Crashed),
        );
        remove(events, recorded(Side::Client, 5));
    });
    // The crash of another epoch does not excuse a missing record.
    breaks(Claim::EverySpanClosed, |events| {
        events.push(Event::ServerCrashed {
            epoch: ServerEpoch(2),
        });
        remove(events, recorded(Side::Server, 5));
    });
}

#[test]
fn a_wrong_trace_and_a_wrong_parent_are_found() {
    let claim = Claim::OneTrace;
    breaks(claim, |events| events.push(recorded(Side::Server, 6)));
    breaks(claim, |events| {
        let Event::Recorded(mut record) = recorded(Side::Client, 5) else {
            unreachable!()
        };
        record.parent = None;
        replace(events, recorded(Side::Client, 5), Event::Recorded(record));
    });
    breaks(claim, |events| {
        let Event::Recorded(mut record) = recorded(Side::Server, 5) else {
            unreachable!()
        };
        record.parent = Some(SpanId::from(1));
        replace(events, recorded(Side::Server, 5), Event::Recorded(record));
    });
    breaks(claim, |events| {
        replace(events, spawned(RUN, 1, 5), spawned(RUN, 1, 6))
    });
    breaks(claim, |events| {
        let mut other = spawned(RUN, 1, 5);
        if let Event::Spawned { position, .. } = &mut other {
            *position = Some(caller(5));
        }
        replace(events, spawned(RUN, 1, 5), other);
    });
}

#[test]
fn a_client_that_does_not_recover_is_found() {
    let recovered = |ran| Event::Recovered { client: 0, ran };
    breaks(Claim::Recovers, |events| {
        replace(events, recovered(true), recovered(false))
    });
    breaks(Claim::Recovers, |events| remove(events, recovered(true)));
}

#[test]
fn resources_left_at_the_end_are_found() {
    let settled = |processes, sessions, registrations| Event::Settled {
        processes,
        sessions,
        registrations,
    };
    for left in [
        settled(1, 0, 1),
        settled(0, 1, 1),
        settled(0, 0, 2),
        settled(0, 0, 0),
    ] {
        breaks(Claim::LeavesNothing, |events| {
            replace(events, settled(0, 0, 1), left)
        });
    }
    breaks(Claim::LeavesNothing, |events| remove(events, settled(0, 0, 1)));
}

#[test]
fn bytes_differ_between_runs_streams_and_offsets() {
    let of = |run, stream, from| pattern(RunId(run), stream, from, 8);
    assert_ne!(of(0, 1, 0), of(1, 1, 0));
    assert_ne!(of(0, 1, 0), of(0, 2, 0));
    assert_ne!(of(0, 1, 0), of(0, 1, 1));
    assert_eq!(of(0, 1, 3)[2], byte(RunId(0), 1, 5));
}
