//! The claims about call records and their traces.

use std::collections::HashSet;

use baton_trace::record::Side;
use baton_trace::stage::{self, exec};
use baton_trace::{SpanId, TraceId};

use super::facts::Facts;
use crate::history::{CallKind, CallResult, Recorded};

pub(super) fn every_span_closed(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        if call.caller.is_none() {
            continue;
        }
        let records = facts.records_of(call, Side::Client);
        let crashed = call.ends.contains(&&CallResult::Crashed);
        let is_one = records.len() <= 1 || call.kind == Some(CallKind::Poll);
        // For these the library looks at what the exec-server supports, and may find no session.
        let looks_first = matches!(
            call.kind,
            Some(
                CallKind::Detached
                    | CallKind::Run {
                        drops_output: true,
                        ..
                    }
            )
        );
        let made_no_call = |end: &&CallResult| matches!(end, CallResult::GivenUp | CallResult::Unreached(_));
        let may_be_none = crashed || looks_first && call.ends.iter().any(made_no_call);
        if !is_one || (records.is_empty() && !may_be_none) {
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
            let times = records.iter().filter(|record| record.process.is_some()).count();
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
    if facts.calls.values().all(|call| call.caller.is_some()) {
        return details;
    }
    let own: Vec<_> = facts.own_traces().collect();
    for (trace, records) in &own {
        let clients = records.iter().filter(|record| record.side == Side::Client);
        if clients.count() > 1 {
            details.push(format!("trace {trace}: its client recorded it more than once"));
        }
        if records
            .iter()
            .any(|record| record.side == Side::Server && record.process.is_some())
        {
            details.push(format!("trace {trace}: a call that reads a process recorded it"));
        }
        for record in records.iter().filter(|record| !record.misplaced.is_empty()) {
            details.push(format!(
                "trace {trace}: stages outside their bounds: {:?}",
                record.misplaced
            ));
        }
    }
    let has_client = |records: &[&Recorded]| records.iter().any(|record| record.side == Side::Client);
    let recorded = own.iter().filter(|(_, records)| has_client(records)).count();
    // A call that waits may find no session, and then makes no call.
    let begun = facts.calls.values().filter(|call| {
        let is_recorded = matches!(call.kind, Some(CallKind::Attach { .. } | CallKind::Watch));
        is_recorded && call.caller.is_none() && !call.ends.contains(&&CallResult::Crashed)
    });
    let begun = begun.count();
    if recorded < begun {
        details.push(format!(
            "{recorded} traces of calls that begin one, which were {begun}"
        ));
    }
    details
}

pub(super) fn one_trace(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        let Some(caller) = call.caller else { continue };
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
            // Each poll has a span of its own.
            if !clients
                .iter()
                .any(|client| record.parent == Some(client.envelope))
            {
                details.push(format!(
                    "{attempt:?}: the server's spans have another call as parent"
                ));
            }
        }
        let processes: Vec<_> = servers.iter().filter_map(|record| record.process).collect();
        let is_same = |process: SpanId| processes.is_empty() || processes.contains(&process);
        if !clients.iter().filter_map(|record| record.process).all(is_same) {
            details.push(format!(
                "{attempt:?}: the client's span of the process is not the server's"
            ));
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
    let may_begin = facts.calls.values().any(|call| call.caller.is_none());
    for (trace, records) in facts.own_traces() {
        if !may_begin {
            details.push(format!("trace {trace} belongs to no caller"));
            continue;
        }
        let client = records.iter().find(|record| record.side == Side::Client);
        for record in records.iter() {
            let parent = match record.side {
                Side::Client => None,
                Side::Server => client.map(|client| client.envelope),
            };
            // A client that crashed may not have recorded its span.
            if client.is_some() && record.parent != parent {
                details.push(format!(
                    "trace {trace}: the parent of {record:?} is not {parent:?}"
                ));
            }
        }
    }
    for (attempt, call) in &facts.calls {
        let spawns = facts
            .runs
            .get(&attempt.run)
            .map_or(&[][..], |run| &run.spawns[..]);
        let traces: Vec<_> = spawns
            .iter()
            .filter_map(|spawn| Some(spawn.position?.trace))
            .collect();
        for told in &call.told {
            if !told.is_some_and(|told| traces.contains(&told)) {
                details.push(format!(
                    "{attempt:?}: the exit tells {told:?}, and the process has {traces:?}"
                ));
            }
        }
    }
    details
}

/// The parent span that the process of a call gets, derived as the exec-server does it. It is the `process.wait` span,
/// because the exec-server exports here and all traces are sampled.
pub(crate) fn childs_parent(trace: TraceId, envelope: SpanId) -> SpanId {
    stage::span_id(trace, envelope, exec::PROCESS_WAIT, 0)
}
