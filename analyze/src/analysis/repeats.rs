//! Calls that repeat an earlier one of their turn: the same method, arguments and directory.
//!
//! Traces have no arguments. A client marks calls of a turn with a keyed hash of them (`baton.arguments.fingerprint`),
//! which only tells equal from different. The first call of each kind in a turn is no repeat.

use std::collections::{BTreeMap, HashMap};

use baton_trace::{TraceId, attribute};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::facts::Facts;
use crate::limits::{REPEATABLE_CALLS, REPEATS_SHOWN};

/// What calls repeat, and what that costs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RepeatReport {
    /// Calls of a turn with a fingerprint.
    pub calls: u64,
    /// Turns that have such calls.
    pub turns: u64,
    /// Calls of a turn without a fingerprint.
    pub without_fingerprint: u64,
    /// Calls that were not compared, because there were too many.
    pub not_compared: u64,
    /// Calls that repeat an earlier one.
    pub repeats: u64,
    /// Turns with a repeat.
    pub turns_with_repeats: u64,
    /// Nanoseconds that the repeats took.
    pub cost_ns: u64,
    /// Those nanoseconds over the time of all calls with a fingerprint.
    pub cost_share: f64,
    /// The labels whose repeats cost most.
    pub labels: Vec<RepeatedLabel>,
}

/// The repeats of calls with one label.
#[derive(Debug, Clone, PartialEq)]
pub struct RepeatedLabel {
    /// The label: the name of the `call` span.
    pub label: String,
    /// How many calls are repeats.
    pub repeats: u64,
    /// Nanoseconds that they took.
    pub cost_ns: u64,
    /// A trace with a repeat: the one with the smallest id.
    pub exemplar: TraceId,
}

/// The calls of turns so far.
#[derive(Default)]
pub(super) struct Repeats {
    /// By hash of the turn and the fingerprint.
    calls: HashMap<u128, Kind>,
    turns: HashMap<u128, bool>,
    without_fingerprint: u64,
    not_compared: u64,
    compared: u64,
    total_ns: u64,
    labels: BTreeMap<String, RepeatedLabel>,
}

/// The calls of one kind in one turn: the one that began first.
struct Kind {
    start_ns: u64,
    envelope_ns: u64,
    trace: TraceId,
}

impl Repeats {
    pub(super) fn add(&mut self, facts: &Facts<'_>, envelope_ns: u64) {
        let Some(turn) = facts.turn else {
            return;
        };
        let Some(fingerprint) = facts.text(attribute::ARGUMENTS_FINGERPRINT) else {
            self.without_fingerprint += 1;
            return;
        };
        // A call below a span of its caller is in the trace of the turn. Callers may reuse the name of a thread.
        // Else the thread names the turn, as for each `baton exec`, which is a trace of its own.
        let trace = facts.trace.id();
        let thread = facts
            .text(attribute::THREAD)
            .filter(|_| facts.head.parent.is_none());
        let of_trace = trace.to_bytes();
        let turn = hash(&[
            thread.unwrap_or_default().as_bytes(),
            if thread.is_some() { &[] } else { &of_trace },
            &turn.to_be_bytes(),
        ]);
        let kind = hash(&[&turn.to_be_bytes(), fingerprint.as_bytes()]);
        let found = Kind {
            start_ns: facts.start_ns,
            envelope_ns,
            trace,
        };
        let is_full = self.calls.len() >= REPEATABLE_CALLS;
        let repeat = match self.calls.get_mut(&kind) {
            None if is_full => {
                self.not_compared += 1;
                return;
            }
            None => {
                self.calls.insert(kind, found);
                self.turns.entry(turn).or_default();
                None
            }
            // Files come in any order: the one that began first is no repeat.
            Some(first) if (found.start_ns, trace.to_bytes()) < (first.start_ns, first.trace.to_bytes()) => {
                Some(std::mem::replace(first, found))
            }
            Some(_) => Some(found),
        };
        self.compared += 1;
        self.total_ns += envelope_ns;
        let Some(repeat) = repeat else {
            return;
        };
        self.turns.insert(turn, true);
        self.count(facts.trace.name(&facts.head), &repeat);
    }

    fn count(&mut self, label: &str, repeat: &Kind) {
        let known = self
            .labels
            .entry(label.to_owned())
            .or_insert_with(|| RepeatedLabel {
                label: label.to_owned(),
                repeats: 0,
                cost_ns: 0,
                exemplar: repeat.trace,
            });
        known.repeats += 1;
        known.cost_ns += repeat.envelope_ns;
        let smallest = repeat.trace.to_bytes().min(known.exemplar.to_bytes());
        known.exemplar = TraceId::from_bytes(smallest);
    }

    /// The answer; `None` if no call has a fingerprint.
    pub(super) fn report(&self) -> Option<RepeatReport> {
        if self.compared == 0 {
            return None;
        }
        let mut labels: Vec<_> = self.labels.values().cloned().collect();
        let cost_ns: u64 = labels.iter().map(|label| label.cost_ns).sum();
        let repeats = labels.iter().map(|label| label.repeats).sum();
        labels.sort_by(|a, b| b.cost_ns.cmp(&a.cost_ns).then_with(|| a.label.cmp(&b.label)));
        labels.truncate(REPEATS_SHOWN);
        Some(RepeatReport {
            calls: self.compared,
            turns: self.turns.len() as u64,
            without_fingerprint: self.without_fingerprint,
            not_compared: self.not_compared,
            repeats,
            turns_with_repeats: self.turns.values().filter(|repeats| **repeats).count() as u64,
            cost_ns,
            cost_share: cost_ns as f64 / self.total_ns.max(1) as f64,
            labels,
        })
    }
}

fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        std::hash::Hasher::write(&mut hasher, &(part.len() as u64).to_be_bytes());
        std::hash::Hasher::write(&mut hasher, part);
    }
    hasher.finish128().as_u128()
}
