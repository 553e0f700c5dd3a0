//! The claims about what the readers of a process receive: the call that has started it, those that attach to it, and
//! those that read beside them.

use std::collections::{BTreeMap, HashMap};

use super::facts::{Call, Facts, Run};
use crate::history::{Attempt, CallKind, CallResult, Output, ReceivedEvent, RunId, pattern, stream_of};

pub(super) fn gap_free_prefix(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    let mut all = HashMap::new();
    for (attempt, call) in &facts.calls {
        for output in [Output::Stdout, Output::Stderr] {
            let run = facts.runs.get(&attempt.run);
            let written = run.and_then(|run| run.written.get(&output)).copied().unwrap_or(0);
            let written = all
                .entry((attempt.run, output))
                .or_insert_with(|| pattern(attempt.run, stream_of(output), 0, written));
            let is_whole = call
                .received
                .contains(&&ReceivedEvent::Closed { truncated: false })
                && !facts.repeats(*attempt);
            if let Some(detail) = misplaced(&pieces(call, output), written, is_whole) {
                details.push(format!("{attempt:?}: {output:?}: {detail}"));
            }
        }
    }
    details
}

/// The received bytes of an output, between the gaps.
fn pieces(call: &Call<'_>, output: Output) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    for received in &call.received {
        match received {
            ReceivedEvent::Gap(_) => pieces.push(Vec::new()),
            ReceivedEvent::Output(of, data) if *of == output => {
                if let Some(piece) = pieces.last_mut() {
                    piece.extend_from_slice(data);
                }
            }
            _ => {}
        }
    }
    pieces
}

/// The first piece that is not a part of what was written behind the piece before. The first one is a prefix; the last
/// one a suffix, if `is_whole`. Each piece is looked for as early as possible, which leaves the most for the next ones.
fn misplaced(pieces: &[Vec<u8>], written: &[u8], is_whole: bool) -> Option<String> {
    let last = pieces.len() - 1;
    let mut from = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let begin = match index {
            0 => Some(0),
            _ if piece.is_empty() => Some(from),
            _ if index == last && is_whole => written.len().checked_sub(piece.len()),
            _ => {
                let mut windows = written[from..].windows(piece.len());
                windows.position(|window| window == piece).map(|at| from + at)
            }
        };
        let Some(begin) = begin.filter(|begin| *begin >= from && written[*begin..].starts_with(piece)) else {
            let same = written[from..].iter().zip(piece).take_while(|(a, b)| a == b);
            return Some(format!(
                "{} bytes after {index} gaps are not among the {} that were written from byte {from} on; {} are the same",
                piece.len(),
                written.len() - from,
                same.count(),
            ));
        };
        from = begin + piece.len();
    }
    let is_short = last == 0 && is_whole && from != written.len();
    is_short.then(|| format!("closed after {from} bytes, {} were written", written.len()))
}

pub(super) fn one_exit(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    for (attempt, call) in &facts.calls {
        let run = facts.runs.get(&attempt.run);
        let own = run.map_or(&[][..], |run| &run.exits[..]);
        let has_process = run.is_some_and(|run| !run.spawns.is_empty());
        let order = Order {
            kind: call.kind,
            repeats: facts.repeats(*attempt),
            may_have_gaps: facts.may_have_gaps(*attempt, call),
            is_complete: call.ends.contains(&&CallResult::Complete),
        };
        let mut wrong = order.violations(&call.received);
        let exit = call.received.iter().find_map(|received| match received {
            ReceivedEvent::Exited(status) => Some(status),
            _ => None,
        });
        if let Some(exit) = exit
            && !own.contains(&exit)
        {
            wrong.push(format!("the process exited with {own:?}"));
        }
        if !call.received.is_empty() && !has_process {
            wrong.push("no process was spawned".into());
        }
        details.extend(
            wrong
                .into_iter()
                .map(|what| format!("{attempt:?}: {what}: {:?}", call.received)),
        );
    }
    for (run, Run { exits, .. }) in &facts.runs {
        if exits.len() > 1 {
            details.push(format!("run {} exited {} times", run.0, exits.len()));
        }
    }
    details
}

/// What decides which events a call may receive, in which order.
struct Order {
    kind: Option<CallKind>,
    repeats: bool,
    may_have_gaps: bool,
    is_complete: bool,
}

impl Order {
    fn violations(&self, received: &[&ReceivedEvent]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut bad = |what: &str| wrong.push(what.to_owned());
        let attached = |received: &&&ReceivedEvent| ***received == ReceivedEvent::Attached;
        let is_attached = received.iter().filter(attached).count();
        let attaches = matches!(self.kind, Some(CallKind::Attach { .. }));
        if is_attached > usize::from(attaches)
            || attaches && !received.iter().take(1).all(|first| attached(&first))
        {
            bad("Attached is not the first event of a call that attaches");
        }
        let about_call = |received: &&&ReceivedEvent| {
            !matches!(received, ReceivedEvent::Repeated | ReceivedEvent::Attached)
        };
        let events: Vec<_> = received.iter().filter(about_call).collect();
        let only_end = self.repeats || self.kind == Some(CallKind::Wait);
        let is_end = |event: &&&&ReceivedEvent| {
            matches!(event, ReceivedEvent::Exited(_) | ReceivedEvent::Closed { .. })
        };
        match events.first() {
            None => {}
            Some(_) if self.kind == Some(CallKind::Detached) => bad("it received events"),
            Some(_) if only_end && events.iter().all(|event| is_end(&event)) => {}
            Some(_) if only_end => bad("it received more than the end of the process"),
            Some(ReceivedEvent::Started) => {}
            Some(ReceivedEvent::Gap(_)) if self.may_have_gaps => {}
            Some(_) => bad("an event precedes Started"),
        }
        let (mut exits, mut closed, mut is_first) = (0, false, true);
        for event in &events {
            if closed {
                bad("an event follows Closed");
                break;
            }
            match event {
                ReceivedEvent::Started if !is_first => bad("Started is repeated"),
                ReceivedEvent::Exited(_) => exits += 1,
                ReceivedEvent::Closed { .. } => closed = true,
                ReceivedEvent::Gap(_) if !self.may_have_gaps => bad("events are missing"),
                _ => {}
            }
            is_first = false;
        }
        if exits > 1 {
            bad("several exits");
        }
        if closed && exits == 0 {
            bad("Closed without an exit");
        }
        let is_over = match self.kind {
            Some(CallKind::Wait) => exits == 1,
            Some(CallKind::Detached) => true,
            _ => closed,
        };
        if self.is_complete && !is_over {
            bad("it completed without the end");
        }
        wrong
    }
}

pub(super) fn one_log(facts: &Facts<'_>) -> Vec<String> {
    let mut details = Vec::new();
    let mut log: BTreeMap<(RunId, u64), (Attempt, &ReceivedEvent)> = BTreeMap::new();
    for (attempt, call) in &facts.calls {
        let is_stream = call.kind != Some(CallKind::Wait) && !facts.repeats(*attempt);
        let mut last = 0;
        for (seq, received) in call.numbers.iter().zip(&call.received) {
            let missing = match received {
                _ if *seq == 0 => continue,
                ReceivedEvent::Gap(missing) => *missing,
                event => {
                    let (other, known) = *log.entry((attempt.run, *seq)).or_insert((*attempt, *event));
                    if known != *event {
                        details.push(format!(
                            "{attempt:?} received {event:?} as event {seq}, {other:?} {known:?}"
                        ));
                    }
                    0
                }
            };
            let is_gap = matches!(received, ReceivedEvent::Gap(_));
            let expected = last + missing + u64::from(!is_gap);
            if is_stream && (*seq != expected || is_gap && missing == 0) {
                details.push(format!("{attempt:?}: {received:?} has number {seq} after {last}"));
            }
            last = *seq;
        }
    }
    for (attempt, call) in &facts.calls {
        for (seq, received) in call.numbers.iter().zip(&call.received) {
            let ReceivedEvent::Gap(missing) = received else {
                continue;
            };
            let first = (seq + 1).saturating_sub(*missing);
            let within = log.range((attempt.run, first)..=(attempt.run, *seq));
            for ((_, seq), (_, event)) in within {
                if matches!(event, ReceivedEvent::Exited(_) | ReceivedEvent::Closed { .. }) {
                    details.push(format!("{attempt:?}: event {seq} is missing: {event:?}"));
                }
            }
        }
    }
    details
}

pub(super) fn repeats_are_told(facts: &Facts<'_>) -> Vec<String> {
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
