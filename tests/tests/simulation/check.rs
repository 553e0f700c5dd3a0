//! Checks a history: the claims that must hold whatever faults occurred.
//!
//! Each claim is a function from the whole history to its violations. `facts` groups the history; `readers`, `owners`
//! and `traces` have the claims about what is received, about leases, and about call records. The tests have a bad
//! history for each claim, in which that claim alone must find a violation.

use std::collections::HashMap;
use std::fmt;

use self::facts::{Facts, Run};
use self::owners::{detached_is_found, killed_for_a_reason, one_owner};
use self::readers::{gap_free_prefix, one_exit, one_log, repeats_are_told};
use self::traces::{every_span_closed, one_trace};
use crate::history::{CallKind, CallResult, Entry, pattern};

mod facts;
mod owners;
mod readers;
mod traces;

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
    /// The output that a reader received is a prefix of what was written, and all of it if `Closed` reports no
    /// truncation. Output is missing only at a gap.
    GapFreePrefix,
    /// A reader receives `Started`, `Output`, one `Exited` and `Closed`, in this order, with the exit status of the
    /// process. Only one that drops output, shares the process or comes later has gaps.
    OneExit,
    /// An event has the same number for every reader. A reader receives the numbers without an omission: a gap names
    /// those that are missing, and no exit and no end is among them.
    OneLog,
    /// No client finds that the exec-server violates the protocol.
    KeepsProtocol,
    /// One call at a time has the lease of a process. The requests and the end of a call that has lost it have no
    /// effect, and that call receives no later event.
    OneOwner,
    /// A process is killed only because its owner has given it up, or was away for longer than its grace. A detached
    /// process outlives every session.
    KilledForAReason,
    /// When all faults have ended, a detached process is found, unless its exec-server has crashed.
    DetachedIsFound,
    /// A call whose start repeats another one is told so before all else, and no other call is.
    RepeatsAreTold,
    /// Each call ends once, and its caller receives no event after that.
    EveryCallEnds,
    /// What a process reads is a prefix of what was sent, and it sees the end of input only where the caller closed it.
    StdinIsWhole,
    /// No process outlives its call or the exec-server.
    NothingRunsOn,
    /// The client records each call once, and so does the exec-server that ran it. A component that crashed may omit
    /// it. The process is recorded once, whatever number of calls it has.
    EverySpanClosed,
    /// Caller, client, exec-server and process are in one trace, and each has the right parent span. Every reader is
    /// told this trace with the exit.
    OneTrace,
    /// When all faults have ended, a command of each client runs.
    Recovers,
    /// Every command that was started is received to its end, whatever happened to relays. Checked for a fleet.
    NoneLost,
    /// When every relay is known again, every exec-server is reachable. Checked for a fleet.
    Reachable,
    /// When all clients have ended, no process and no session is left.
    LeavesNothing,
}

/// Returns all violations in a simulation of one relay.
pub(crate) fn check(entries: &[Entry]) -> Vec<Violation> {
    check_claims(entries, CHECKS_OF_COMMANDS.iter().chain(CHECKS_OF_ONE_RELAY))
}

/// Returns all violations in a simulation of a fleet.
pub(crate) fn check_fleet(entries: &[Entry]) -> Vec<Violation> {
    check_claims(entries, CHECKS_OF_COMMANDS.iter().chain(CHECKS_OF_A_FLEET))
}

fn check_claims<'a>(entries: &[Entry], checks: impl Iterator<Item = &'a (Claim, Check)>) -> Vec<Violation> {
    let facts = Facts::gather(entries);
    let mut violations = Vec::new();
    for (claim, check) in checks {
        let details = check(&facts);
        violations.extend(details.into_iter().map(|detail| Violation {
            claim: *claim,
            detail,
        }));
    }
    violations
}

type Check = fn(&Facts<'_>) -> Vec<String>;

const CHECKS_OF_COMMANDS: &[(Claim, Check)] = &[
    (Claim::AtMostOneRun, at_most_one_run),
    (Claim::GapFreePrefix, gap_free_prefix),
    (Claim::OneExit, one_exit),
    (Claim::OneLog, one_log),
    (Claim::KeepsProtocol, keeps_protocol),
    (Claim::OneOwner, one_owner),
    (Claim::KilledForAReason, killed_for_a_reason),
    (Claim::RepeatsAreTold, repeats_are_told),
    (Claim::EveryCallEnds, every_call_ends),
    (Claim::StdinIsWhole, stdin_is_whole),
    (Claim::NothingRunsOn, nothing_runs_on),
    (Claim::EverySpanClosed, every_span_closed),
    (Claim::OneTrace, one_trace),
];

const CHECKS_OF_ONE_RELAY: &[(Claim, Check)] = &[
    (Claim::DetachedIsFound, detached_is_found),
    (Claim::Recovers, recovers),
    (Claim::LeavesNothing, leaves_nothing),
];

const CHECKS_OF_A_FLEET: &[(Claim, Check)] = &[(Claim::NoneLost, none_lost), (Claim::Reachable, reachable)];

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

fn keeps_protocol(facts: &Facts<'_>) -> Vec<String> {
    let ends = facts
        .calls
        .iter()
        .flat_map(|(attempt, call)| call.ends.iter().map(move |end| (attempt, end)));
    ends.filter_map(|(attempt, end)| match end {
        CallResult::Violated(why) => Some(format!("{attempt:?}: {why}")),
        _ => None,
    })
    .collect()
}

fn every_call_ends(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        if call.kind.is_none() {
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
        let sent = facts.calls_of(*run).find_map(|(_, call)| match call.kind {
            Some(CallKind::Run { stdin, .. }) => stdin,
            _ => None,
        });
        let sent = sent.unwrap_or(0);
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

fn recovers(facts: &Facts<'_>) -> Vec<String> {
    if facts.recovered.is_empty() {
        return vec!["no client tried to recover".into()];
    }
    let lost = facts.recovered.iter().filter(|(_, ran)| !ran);
    lost.map(|(client, _)| format!("client {client} did not recover"))
        .collect()
}

fn none_lost(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (run, of) in &facts.runs {
        let mut calls = facts.calls_of(*run);
        if !of.spawns.is_empty() && !calls.any(|(_, call)| call.ends.contains(&&CallResult::Complete)) {
            let ends: Vec<_> = facts.calls_of(*run).map(|(_, call)| &call.ends).collect();
            details.push(format!(
                "run {} was started, and its calls ended with {ends:?}",
                run.0
            ));
        }
    }
    details
}

fn reachable(facts: &Facts<'_>) -> Vec<String> {
    if facts.dialled.is_empty() {
        return vec!["no client dialled at the end".into()];
    }
    let lost = facts.dialled.iter().filter(|(.., found)| !found);
    lost.map(|(client, server, _)| format!("client {client} did not reach exec-server {server}"))
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
