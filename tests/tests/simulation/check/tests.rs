//! A good history has no violation. In each bad history exactly one claim is violated.

use std::time::Duration;

use baton_core_client::ExitStatus;
use baton_proto::ProcessId;
use baton_trace::record::Side;
use baton_trace::{SpanId, TraceId};
use bytes::Bytes;

use super::traces::childs_parent;
use super::*;
use crate::companion::COLLECTING;
use crate::history::{Attempt, Event, Output, Position, ReceivedEvent, Recorded, RunId, ServerEpoch, byte};
use crate::insistent;

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
        process: Some(SpanId::from(9)),
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
    received(output(from, len))
}

fn output(from: usize, len: usize) -> ReceivedEvent {
    ReceivedEvent::Output(Output::Stdout, bytes(RUN, 1, from, len))
}

fn received(event: ReceivedEvent) -> Event {
    received_by(ATTEMPT, 0, event)
}

fn received_by(attempt: Attempt, seq: u64, received: ReceivedEvent) -> Event {
    Event::Received {
        attempt,
        seq,
        received,
    }
}

const STARTS: CallKind = CallKind::Run {
    stdin: Some(20),
    recovers: false,
    drops_output: false,
    grace: Duration::from_secs(60),
};

const CLOSED: ReceivedEvent = ReceivedEvent::Closed { truncated: false };

fn called(kind: CallKind) -> Event {
    Event::Called {
        attempt: ATTEMPT,
        caller: Some(caller(5)),
        kind,
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
        called(STARTS),
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
    claims_of(events, check)
}

fn claims_of(events: Vec<Event>, check: fn(&[Entry]) -> Vec<Violation>) -> Vec<Claim> {
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
    events.push(Event::Called {
        attempt,
        caller: Some(caller(6)),
        kind: STARTS,
    });
    events.extend(
        received
            .iter()
            .cloned()
            .map(|received| received_by(attempt, 0, received)),
    );
    let end = CallResult::Complete;
    events.push(Event::Ended { attempt, end });
    events.push(recorded(Side::Client, 6));
}

/// The number of the first attempt of another caller.
const OTHER: Attempt = Attempt {
    run: RUN,
    number: 100,
};

/// Adds a call of another caller with these events and this end, in a trace of its own.
fn another(events: &mut Vec<Event>, kind: CallKind, received: &[(u64, ReceivedEvent)], end: CallResult) {
    events.push(Event::Called {
        attempt: OTHER,
        caller: None,
        kind,
    });
    let received = received.iter().cloned();
    events.extend(received.map(|(seq, event)| received_by(OTHER, seq, event)));
    events.push(Event::Ended { attempt: OTHER, end });
    events.push(own_record(Side::Client));
    events.push(own_record(Side::Server));
}

/// The record of a call that begins a trace.
fn own_record(side: Side) -> Event {
    let Event::Recorded(record) = recorded(side, 7) else {
        unreachable!()
    };
    Event::Recorded(Recorded {
        parent: record.parent.filter(|_| side == Side::Server),
        process: None,
        ..record
    })
}

/// The whole log, as another reader gets it.
fn whole() -> Vec<(u64, ReceivedEvent)> {
    vec![
        (1, ReceivedEvent::Started),
        (2, output(0, 4)),
        (3, output(4, 6)),
        (4, ReceivedEvent::Exited(EXIT)),
        (5, CLOSED),
    ]
}

/// Adds a watcher with these events.
fn watched(events: &mut Vec<Event>, received: &[(u64, ReceivedEvent)]) {
    another(events, CallKind::Watch, received, CallResult::Complete);
}

#[test]
fn a_watcher_receives_the_whole_log_or_is_told_what_is_missing() {
    holds(|events| watched(events, &whole()));
    let gap = [(2, ReceivedEvent::Gap(2))];
    holds(|events| watched(events, &[&gap, &whole()[2..]].concat()));
    holds(|events| {
        let gap = (3, ReceivedEvent::Gap(3));
        watched(events, &[&[gap], &whole()[3..]].concat());
    });
    // Without the number of events that are missing, of the next one, or of a part of its output.
    breaks(Claim::OneLog, |events| {
        let gap = (2, ReceivedEvent::Gap(1));
        watched(events, &[&[gap], &whole()[2..]].concat());
    });
    breaks(Claim::OneLog, |events| {
        let gap = (1, ReceivedEvent::Gap(1));
        watched(events, &[&[gap], &whole()[2..]].concat());
    });
    breaks(Claim::GapFreePrefix, |events| {
        let mut log = whole();
        log[1].1 = output(0, 3);
        watched(events, &log);
    });
    breaks(Claim::GapFreePrefix, |events| {
        let end = [(3, output(4, 5)), (4, ReceivedEvent::Exited(EXIT)), (5, CLOSED)];
        watched(events, &[&gap, &end[..]].concat());
    });
    breaks(Claim::GapFreePrefix, |events| {
        let log = [
            (1, ReceivedEvent::Started),
            (2, output(4, 6)),
            (3, ReceivedEvent::Gap(1)),
            (4, output(0, 4)),
            (5, ReceivedEvent::Exited(EXIT)),
            (6, CLOSED),
        ];
        watched(events, &log);
    });
}

#[test]
fn an_event_that_differs_between_readers_and_an_exit_in_a_gap_are_found() {
    // Beside a watcher, a poller that is cut short.
    let beside = |events: &mut Vec<Event>, received: &[(u64, ReceivedEvent)]| {
        watched(events, &whole());
        let attempt = Attempt {
            run: RUN,
            number: 200,
        };
        events.push(Event::Called {
            attempt,
            caller: None,
            kind: CallKind::Poll,
        });
        let received = received.iter().cloned();
        events.extend(received.map(|(seq, event)| received_by(attempt, seq, event)));
        let end = CallResult::Failed("lost".into());
        events.push(Event::Ended { attempt, end });
    };
    holds(|events| beside(events, &whole()[..3]));
    holds(|events| beside(events, &[(3, ReceivedEvent::Gap(3))]));
    breaks(Claim::OneLog, |events| {
        beside(events, &[(1, ReceivedEvent::Started), (2, output(0, 3))])
    });
    breaks(Claim::OneLog, |events| {
        beside(
            events,
            &[(2, ReceivedEvent::Gap(2)), (3, ReceivedEvent::Exited(EXIT))],
        )
    });
    breaks(Claim::OneLog, |events| {
        beside(events, &[(4, ReceivedEvent::Gap(4))])
    });
}

#[test]
fn a_gap_in_the_output_of_a_process_that_blocks_for_its_only_reader_is_found() {
    let with_gap = |events: &mut Vec<Event>| replace(events, stdout(0, 4), received(ReceivedEvent::Gap(1)));
    breaks(Claim::OneExit, with_gap);
    let drops = CallKind::Run {
        stdin: Some(20),
        recovers: false,
        drops_output: true,
        grace: Duration::from_secs(60),
    };
    holds(|events| {
        with_gap(events);
        replace(events, called(STARTS), called(drops));
    });
    // The log of a process that has ended is kept for its grace.
    let brief = CallKind::Run {
        stdin: Some(20),
        recovers: true,
        drops_output: false,
        grace: Duration::ZERO,
    };
    holds(|events| {
        with_gap(events);
        replace(events, called(STARTS), called(brief));
    });
}

#[test]
fn a_waiter_receives_the_exit_and_nothing_else() {
    let exited = (4, ReceivedEvent::Exited(EXIT));
    let waits = |events: &mut Vec<Event>, received: &[(u64, ReceivedEvent)]| {
        another(events, CallKind::Wait, received, CallResult::Complete);
    };
    holds(|events| waits(events, std::slice::from_ref(&exited)));
    breaks(Claim::OneExit, |events| waits(events, &[]));
    breaks(Claim::OneExit, |events| {
        waits(events, &[(1, ReceivedEvent::Started), exited.clone()])
    });
}

#[test]
fn what_a_client_finds_against_the_protocol_is_found() {
    breaks(Claim::KeepsProtocol, |events| {
        fail(events);
        let end = CallResult::Failed("lost".into());
        replace(
            events,
            ended(end),
            ended(CallResult::Violated("an event is missing".into())),
        );
    });
}

/// Another call takes the lease after the first event, with its own signal after that of the first one.
fn taken_over(events: &mut Vec<Event>) {
    fail(events);
    let lost = CallResult::Failed("lost".into());
    replace(events, ended(lost), ended(CallResult::Superseded));
    let begin = [
        signalled(ATTEMPT),
        Event::Called {
            attempt: OTHER,
            caller: None,
            kind: CallKind::Attach { recovers: false },
        },
        received_by(OTHER, 0, ReceivedEvent::Attached),
        signalled(OTHER),
    ];
    let at = index(events, &read(0, 20));
    events.splice(at..at, begin);
    let end = whole()
        .into_iter()
        .map(|(seq, event)| received_by(OTHER, seq, event));
    let at = index(events, &ended(CallResult::Superseded));
    events.splice(at..at, end);
    let end = CallResult::Complete;
    before(
        events,
        Event::Gone { run: RUN },
        Event::Ended { attempt: OTHER, end },
    );
    events.push(own_record(Side::Client));
    events.push(own_record(Side::Server));
}

fn signalled(attempt: Attempt) -> Event {
    Event::Signalled {
        run: RUN,
        signal: insistent::signal_of(attempt).1,
    }
}

#[test]
fn an_effect_of_a_call_that_has_lost_its_lease_is_found() {
    holds(taken_over);
    let claim = Claim::OneOwner;
    // Without a signal of the new owner, only what it received shows that the lease was lost.
    breaks(claim, |events| {
        taken_over(events);
        replace(events, signalled(OTHER), signalled(ATTEMPT));
    });
    // Without the event that shows it, only the signals do.
    breaks(claim, |events| {
        taken_over(events);
        let attached = received_by(OTHER, 0, ReceivedEvent::Attached);
        remove(events, attached.clone());
        before(events, received_by(OTHER, 1, ReceivedEvent::Started), attached);
        before(events, read(0, 20), signalled(ATTEMPT));
    });
    breaks(claim, |events| {
        taken_over(events);
        let exit = |event| received(event);
        before(
            events,
            ended(CallResult::Superseded),
            exit(ReceivedEvent::Exited(EXIT)),
        );
        before(events, ended(CallResult::Superseded), exit(CLOSED));
        replace(events, ended(CallResult::Superseded), ended(CallResult::Complete));
    });
    breaks(claim, |events| {
        fail(events);
        let lost = CallResult::Failed("lost".into());
        replace(events, ended(lost), ended(CallResult::Superseded));
    });
}

/// Makes the process end by a signal.
fn kill(events: &mut Vec<Event>) {
    let killed = ExitStatus::Signal {
        signal: 9,
        core_dumped: false,
    };
    for event in events {
        match event {
            Event::Exited { status, .. } => *status = killed,
            Event::Received {
                received: ReceivedEvent::Exited(status),
                ..
            } => *status = killed,
            _ => {}
        }
    }
}

#[test]
fn a_process_that_was_killed_without_a_reason_is_found() {
    let claim = Claim::KilledForAReason;
    breaks(claim, kill);
    for end in [CallResult::GivenUp, CallResult::Failed("lost".into())] {
        holds(|events| {
            kill(events);
            replace(events, ended(CallResult::Complete), ended(end));
        });
    }
    // A call that has lost its lease is no reason, whatever its end is.
    breaks(claim, |events| {
        taken_over(events);
        kill(events);
    });
    breaks(claim, |events| {
        taken_over(events);
        kill(events);
        replace(events, ended(CallResult::Superseded), ended(CallResult::GivenUp));
    });
}

/// Starts the process detached; the last call collects it, with this end.
fn detached(events: &mut Vec<Event>, end: CallResult) {
    let start = called(STARTS);
    replace(events, start, called(CallKind::Detached));
    events.retain(|event| {
        !matches!(
            event,
            Event::Received { .. } | Event::Read { .. } | Event::ReadEnd { .. }
        )
    });
    let attempt = Attempt {
        run: RUN,
        number: COLLECTING,
    };
    events.push(Event::Called {
        attempt,
        caller: None,
        kind: CallKind::Attach { recovers: true },
    });
    if end == CallResult::Complete {
        events.push(received_by(attempt, 0, ReceivedEvent::Attached));
        events.extend(
            whole()
                .into_iter()
                .map(|(seq, event)| received_by(attempt, seq, event)),
        );
    }
    events.push(Event::Ended { attempt, end });
    events.push(own_record(Side::Client));
    events.push(own_record(Side::Server));
}

#[test]
fn a_detached_process_that_is_lost_or_killed_by_a_lost_session_is_found() {
    holds(|events| detached(events, CallResult::Complete));
    for end in [CallResult::Unknown, CallResult::Failed("lost".into())] {
        breaks(Claim::DetachedIsFound, |events| detached(events, end));
    }
    holds(|events| {
        detached(events, CallResult::Unknown);
        events.push(Event::ServerCrashed { epoch: EPOCH });
    });
    breaks(Claim::KilledForAReason, |events| {
        detached(events, CallResult::Complete);
        kill(events);
        replace(
            events,
            ended(CallResult::Complete),
            ended(CallResult::Failed("lost".into())),
        );
    });
    breaks(Claim::OneExit, |events| {
        detached(events, CallResult::Complete);
        before(events, Event::Gone { run: RUN }, received(ReceivedEvent::Started));
        remove(events, ended(CallResult::Complete));
        before(events, Event::Gone { run: RUN }, ended(CallResult::Complete));
    });
}

#[test]
fn a_call_that_begins_a_trace_is_recorded_once_and_without_the_process() {
    let claim = Claim::EverySpanClosed;
    let with = |events: &mut Vec<Event>| watched(events, &whole());
    breaks(claim, |events| {
        with(events);
        remove(events, own_record(Side::Client));
        remove(events, own_record(Side::Server));
    });
    breaks(claim, |events| {
        with(events);
        events.push(own_record(Side::Client));
    });
    breaks(claim, |events| {
        with(events);
        let Event::Recorded(mut record) = own_record(Side::Server) else {
            unreachable!()
        };
        record.process = Some(SpanId::from(9));
        replace(events, own_record(Side::Server), Event::Recorded(record));
    });
    breaks(Claim::OneTrace, |events| {
        with(events);
        let Event::Recorded(mut record) = own_record(Side::Server) else {
            unreachable!()
        };
        record.parent = None;
        replace(events, own_record(Side::Server), Event::Recorded(record));
    });
}

#[test]
fn an_exit_that_tells_another_trace_or_none_is_found() {
    let told = |trace: Option<u128>| Event::Told {
        attempt: ATTEMPT,
        trace: trace.map(TraceId::from),
    };
    holds(|events| before(events, ended(CallResult::Complete), told(Some(5))));
    breaks(Claim::OneTrace, |events| {
        before(events, ended(CallResult::Complete), told(Some(6)))
    });
    breaks(Claim::OneTrace, |events| {
        before(events, ended(CallResult::Complete), told(None))
    });
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
        record.process = None;
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
    for side in [Side::Client, Side::Server] {
        breaks(claim, |events| {
            let Event::Recorded(mut record) = recorded(side, 5) else {
                unreachable!()
            };
            record.process = Some(SpanId::from(10));
            replace(events, recorded(side, 5), Event::Recorded(record));
        });
    }
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
fn a_lost_command_and_an_unreachable_exec_server_of_a_fleet_are_found() {
    let of_fleet = |change: &dyn Fn(&mut Vec<Event>)| {
        let mut events = good();
        events.push(Event::Dialled {
            client: 0,
            server: 1,
            found: true,
        });
        change(&mut events);
        claims_of(events, check_fleet)
    };
    assert_eq!(of_fleet(&|_| {}), []);
    assert_eq!(of_fleet(&|events| fail(events)), [Claim::NoneLost]);
    let not_found = |events: &mut Vec<Event>| {
        events.push(Event::Dialled {
            client: 0,
            server: 2,
            found: false,
        });
    };
    assert_eq!(of_fleet(&not_found), [Claim::Reachable]);
    let without = |events: &mut Vec<Event>| drop(events.pop());
    assert_eq!(of_fleet(&without), [Claim::Reachable]);
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
