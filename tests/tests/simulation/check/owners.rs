//! The claims about the lease of a process, and about what ends it.

use baton_core_client::ExitStatus;

use super::facts::{Call, Facts};
use crate::companion::COLLECTING;
use crate::history::{Attempt, CallKind, CallResult};
use crate::insistent;

pub(super) fn one_owner(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (run, of) in &facts.runs {
        let mut owners: Vec<Attempt> = Vec::new();
        for (index, signal) in &of.signalled {
            let mut callers = facts.calls_of(*run).map(|(attempt, _)| attempt);
            let Some(sender) = callers.find(|attempt| insistent::signal_of(*attempt).1 == *signal) else {
                details.push(format!("run {} got signal {signal}, which nobody sends", run.0));
                continue;
            };
            if owners.last() != Some(&sender) {
                if owners.contains(&sender) {
                    details.push(format!("{sender:?} sent a signal after others did: {owners:?}"));
                }
                owners.push(sender);
            }
            if facts.superseded(sender).is_some_and(|at| at < *index) {
                details.push(format!("{sender:?} sent a signal without the lease"));
            }
        }
    }
    for (attempt, call) in &facts.calls {
        let exited = facts.runs.get(&attempt.run).and_then(|run| run.exited);
        if let (Some(superseded), Some(exited)) = (facts.superseded(*attempt), exited)
            && superseded < exited
            && call.ends.contains(&&CallResult::Complete)
        {
            details.push(format!("{attempt:?} received the exit without the lease"));
        }
        let is_rival = |(other, rival): (Attempt, &Call<'_>)| {
            other != *attempt
                && matches!(rival.kind, Some(CallKind::Attach { .. }))
                && call.ended.is_some_and(|ended| rival.called < ended)
        };
        if call.ends.contains(&&CallResult::Superseded) && !facts.calls_of(attempt.run).any(is_rival) {
            details.push(format!("{attempt:?} has lost its lease to nobody"));
        }
    }
    details
}

pub(super) fn killed_for_a_reason(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (run, of) in &facts.runs {
        let is_killed = |exit: &&&ExitStatus| matches!(exit, ExitStatus::Signal { .. });
        let Some(exit) = of.exits.iter().find(is_killed) else {
            continue;
        };
        let is_detached = facts
            .calls_of(*run)
            .any(|(_, call)| call.kind == Some(CallKind::Detached));
        let is_reason = |(attempt, call): (Attempt, &Call<'_>)| {
            let may_own = call
                .kind
                .is_some_and(|kind| kind.may_own() || is_detached && kind == CallKind::Detached);
            let has_lost_lease = facts
                .superseded(attempt)
                .is_some_and(|at| call.ended.is_some_and(|ended| at < ended));
            let has_ended_it = call.ends.iter().any(|end| match end {
                CallResult::GivenUp | CallResult::Violated(_) => true,
                CallResult::Failed(_) | CallResult::Crashed => !is_detached,
                CallResult::Complete
                | CallResult::Superseded
                | CallResult::Unknown
                | CallResult::Unreached(_) => false,
            });
            may_own && !has_lost_lease && (has_ended_it || call.lost_sessions > 0 && !is_detached)
        };
        if !facts.calls_of(*run).any(is_reason) {
            details.push(format!(
                "run {} ended with {exit:?}, and nobody has given it up",
                run.0
            ));
        }
    }
    details
}

pub(super) fn detached_is_found(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        if call.kind != Some(CallKind::Detached) {
            continue;
        }
        let run = facts.runs.get(&attempt.run);
        let spawns = run.map_or(&[][..], |run| &run.spawns[..]);
        let may_be_unknown = spawns.iter().all(|spawn| facts.crashed.contains(&spawn.epoch));
        let collecting = facts
            .calls_of(attempt.run)
            .filter(|(attempt, _)| attempt.number >= COLLECTING);
        let end = collecting.last().and_then(|(_, call)| call.ends.last().copied());
        let is_found = match end {
            Some(CallResult::Complete) => true,
            Some(CallResult::Unknown) => may_be_unknown,
            _ => false,
        };
        if !is_found {
            details.push(format!(
                "{attempt:?}: the last call that attached to its process: {end:?}"
            ));
        }
    }
    details
}
