//! The stages of a caller's turn: `ttft`, `decode`, `tool.dispatch` and `request` (`baton-turn`).
//!
//! They are beside the calls of a turn and in none of them, so they have no share of a call.

use std::collections::BTreeMap;

use baton_trace::attribute;

use super::population::Population;
use crate::limits::GROUPS_MAX;
use crate::model::{Span, Trace};
use crate::stats::Distribution;

/// In the order in which a step has them.
const NAMES: [&str; 4] = ["request", "ttft", "decode", "tool.dispatch"];

/// Durations by stage.
type Durations = BTreeMap<usize, Distribution>;

/// The durations of the stages of turns so far.
#[derive(Default)]
pub(super) struct TurnStages {
    all: Durations,
    /// By the number of the turn; of turns beyond [`GROUPS_MAX`] only `all` has them.
    by_turn: BTreeMap<i64, Durations>,
}

impl TurnStages {
    /// Adds the stages of a trace. Returns whether it has any.
    pub(super) fn add(&mut self, trace: &Trace, population: &Population) -> bool {
        let mut has_any = false;
        for span in trace.spans().iter().filter(|span| span.stage.is_none()) {
            let Some(place) = place(trace, span) else {
                continue;
            };
            has_any = true;
            let turn = trace.integer(span, attribute::TURN);
            if span.end_ns < span.start_ns || !population.has_turn_stage(span.start_ns, turn) {
                continue;
            }
            let duration = span.duration_ns() as f64;
            self.all.entry(place).or_default().add(duration);
            let Some(turn) = turn else {
                continue;
            };
            if self.by_turn.len() < GROUPS_MAX || self.by_turn.contains_key(&turn) {
                let of_turn = self.by_turn.entry(turn).or_default();
                of_turn.entry(place).or_default().add(duration);
            }
        }
        has_any
    }

    /// The stages of all turns, and of each.
    pub(super) fn finish(self) -> (Named, Vec<(String, Named)>) {
        let by_turn = self.by_turn.into_iter();
        let by_turn = by_turn.map(|(turn, of)| (turn.to_string(), named(of)));
        (named(self.all), by_turn.collect())
    }
}

/// Durations with the names of their stages.
pub(super) type Named = Vec<(&'static str, Distribution)>;

fn named(of: Durations) -> Named {
    of.into_iter()
        .map(|(place, durations)| (NAMES[place], durations))
        .collect()
}

/// Which stage of a turn a span is.
fn place(trace: &Trace, span: &Span) -> Option<usize> {
    // A `request` says so by its name alone.
    let is_request =
        || trace.name(span) == NAMES[0] && trace.attribute(span, "baton.request.ordinal").is_some();
    match trace.stage_name(span) {
        Some(name) => NAMES.iter().position(|known| *known == name),
        None => is_request().then_some(0),
    }
}
