//! The verdict of a gate, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use baton_trace::text::printable;
use serde_json::{Value, json};

use crate::read::InputFaults;
use crate::stats::Interval;

/// The verdict of a gate.
#[derive(Debug, Clone, PartialEq)]
pub struct GateVerdict {
    /// One of the outcomes that the rules name.
    pub outcome: String,
    /// The exit code that the rules give it.
    pub exit_code: i32,
    /// The sentence that decides.
    pub sentence: String,
    /// The conclusion that the rules record with the outcome.
    pub conclusion: Option<String>,
    /// The line of the rule that decides.
    pub rule_line: Option<usize>,
    /// The set that decides.
    pub by_set: Option<String>,
    /// Every set, judged by itself.
    pub sets: Vec<SetVerdict>,
    /// Runs that were read.
    pub runs: usize,
    /// Runs in the population.
    pub chosen: usize,
    /// Why others are not in it, and how many.
    pub left_out: Vec<(String, usize)>,
    /// When the window ends, in nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// The length of the window in nanoseconds.
    pub window_ns: Option<u64>,
    /// What of the input was not read.
    pub faults: InputFaults,
    /// The correctness checks that ran.
    pub checks: BTreeMap<String, bool>,
    /// Traces behind the verdict: the first ones by id.
    pub traces: Vec<String>,
    /// How many traces are behind it.
    pub trace_count: usize,
    /// A hash of the ids of all of them.
    pub fingerprint: u64,
}

/// The verdict of one set.
#[derive(Debug, Clone, PartialEq)]
pub struct SetVerdict {
    /// Its name.
    pub name: String,
    /// Its outcome.
    pub outcome: String,
    /// The sentence that decides.
    pub sentence: String,
    /// The conclusion that the rules record with the outcome.
    pub conclusion: Option<String>,
    /// The line of the rule that decides.
    pub rule_line: Option<usize>,
    /// Its runs.
    pub runs: usize,
    /// Its blocks.
    pub blocks: usize,
    /// What the conditions of the rules found, as far as they were looked at.
    pub findings: Vec<Finding>,
}

/// What a condition found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// It in a sentence.
    pub sentence: String,
    /// The statistic.
    pub value: Option<f64>,
    /// Its 95 % interval, from resampling blocks.
    pub interval: Option<Interval>,
    /// `ns`, or nothing for a part.
    pub unit: &'static str,
    /// Runs, or pairs of blocks, that it was computed from.
    pub pairs: usize,
    /// Blocks that these are in.
    pub blocks: usize,
    /// The traces nearest to the quantile.
    pub traces: Vec<String>,
}

impl Finding {
    pub(super) fn unknown(sentence: String) -> Self {
        Self {
            sentence,
            value: None,
            interval: None,
            unit: "",
            pairs: 0,
            blocks: 0,
            traces: Vec::new(),
        }
    }
}

impl GateVerdict {
    /// Plain text. Ends with a line feed.
    pub fn text(&self) -> String {
        let mut out = format!(
            "{} (exit code {})\n{}\n",
            self.outcome, self.exit_code, self.sentence
        );
        // Writing to a String cannot fail.
        if let Some(conclusion) = &self.conclusion {
            let _ = writeln!(out, "conclusion: {conclusion}");
        }
        let others = self
            .sets
            .iter()
            .filter(|set| Some(&set.name) != self.by_set.as_ref());
        for set in others {
            let agrees = if set.outcome == self.outcome {
                "agrees"
            } else {
                "disagrees"
            };
            let _ = writeln!(out, "{} {agrees}: {}: {}", set.name, set.outcome, set.sentence);
        }
        let _ = write!(out, "population: {} of {} runs", self.chosen, self.runs);
        for (reason, count) in &self.left_out {
            let _ = write!(out, ", {count} {reason}");
        }
        if let Some(faults) = self.faults.sentence() {
            let _ = write!(out, "\ninput: {faults}");
        }
        let exemplars: Vec<&String> = match self.deciding() {
            Some(set) => set.findings.iter().flat_map(|finding| &finding.traces).collect(),
            None => Vec::new(),
        };
        let _ = writeln!(
            out,
            "\ntraces: {}, fingerprint {:016x}",
            self.trace_count, self.fingerprint
        );
        if let Some(first) = exemplars.first() {
            let _ = writeln!(out, "for example {first}");
        }
        let lines = out.lines().map(|line| printable(line).into_owned() + "\n");
        lines.collect()
    }

    /// One document. Durations are in nanoseconds, parts are of 1.
    pub fn json(&self) -> Value {
        json!({
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "sentence": self.sentence,
            "conclusion": self.conclusion,
            "rule_line": self.rule_line,
            "set": self.by_set,
            "sets": self.sets.iter().map(set).collect::<Vec<_>>(),
            "population": {
                "runs": self.runs,
                "chosen": self.chosen,
                "left_out": self.left_out.iter().cloned().collect::<BTreeMap<String, usize>>(),
                "now": time(self.now_ns),
                "now_ns": self.now_ns,
                "window_ns": self.window_ns,
            },
            "input": self.faults.json(),
            "checks": self.checks,
            "traces": self.traces,
            "trace_count": self.trace_count,
            "fingerprint": format!("{:016x}", self.fingerprint),
        })
    }

    fn deciding(&self) -> Option<&SetVerdict> {
        self.sets
            .iter()
            .find(|set| Some(&set.name) == self.by_set.as_ref())
    }
}

fn set(set: &SetVerdict) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "sentence": finding.sentence,
            "value": finding.value,
            "unit": finding.unit,
            "interval": finding.interval.map(|interval| [interval.low, interval.high]),
            "pairs": finding.pairs,
            "blocks": finding.blocks,
            "traces": finding.traces,
        })
    };
    json!({
        "name": set.name,
        "outcome": set.outcome,
        "sentence": set.sentence,
        "rule_line": set.rule_line,
        "runs": set.runs,
        "blocks": set.blocks,
        "findings": set.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// RFC 3339, in UTC.
fn time(ns: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
}
