//! Checks a history: the claims that must hold whatever faults occurred.
//!
//! Each claim is a function from the whole history to its violations. The tests have a bad history for each claim, in
//! which that claim alone must find a violation.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use baton_core_client::ExitStatus;
use baton_trace::record::Side;
use baton_trace::stage::{self, exec};
use baton_trace::{SpanId, TraceId};

use crate::history::{
    Attempt, CallResult, Entry, Event, Output, Position, ReceivedEvent, Recorded, RunId, ServerEpoch,
    pattern, stream_of,
};

/// A claim that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) claim: Claim,
    pub(crate) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.claim, self.detail)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// A process id runs at most once, however often it is called and whatever crashes.
    AtMostOneRun,
    /// The output that a caller received is a prefix of what was written, and all of it if `Closed` reports no
    /// truncation.
    GapFreePrefix,
    /// A caller receives `Started`, `Output`, one `Exited` and `Closed`, in this order, with the exit status of the
    /// process.
    OneExit,
    /// A call whose start repeats another one is told so before all else, and no other call is.
    RepeatsAreTold,
    /// Each call ends once, and its caller receives no event after that.
    EveryCallEnds,
    /// What a process reads is a prefix of what was sent, and it sees the end of input only where the caller closed it.
    StdinIsWhole,
    /// No process outlives its call or the exec-server.
    NothingRunsOn,
    /// The client records each call once, and so does the exec-server that ran it. A component that crashed may omit
    /// it.
    EverySpanClosed,
    /// Caller, client, exec-server and process are in one trace, and each has the right parent span.
    OneTrace,
    /// When all faults have ended, a command of each client runs.
    Recovers,
    /// When all clients have ended, no process and no session is left.
    LeavesNothing,
}

/// Returns all violations.
pub(crate) fn check(entries: &[Entry]) -> Vec<Violation> {
    let facts = Facts::gather(entries);
    let mut violations = Vec::new();
    for (claim, check) in CHECKS {
        let details = check(&facts);
        violations.extend(details.into_iter().map(|detail| Violation {
            claim: *claim,
            detail,
        }));
    }
    violations
}

type Check = fn(&Facts<'_>) -> Vec<String>;

const CHECKS: &[(Claim, Check)] = &[
    (Claim::AtMostOneRun, at_most_one_run),
    (Claim::GapFreePrefix, gap_free_prefix),
    (Claim::OneExit, one_exit),
    (Claim::RepeatsAreTold, repeats_are_told),
    (Claim::EveryCallEnds, every_call_ends),
    (Claim::StdinIsWhole, stdin_is_whole),
    (Claim::NothingRunsOn, nothing_runs_on),
    (Claim::EverySpanClosed, every_span_closed),
    (Claim::OneTrace, one_trace),
    (Claim::Recovers, recovers),
    (Claim::LeavesNothing, leaves_nothing),
];

/// A history, grouped by call, process and trace.
#[derive(Default)]
struct Facts<'a> {
    calls: BTreeMap<Attempt, Call<'a>>,
    runs: BTreeMap<RunId, Run<'a>>,
    crashed: HashSet<ServerEpoch>,
    records: HashMap<TraceId, Vec<&'a Recorded>>,
    recovered: Vec<(usize, bool)>,
    settled: Option<(usize, u64, u64)>,
}

#[derive(Default)]
struct Call<'a> {
    caller: Option<Position>,
    stdin: Option<usize>,
    received: Vec<&'a ReceivedEvent>,
    ends: Vec<&'a CallResult>,
    received_after_end: usize,
}

#[derive(Default)]
struct Run<'a> {
    spawns: Vec<Spawn>,
    written: BTreeMap<Output, usize>,
    read: Vec<u8>,
    read_ends: Vec<usize>,
    exits: Vec<&'a ExitStatus>,
    gone: usize,
}

struct Spawn {
    process: baton_proto::ProcessId,
    epoch: ServerEpoch,
    position: Option<Position>,
}

impl<'a> Facts<'a> {
    fn gather(entries: &'a [Entry]) -> Self {
        let mut facts = Self::default();
        for entry in entries {
            facts.add(&entry.event);
        }
        facts
    }

    fn add(&mut self, event: &'a Event) {
        match event {
            Event::Fault(_) | Event::Notice(_) | Event::FaultsEnded => {}
            Event::Called {
                attempt,
                caller,
                stdin,
            } => {
                let call = self.calls.entry(*attempt).or_default();
                call.caller = Some(*caller);
                call.stdin = *stdin;
            }
            Event::Received { attempt, received } => {
                let call = self.calls.entry(*attempt).or_default();
                call.received_after_end += usize::from(!call.ends.is_empty());
                call.received.push(received);
            }
            Event::Ended { attempt, end } => self.calls.entry(*attempt).or_default().ends.push(end),
            Event::Spawned {
                run,
                process,
                epoch,
                position,
            } => self.run(*run).spawns.push(Spawn {
                process: *process,
                epoch: *epoch,
                position: *position,
            }),
            Event::Wrote { run, output, bytes } => {
                *self.run(*run).written.entry(*output).or_default() += bytes
            }
            Event::Read { run, data } => self.run(*run).read.extend_from_slice(data),
            Event::ReadEnd { run } => {
                let run = self.run(*run);
                run.read_ends.push(run.read.len());
            }
            Event::Exited { run, status } => self.run(*run).exits.push(status),
            Event::Gone { run } => self.run(*run).gone += 1,
            Event::ServerCrashed { epoch } => {
                self.crashed.insert(*epoch);
            }
            Event::Recorded(recorded) => self.records.entry(recorded.trace).or_default().push(recorded),
            Event::Recovered { client, ran } => self.recovered.push((*client, *ran)),
            Event::Settled {
                processes,
                sessions,
                registrations,
            } => self.settled = Some((*processes, *sessions, *registrations)),
        }
    }

    fn run(&mut self, run: RunId) -> &mut Run<'a> {
        self.runs.entry(run).or_default()
    }

    /// The call whose trace a process is in.
    fn call_of(&self, run: RunId, spawn: &Spawn) -> Option<(Attempt, &Call<'a>)> {
        let trace = spawn.position?.trace;
        let mut calls = self.calls.iter().filter(|(attempt, _)| attempt.run == run);
        calls
            .find(|(_, call)| call.caller.is_some_and(|caller| caller.trace == trace))
            .map(|(attempt, call)| (*attempt, call))
    }

    /// Whether the process was started for another call with the same process id. Then this call receives only its end.
    fn repeats(&self, attempt: Attempt) -> bool {
        let spawns = self.runs.get(&attempt.run).map_or(&[][..], |run| &run.spawns[..]);
        let mut made_for = spawns.iter().filter_map(|spawn| self.call_of(attempt.run, spawn));
        made_for.any(|(other, _)| other != attempt)
    }

    fn records_of(&self, call: &Call<'_>, side: Side) -> Vec<&'a Recorded> {
        let trace = call.caller.map(|caller| caller.trace);
        let records = trace.and_then(|trace| self.records.get(&trace));
        let records = records.map_or(&[][..], |records| &records[..]);
        records
            .iter()
            .copied()
            .filter(|record| record.side == side)
            .collect()
    }
}

fn at_most_one_run(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    let mut processes = HashMap::new();
    for (run, Run { spawns, .. }) in &facts.runs {
        if spawns.len() > 1 {
            details.push(format!("run {} was spawned {} times", run.0, spawns.len()));
        }
        for spawn in spawns {
            if let Some(other) = processes.insert(spawn.process, run)
                && other != run
            {
                details.push(format!("runs {} and {} have one process id", run.0, other.0));
            }
        }
    }
    details
}

fn gap_free_prefix(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        for output in [Output::Stdout, Output::Stderr] {
            let chunks = call.received.iter().filter_map(|received| match received {
                ReceivedEvent::Output(of, data) if *of == output => Some(&data[..]),
                _ => None,
            });
            let received: Vec<u8> = chunks.flatten().copied().collect();
            let expected = pattern(attempt.run, stream_of(output), 0, received.len());
            if let Some(offset) = (0..received.len()).find(|&i| received[i] != expected[i]) {
                details.push(format!(
                    "{attempt:?}: {output:?} differs from what was written at byte {offset}"
                ));
                continue;
            }
            let run = facts.runs.get(&attempt.run);
            let written = run.and_then(|run| run.written.get(&output)).copied().unwrap_or(0);
            if received.len() > written {
                details.push(format!(
                    "{attempt:?}: {} bytes of {output:?}, {written} were written",
                    received.len()
                ));
            }
            let all = call
                .received
                .contains(&&ReceivedEvent::Closed { truncated: false });
            if all && !facts.repeats(*attempt) && received.len() != written {
                details.push(format!(
                    "{attempt:?}: closed after {} bytes of {output:?}, {written} were written",
                    received.len()
                ));
            }
        }
    }
    details
}

fn one_exit(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        let is_of_process = |received: &&&ReceivedEvent| ***received != ReceivedEvent::Repeated;
        let mut received = call.received.iter().filter(is_of_process);
        let mut bad = |what: &str| details.push(format!("{attempt:?}: {what}: {:?}", call.received));
        if facts.repeats(*attempt) {
            if call
                .received
                .iter()
                .any(|received| matches!(received, ReceivedEvent::Started | ReceivedEvent::Output(..)))
            {
                bad("it received more than the end of another call's process");
            }
        } else if !matches!(received.next(), None | Some(ReceivedEvent::Started)) {
            bad("an event precedes Started");
        }
        let (mut exits, mut closed) = (Vec::new(), false);
        for received in received {
            if closed {
                bad("an event follows Closed");
                break;
            }
            match received {
                ReceivedEvent::Started => bad("Started is repeated"),
                ReceivedEvent::Output(..) => {}
                ReceivedEvent::Exited(status) => exits.push(status),
                ReceivedEvent::Closed { .. } => closed = true,
                ReceivedEvent::Repeated => {}
                // No simulated command writes more than an exec-server keeps.
                ReceivedEvent::Gap(_) => bad("events are missing"),
            }
        }
        if exits.len() > 1 {
            bad("several exits");
        }
        if closed && exits.is_empty() {
            bad("Closed without an exit");
        }
        if call.ends.contains(&&CallResult::Complete) && !closed {
            bad("it completed without Closed");
        }
        let own = facts.runs.get(&attempt.run).map_or(&[][..], |run| &run.exits[..]);
        if let Some(exit) = exits.first()
            && !own.contains(exit)
        {
            bad(&format!("the process exited with {own:?}"));
        }
        if !call.received.is_empty()
            && facts
                .runs
                .get(&attempt.run)
                .is_none_or(|run| run.spawns.is_empty())
        {
            bad("no process was spawned");
        }
    }
    for (run, Run { exits, .. }) in &facts.runs {
        if exits.len() > 1 {
            details.push(format!("run {} exited {} times", run.0, exits.len()));
        }
    }
    details
}

fn repeats_are_told(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        let is_told = |received: &&&ReceivedEvent| ***received == ReceivedEvent::Repeated;
        let told = call.received.iter().filter(is_told).count();
        let is_first = call.received.first() == Some(&&ReceivedEvent::Repeated);
        let holds = match facts.repeats(*attempt) && !call.received.is_empty() {
            true => told == 1 && is_first,
            false => told == 0,
        };
        if !holds {
            details.push(format!(
                "{attempt:?}: told {told} times of a repeat: {:?}",
                call.received
            ));
        }
    }
    details
}

fn every_call_ends(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        if call.caller.is_none() {
            details.push(format!("{attempt:?} has events, but was not called"));
        }
        if call.ends.len() != 1 {
            details.push(format!(
                "{attempt:?} ended {} times: {:?}",
                call.ends.len(),
                call.ends
            ));
        }
        if call.received_after_end > 0 {
            details.push(format!(
                "{attempt:?} received {} events after its end",
                call.received_after_end
            ));
        }
    }
    details
}

fn stdin_is_whole(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (run, of) in &facts.runs {
        if of.read != pattern(*run, 0, 0, of.read.len()) {
            details.push(format!("run {} read other bytes than were sent", run.0));
        }
        // Without standard input the end is at offset 0.
        let sent = facts.calls.iter().find(|(attempt, _)| attempt.run == *run);
        let sent = sent.map_or(0, |(_, call)| call.stdin.unwrap_or(0));
        for &end in &of.read_ends {
            if end != sent {
                details.push(format!(
                    "run {} read the end of input after {end} of {sent} bytes",
                    run.0
                ));
            }
        }
    }
    details
}

fn nothing_runs_on(facts: &Facts<'_>) -> Vec<String> {
    let left = facts.runs.iter().filter(|(_, run)| run.gone < run.spawns.len());
    left.map(|(run, _)| format!("run {} was not reaped", run.0))
        .collect()
}

fn every_span_closed(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        let records = facts.records_of(call, Side::Client);
        let crashed = call.ends.contains(&&CallResult::Crashed);
        if records.len() > 1 || (records.is_empty() && !crashed) {
            details.push(format!(
                "{attempt:?} was recorded {} times by its client",
                records.len()
            ));
        }
        for side in [Side::Client, Side::Server] {
            for record in facts.records_of(call, side) {
                if !record.misplaced.is_empty() {
                    details.push(format!(
                        "{attempt:?}: {side:?} recorded stages outside their bounds: {:?}",
                        record.misplaced
                    ));
                }
            }
        }
    }
    for (run, of) in &facts.runs {
        for spawn in &of.spawns {
            let Some((attempt, call)) = facts.call_of(*run, spawn) else {
                continue;
            };
            let records = facts.records_of(call, Side::Server);
            // A call that attaches to the process again is recorded without it.
            let times = records.iter().filter(|record| record.has_process).count();
            let crashed = facts.crashed.contains(&spawn.epoch);
            if times > 1 || (times == 0 && !crashed) {
                details.push(format!(
                    "{attempt:?}: its process was recorded {times} times by the server that ran it"
                ));
            }
            let calls: HashSet<_> = records.iter().map(|record| record.envelope).collect();
            if calls.len() < records.len() {
                details.push(format!("{attempt:?}: a call was recorded twice by the server"));
            }
        }
    }
    details
}

fn one_trace(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    let mut known = HashSet::new();
    for (attempt, call) in &facts.calls {
        let Some(caller) = call.caller else { continue };
        known.insert(caller.trace);
        let clients = facts.records_of(call, Side::Client);
        for record in &clients {
            if record.parent != Some(caller.span) {
                details.push(format!(
                    "{attempt:?}: the parent of the client's span is {:?}",
                    record.parent
                ));
            }
        }
        // A client that crashed may not have recorded its span.
        let Some(envelope) = clients.first().map(|record| record.envelope) else {
            continue;
        };
        let servers = facts.records_of(call, Side::Server);
        for record in &servers {
            if record.parent != Some(envelope) {
                details.push(format!(
                    "{attempt:?}: the server's spans have another call as parent"
                ));
            }
        }
        // A start that is repeated after the loss of its session is a call of its own in the same envelope.
        let mut ids = vec![envelope];
        ids.extend(servers.iter().map(|record| record.envelope));
        for spawn in facts.runs.get(&attempt.run).iter().flat_map(|run| &run.spawns) {
            let is_of = |id: &SpanId, span: SpanId| span == childs_parent(caller.trace, *id);
            if let Some(position) = spawn.position
                && position.trace == caller.trace
                && !ids.iter().any(|id| is_of(id, position.span))
            {
                details.push(format!("{attempt:?}: the process got another span as parent"));
            }
        }
    }
    for (run, of) in &facts.runs {
        for spawn in &of.spawns {
            if facts.call_of(*run, spawn).is_none() {
                details.push(format!("run {} got a trace that is not its caller's", run.0));
            }
        }
    }
    for trace in facts.records.keys() {
        if !known.contains(trace) {
            details.push(format!("trace {trace} belongs to no caller"));
        }
    }
    details
}

/// The parent span that the process of a call gets, derived as the exec-server does it. It is the `process.wait` span,
/// because the exec-server exports here and all traces are sampled.
pub(crate) fn childs_parent(trace: TraceId, envelope: SpanId) -> SpanId {
    stage::span_id(trace, envelope, exec::PROCESS_WAIT, 0)
}

fn recovers(facts: &Facts<'_>) -> Vec<String> {
    if facts.recovered.is_empty() {
        return vec!["no client tried to recover".into()];
    }
    let lost = facts.recovered.iter().filter(|(_, ran)| !ran);
    lost.map(|(client, _)| format!("client {client} did not recover"))
        .collect()
}

fn leaves_nothing(facts: &Facts<'_>) -> Vec<String> {
    match facts.settled {
        Some((0, 0, 1)) => Vec::new(),
        Some((processes, sessions, registrations)) => vec![format!(
            "{processes} processes, {sessions} sessions and {registrations} registrations are left; expected 0, 0 and 1"
        )],
        None => vec!["the history has no Settled event".into()],
    }
}

#[cfg(test)]
mod tests;
