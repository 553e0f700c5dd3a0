//! The verdict of a comparison.

use std::fmt;

use super::design::{Counts, Design};
use super::options::Options;
use super::stage::{Change, StageComparison, is_consequence};
use crate::limits::{BLOCKS_MIN, RELEVANT_SHARE};
use crate::read::InputFaults;
use crate::stages::ENVELOPE;

/// The verdict of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No stage changed.
    Unchanged,
    /// At least one stage is faster, none is slower.
    Improvement,
    /// At least one stage is slower.
    Regression,
    /// The recordings differ where they cannot: nothing that they show is evidence about the change.
    Unproven,
    /// There are too few blocks for a verdict.
    NotEnoughData,
}

impl Verdict {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Improvement => "improvement",
            Self::Regression => "regression",
            Self::Unproven => "unproven",
            Self::NotEnoughData => "not_enough_data",
        }
    }

    /// The exit code of `baton compare`.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Unchanged | Self::Improvement => 0,
            Self::Regression => 1,
            Self::NotEnoughData => 3,
            Self::Unproven => 4,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotEnoughData => "not enough data",
            verdict => verdict.name(),
        })
    }
}

/// A against itself.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfCheck {
    /// How A was divided.
    pub method: &'static str,
    /// Units of A against A.
    pub units: usize,
    /// Stages in which A differs from itself.
    pub moved: Vec<StageComparison>,
}

/// Two recordings, compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What it was computed from.
    pub counts: Counts,
    /// The verdict.
    pub verdict: Verdict,
    /// The sentences that explain the verdict.
    pub reasons: Vec<String>,
    /// Each stage but the controls: changed ones first, the clearest change at the top; then in the order of the tables.
    pub stages: Vec<StageComparison>,
    /// The controls.
    pub controls: Vec<StageComparison>,
    /// What the reader must know before believing the verdict.
    pub warnings: Vec<String>,
    /// A against itself, if it was asked for.
    pub self_check: Option<SelfCheck>,
    /// What of the files of A and of B was not read.
    pub faults: [InputFaults; 2],
    /// What was asked for.
    pub options: Options,
}

impl Comparison {
    pub(super) fn new(
        counts: Counts,
        mut stages: Vec<StageComparison>,
        controls: Vec<StageComparison>,
        warnings: Vec<String>,
        options: &Options,
    ) -> Self {
        let rank = |stage: &StageComparison| match stage.change {
            Change::Slower => 0,
            Change::Faster => 1,
            _ => 2,
        };
        let distance =
            |stage: &StageComparison| stage.measured.map_or(0.0, |measured| measured.distance.abs());
        stages.sort_by(|one, other| {
            let by_distance = match rank(one) {
                2 => std::cmp::Ordering::Equal,
                _ => distance(other).total_cmp(&distance(one)),
            };
            rank(one).cmp(&rank(other)).then(by_distance)
        });
        let mut comparison = Self {
            counts,
            verdict: Verdict::Unchanged,
            reasons: Vec::new(),
            stages,
            controls,
            warnings,
            self_check: None,
            faults: [InputFaults::default(), InputFaults::default()],
            options: options.clone(),
        };
        comparison.decide();
        comparison
    }

    /// The stages with this change.
    pub fn changed(&self, change: Change) -> impl Iterator<Item = &StageComparison> {
        self.stages.iter().filter(move |stage| stage.change == change)
    }

    /// Records what of the two inputs was not read. Runs that are missing are a warning.
    #[must_use]
    pub fn with_faults(mut self, faults: [InputFaults; 2]) -> Self {
        let sentences = ["A", "B"].into_iter().zip(&faults);
        let sentences =
            sentences.filter_map(|(side, faults)| Some(format!("{side}: {}", faults.sentence()?)));
        self.warnings.extend(sentences);
        self.faults = faults;
        self
    }

    pub(super) fn add_self_check(&mut self, self_check: SelfCheck) {
        if self.verdict != Verdict::NotEnoughData {
            if self_check.units < BLOCKS_MIN {
                self.verdict = Verdict::NotEnoughData;
                self.reasons = vec![format!(
                    "the self-check has {} {}, and needs {BLOCKS_MIN}: record {} blocks of A",
                    self_check.units,
                    self_check.method,
                    2 * BLOCKS_MIN,
                )];
            } else if !self_check.moved.is_empty() {
                self.unproven(format!(
                    "A differs from itself ({}) in {}",
                    self_check.method,
                    names(self_check.moved.iter())
                ));
            }
        }
        self.self_check = Some(self_check);
    }

    fn unproven(&mut self, reason: String) {
        if self.verdict != Verdict::Unproven {
            self.verdict = Verdict::Unproven;
            self.reasons.clear();
        }
        self.reasons.push(reason);
    }

    fn decide(&mut self) {
        let have = self.counts.blocks[0].min(self.counts.blocks[1]);
        if have < BLOCKS_MIN {
            self.verdict = Verdict::NotEnoughData;
            self.reasons = vec![self.shortage(have)];
            return;
        }
        let listed = |change| {
            let (consequences, causes): (Vec<_>, Vec<_>) = self
                .changed(change)
                .partition(|stage| is_consequence(stage, &self.stages));
            match consequences.is_empty() {
                true => names(causes.into_iter()),
                false => format!(
                    "{}, and with it {}",
                    names(causes.into_iter()),
                    names(consequences.into_iter())
                ),
            }
        };
        let (slower, faster) = (listed(Change::Slower), listed(Change::Faster));
        (self.verdict, self.reasons) = match (slower.is_empty(), faster.is_empty()) {
            (true, true) => (Verdict::Unchanged, vec!["no stage changed".to_owned()]),
            (true, false) => (Verdict::Improvement, vec![format!("faster: {faster}")]),
            (false, true) => (Verdict::Regression, vec![format!("slower: {slower}")]),
            (false, false) => (
                Verdict::Regression,
                vec![format!("slower: {slower}"), format!("faster: {faster}")],
            ),
        };
        self.look_at_controls();
    }

    fn look_at_controls(&mut self) {
        let moved: Vec<String> = self.controls.iter().filter_map(control_failure).collect();
        let missing = |control: &&String| !self.controls.iter().any(|stage| stage.name == **control);
        let missing: Vec<String> = self.options.controls.iter().filter(missing).cloned().collect();
        for reason in moved {
            self.unproven(reason);
        }
        for name in missing {
            self.unproven(format!("the control {name} is in neither recording"));
        }
    }

    /// How many blocks there are, and how many are needed.
    fn shortage(&self, have: usize) -> String {
        let envelope = self.stages.iter().find(|stage| stage.name == ENVELOPE);
        let envelope = envelope.and_then(|stage| stage.a.p50).unwrap_or(0.0);
        let is_relevant =
            |stage: &&StageComparison| stage.a.p50.is_some_and(|p50| p50 >= RELEVANT_SHARE * envelope);
        let relevant = self.stages.iter().filter(is_relevant);
        let needed = relevant
            .filter_map(|stage| Some((stage.needed?, &stage.name)))
            .max();
        let unit = match self.counts.design {
            Design::Paired => "interleaved pairs of blocks",
            Design::Unpaired => "blocks a side",
        };
        match needed {
            Some((needed, stage)) => format!(
                "{have} {unit}, need {needed} (a change of {:.0} % of {stage} is found with {needed} in nine comparisons \
                 of ten)",
                self.options.detected * 100.0,
            ),
            None => format!("{have} {unit}, need at least {BLOCKS_MIN}"),
        }
    }
}

/// Why a control makes the comparison unproven.
fn control_failure(stage: &StageComparison) -> Option<String> {
    let name = &stage.name;
    match stage.change {
        Change::Slower | Change::Faster => Some(format!("the control moved: {}", described(stage))),
        Change::OnlyInA => Some(format!("the control {name} is in A only")),
        Change::OnlyInB => Some(format!("the control {name} is in B only")),
        Change::NotEnoughData => Some(format!("too few blocks have the control {name}")),
        Change::Unchanged | Change::BelowFloor => None,
    }
}

fn names<'a>(stages: impl Iterator<Item = &'a StageComparison>) -> String {
    stages.map(described).collect::<Vec<_>>().join(", ")
}

/// A stage with its change in per cent.
fn described(stage: &StageComparison) -> String {
    match stage.measured {
        Some(measured) => format!("{} {:+.1} %", stage.name, measured.relative * 100.0),
        None => stage.name.clone(),
    }
}
