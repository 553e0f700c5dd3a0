//! Which calls count.

use std::cmp::Ordering;
use std::ops::Range;

use super::facts::Facts;

/// Which calls count. By default those of the newest version that the caller did not give up.
#[derive(Debug, Clone, Default)]
pub struct Population {
    /// Calls that began within these nanoseconds since the Unix epoch.
    pub window_ns: Option<Range<u64>>,
    /// Every one of these holds.
    pub filters: Vec<Filter>,
    /// Which versions count.
    pub versions: Versions,
    /// Calls that the caller gave up count too.
    pub with_cancelled: bool,
}

/// A condition: a fact of the call has this value. Facts are `turn`, `host`, `label`, `version` and `fault`, and the
/// attributes of the call, its process, its rpc and their resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The name of the fact.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Which versions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// The newest one in the input.
    #[default]
    Newest,
    /// All.
    All,
}

/// Calls and traces that were left out, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Traces without any call of Baton: they say nothing about it.
    pub bypassed_traces: u64,
    /// Traces of background stages.
    pub background_traces: u64,
    /// Traces of which spans are missing.
    pub truncated_traces: u64,
    /// Stages whose `call` and `rpc` are missing, by the number of such groups.
    pub fragments: u64,
    /// Calls that began outside of the window.
    pub outside_window: u64,
    /// Calls that a filter excludes.
    pub filtered: u64,
    /// Calls that the caller gave up.
    pub cancelled: u64,
    /// Calls of versions before the newest.
    pub old_versions: u64,
    /// Calls with a span that ends before it starts.
    pub backwards: u64,
    /// Calls that were *not* left out but stand for several, by their tracestate.
    pub sampled: u64,
}

/// Why a call does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    OutsideWindow,
    Filtered,
    Cancelled,
}

impl LeftOut {
    pub(super) fn count(&mut self, reason: Reason) {
        match reason {
            Reason::OutsideWindow => self.outside_window += 1,
            Reason::Filtered => self.filtered += 1,
            Reason::Cancelled => self.cancelled += 1,
        }
    }
}

impl Population {
    /// Whether a stage of a turn counts. Only the window and `turn=` select it: the other facts are those of calls.
    pub(super) fn has_turn_stage(&self, start_ns: u64, turn: Option<i64>) -> bool {
        let turn = turn.map_or("none".to_owned(), |turn| turn.to_string());
        let selects = |filter: &Filter| filter.name == "turn" && filter.value == turn;
        self.window_ns
            .as_ref()
            .is_none_or(|window| window.contains(&start_ns))
            && self.filters.iter().all(selects)
    }

    pub(super) fn refuses(&self, facts: &Facts<'_>) -> Option<Reason> {
        let window = self.window_ns.as_ref();
        if window.is_some_and(|window| !window.contains(&facts.start_ns)) {
            return Some(Reason::OutsideWindow);
        }
        let holds = |filter: &Filter| facts.named(&filter.name).as_deref() == Some(filter.value.as_str());
        if !self.filters.iter().all(holds) {
            return Some(Reason::Filtered);
        }
        (!self.with_cancelled && facts.is_cancelled()).then_some(Reason::Cancelled)
    }
}

/// A version in its order: numbers by value, a pre-release before its release (semver.org, 11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    numbers: Vec<u64>,
    pre_release: Option<String>,
    text: String,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Self {
        let release = text.split('+').next().unwrap_or(text);
        let (numbers, pre_release) = match release.split_once('-') {
            Some((numbers, pre_release)) => (numbers, Some(pre_release.to_owned())),
            None => (release, None),
        };
        let numbers = numbers
            .trim_start_matches('v')
            .split('.')
            .map_while(|number| number.parse().ok())
            .collect();
        Self {
            numbers,
            pre_release,
            text: text.to_owned(),
        }
    }
}

impl Version {
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let pre_release = match (&self.pre_release, &other.pre_release) {
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (a, b) => a.cmp(b),
        };
        self.numbers
            .cmp(&other.numbers)
            .then(pre_release)
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let ordered = ["unknown", "0.9.0", "0.10.0-rc1", "0.10.0", "0.10.1", "v1.0.0"];
        for pair in ordered.windows(2) {
            assert!(Version::parse(pair[0]) < Version::parse(pair[1]), "{pair:?}");
        }
    }
}
