//! A history, grouped by call, process and trace.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use baton_core_client::ExitStatus;
use baton_trace::TraceId;
use baton_trace::record::Side;

use crate::history::{
    Attempt, CallKind, CallResult, Entry, Event, Output, Position, ReceivedEvent, Recorded, RunId,
    ServerEpoch,
};

/// See the [module](self).
#[derive(Default)]
pub(super) struct Facts<'a> {
    pub(super) calls: BTreeMap<Attempt, Call<'a>>,
    pub(super) runs: BTreeMap<RunId, Run<'a>>,
    pub(super) crashed: HashSet<ServerEpoch>,
    pub(super) records: HashMap<TraceId, Vec<&'a Recorded>>,
    pub(super) recovered: Vec<(usize, bool)>,
    /// Client, exec-server, and whether it was found.
    pub(super) dialled: Vec<(usize, usize, bool)>,
    pub(super) settled: Option<(usize, u64, u64)>,
}

/// Times are indexes into the history.
#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) caller: Option<Position>,
    pub(super) kind: Option<CallKind>,
    pub(super) called: usize,
    pub(super) received: Vec<&'a ReceivedEvent>,
    /// The number of each event that was received.
    pub(super) numbers: Vec<u64>,
    /// When the first event was received. A call that may own the process has the lease by then.
    pub(super) had_lease: Option<usize>,
    /// When `Attached` was received.
    pub(super) attached: Option<usize>,
    /// The virtual time of the first gap.
    pub(super) first_gap: Option<Duration>,
    pub(super) told: Vec<Option<TraceId>>,
    pub(super) lost_sessions: usize,
    pub(super) ends: Vec<&'a CallResult>,
    pub(super) ended: Option<usize>,
    pub(super) received_after_end: usize,
}

/// Times are indexes into the history.
#[derive(Default)]
pub(super) struct Run<'a> {
    pub(super) spawns: Vec<Spawn>,
    pub(super) written: BTreeMap<Output, usize>,
    pub(super) read: Vec<u8>,
    pub(super) read_ends: Vec<usize>,
    /// Signals that do not end the process, and when they were sent.
    pub(super) signalled: Vec<(usize, i32)>,
    pub(super) exits: Vec<&'a ExitStatus>,
    pub(super) exited: Option<usize>,
    /// The same, in virtual time.
    pub(super) exited_at: Option<Duration>,
    pub(super) gone: usize,
}

pub(super) struct Spawn {
    pub(super) process: baton_proto::ProcessId,
    pub(super) epoch: ServerEpoch,
    pub(super) position: Option<Position>,
}

impl<'a> Facts<'a> {
    pub(super) fn gather(entries: &'a [Entry]) -> Self {
        let mut facts = Self::default();
        for (index, entry) in entries.iter().enumerate() {
            facts.add(index, entry.at, &entry.event);
        }
        facts
    }

    fn add(&mut self, index: usize, at: Duration, event: &'a Event) {
        match event {
            Event::Fault(_) | Event::Notice(_) | Event::FaultsEnded => {}
            Event::Called {
                attempt,
                caller,
                kind,
            } => {
                let call = self.calls.entry(*attempt).or_default();
                (call.caller, call.kind, call.called) = (*caller, Some(*kind), index);
            }
            Event::Received {
                attempt,
                seq,
                received,
            } => {
                let call = self.calls.entry(*attempt).or_default();
                call.received_after_end += usize::from(!call.ends.is_empty());
                call.received.push(received);
                call.numbers.push(*seq);
                call.had_lease.get_or_insert(index);
                if *received == ReceivedEvent::Attached {
                    call.attached.get_or_insert(index);
                }
                if matches!(received, ReceivedEvent::Gap(_)) {
                    call.first_gap.get_or_insert(at);
                }
            }
            Event::Told { attempt, trace } => self.calls.entry(*attempt).or_default().told.push(*trace),
            Event::SessionLost { attempt } => self.calls.entry(*attempt).or_default().lost_sessions += 1,
            Event::Ended { attempt, end } => {
                let call = self.calls.entry(*attempt).or_default();
                call.ends.push(end);
                call.ended.get_or_insert(index);
            }
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
            Event::Signalled { run, signal } => self.run(*run).signalled.push((index, *signal)),
            Event::Exited { run, status } => {
                let run = self.run(*run);
                run.exits.push(status);
                run.exited.get_or_insert(index);
                run.exited_at.get_or_insert(at);
            }
            Event::Gone { run } => self.run(*run).gone += 1,
            Event::ServerCrashed { epoch } => {
                self.crashed.insert(*epoch);
            }
            Event::Recorded(recorded) => self.records.entry(recorded.trace).or_default().push(recorded),
            Event::Recovered { client, ran } => self.recovered.push((*client, *ran)),
            Event::Dialled {
                client,
                server,
                found,
            } => self.dialled.push((*client, *server, *found)),
            Event::Settled {
                processes,
                sessions,
                registrations,
            } => self.settled = Some((*processes, *sessions, *registrations)),
        }
    }

    pub(super) fn run(&mut self, run: RunId) -> &mut Run<'a> {
        self.runs.entry(run).or_default()
    }

    /// The call whose trace a process is in.
    pub(super) fn call_of(&self, run: RunId, spawn: &Spawn) -> Option<(Attempt, &Call<'a>)> {
        let trace = spawn.position?.trace;
        let mut calls = self.calls.iter().filter(|(attempt, _)| attempt.run == run);
        calls
            .find(|(_, call)| call.caller.is_some_and(|caller| caller.trace == trace))
            .map(|(attempt, call)| (*attempt, call))
    }

    pub(super) fn calls_of(&self, run: RunId) -> impl Iterator<Item = (Attempt, &Call<'a>)> {
        let calls = self.calls.iter().filter(move |(attempt, _)| attempt.run == run);
        calls.map(|(attempt, call)| (*attempt, call))
    }

    /// When a call that does not recover had lost its lease for certain: another call, made after this one had the
    /// lease, has it.
    pub(super) fn superseded(&self, attempt: Attempt) -> Option<usize> {
        let call = self.calls.get(&attempt)?;
        let had_lease = call.had_lease?;
        let rivals = self
            .calls_of(attempt.run)
            .filter(|(other, rival)| *other != attempt && rival.called > had_lease);
        let kind = call.kind?;
        match kind.may_own() && !kind.recovers() {
            true => rivals.filter_map(|(_, rival)| rival.attached).min(),
            false => None,
        }
    }

    /// Whether output may be missing for the reader: it drops output, other calls share the process, the process has
    /// ended longer ago than its log is kept, or the reader comes later.
    pub(super) fn may_have_gaps(&self, attempt: Attempt, call: &Call<'_>) -> bool {
        match call.kind {
            Some(CallKind::Run {
                drops_output, grace, ..
            }) => {
                let exited = self.runs.get(&attempt.run).and_then(|run| run.exited_at);
                let is_kept = match (exited, call.first_gap) {
                    (Some(exited), Some(gap)) => gap < exited + grace,
                    _ => true,
                };
                let mut others = self.calls_of(attempt.run);
                drops_output
                    || !is_kept
                    || others.any(|(_, call)| matches!(call.kind, Some(CallKind::Attach { .. })))
            }
            _ => true,
        }
    }

    /// Whether the process was started for another call with the same process id. Then this call receives only its end.
    pub(super) fn repeats(&self, attempt: Attempt) -> bool {
        let Some(call) = self.calls.get(&attempt) else {
            return false;
        };
        let Some(CallKind::Run { recovers, .. }) = call.kind else {
            return false;
        };
        if recovers && call.received.first() == Some(&&ReceivedEvent::Repeated) {
            // The library has repeated its own start.
            return true;
        }
        let spawns = self.runs.get(&attempt.run).map_or(&[][..], |run| &run.spawns[..]);
        let mut made_for = spawns.iter().filter_map(|spawn| self.call_of(attempt.run, spawn));
        made_for.any(|(other, _)| other != attempt)
    }

    /// The traces that calls without a caller's context have begun.
    pub(super) fn own_traces(&self) -> impl Iterator<Item = (TraceId, &[&'a Recorded])> {
        let known: HashSet<_> = self
            .calls
            .values()
            .filter_map(|call| Some(call.caller?.trace))
            .collect();
        let traces = self.records.iter().map(|(trace, records)| (*trace, &records[..]));
        traces.filter(move |(trace, _)| !known.contains(trace))
    }

    pub(super) fn records_of(&self, call: &Call<'_>, side: Side) -> Vec<&'a Recorded> {
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
