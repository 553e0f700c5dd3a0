//! Questions about many traces: which stage the time goes to, for whom, and what would help.
//!
//! An [`Analysis`] takes traces one by one, keeps figures and no trace, and answers in a [`Report`]. The unit is the
//! call. Which calls count is its [`Population`].

mod attributes;
mod exemplars;
mod facts;
pub mod measure;
mod population;
mod repeats;
mod report;
mod stages;
mod turn_stages;
mod what_if;

use baton_trace::stage::{StageId, exec};

pub use self::attributes::RankedAttribute;
pub(crate) use self::facts::Facts;
pub use self::facts::{By, Session};
use self::facts::{copies, is_truncated};
use self::measure::{CallFigures, measure};
pub(crate) use self::population::Version;
pub use self::population::{Filter, LeftOut, Population, Versions};
use self::repeats::Repeats;
pub use self::repeats::{RepeatReport, RepeatedLabel};
pub use self::report::{Figures, Group, Quantiles, Refused, Report, StageReport, WhatIfReport};
use self::stages::{GroupFigures, Groups, StageTable};
pub use self::what_if::{Change, ParseWhatIfError, WhatIf};
use crate::analysis::attributes::AttributeSample;
use crate::analysis::what_if::WhatIfFigures;
use crate::model::{Trace, Tree};
use crate::stats::Distribution;

/// What to ask.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Which calls count.
    pub population: Population,
    /// Into which groups to divide them.
    pub by: By,
    /// What to change in thought.
    pub what_if: Vec<WhatIf>,
    /// The input is a sample: calls count by the inverse of their sampling probability, and truncated traces are left
    /// out instead of refused.
    pub is_weighted: bool,
    /// Which calls repeat an earlier one of their turn?
    pub with_repeats: bool,
    /// The traces are those of a [history](crate::history): a call needs no client's half, nor its `rpc`.
    pub is_history: bool,
}

/// The figures of all calls so far.
pub struct Analysis {
    question: Question,
    left_out: LeftOut,
    turn_stages: turn_stages::TurnStages,
    /// The newest version so far, if only that one counts.
    newest: Option<population::Version>,
    totals: Totals,
}

/// What is dropped when calls of a newer version arrive.
struct Totals {
    calls: u64,
    without_envelope: u64,
    remainders_told: u64,
    remainders_unknown: u64,
    envelope: Distribution,
    envelope_exemplars: exemplars::Exemplars,
    remainder: Distribution,
    remainder_sum: f64,
    /// The envelopes whose remainder is known.
    remainder_envelope_sum: f64,
    stages: StageTable,
    groups: Groups,
    first_turn: GroupFigures,
    later_turns: GroupFigures,
    cold: GroupFigures,
    warm: GroupFigures,
    attributes: AttributeSample,
    repeats: Repeats,
    what_if: Vec<WhatIfFigures>,
    oldest_ns: u64,
    newest_ns: u64,
}

impl Totals {
    fn new(question: &Question) -> Self {
        Self {
            calls: 0,
            without_envelope: 0,
            remainders_told: 0,
            remainders_unknown: 0,
            envelope: Distribution::new(),
            envelope_exemplars: exemplars::Exemplars::default(),
            remainder: Distribution::new(),
            remainder_sum: 0.0,
            remainder_envelope_sum: 0.0,
            stages: StageTable::default(),
            groups: Groups::default(),
            first_turn: GroupFigures::default(),
            later_turns: GroupFigures::default(),
            cold: GroupFigures::default(),
            warm: GroupFigures::default(),
            attributes: AttributeSample::default(),
            repeats: Repeats::default(),
            what_if: question.what_if.iter().cloned().map(WhatIfFigures::new).collect(),
            oldest_ns: u64::MAX,
            newest_ns: 0,
        }
    }

    fn add(
        &mut self,
        trace: &Trace,
        facts: &Facts<'_>,
        figures: &CallFigures,
        question: &Question,
        weight: u32,
    ) {
        self.calls += 1;
        self.oldest_ns = self.oldest_ns.min(facts.start_ns);
        self.newest_ns = self.newest_ns.max(facts.start_ns);
        for _ in 0..weight {
            self.stages.add(trace.id(), figures);
            if question.by != By::Stage {
                self.groups.add(&facts.group(question.by), figures);
            }
            match facts.turn {
                Some(1) => self.first_turn.add(figures),
                Some(_) => self.later_turns.add(figures),
                None => {}
            }
        }
        if question.is_history
            && let Some(process) = figures.stage(exec::PROCESS)
        {
            self.attributes.add(trace, facts, process.duration_ns);
        }
        let Some(envelope_ns) = figures.envelope_ns else {
            self.without_envelope += 1;
            return;
        };
        let envelope = envelope_ns as f64;
        if question.with_repeats {
            self.repeats.add(facts, envelope_ns);
        }
        match figures.remainder_ns {
            None => self.remainders_unknown += 1,
            Some(_) => self.remainders_told += u64::from(figures.is_remainder_told),
        }
        for _ in 0..weight {
            self.envelope.add(envelope);
            self.envelope_exemplars.add(envelope_ns, trace.id());
            if let Some(remainder_ns) = figures.remainder_ns {
                self.remainder.add(remainder_ns as f64);
                self.remainder_sum += remainder_ns as f64;
                self.remainder_envelope_sum += envelope;
            }
            match facts.session {
                Session::Cold => self.cold.add(figures),
                Session::Warm => self.warm.add(figures),
            }
            for what_if in &mut self.what_if {
                what_if.add(envelope_ns, figures);
            }
        }
        self.attributes.add(trace, facts, envelope_ns);
    }
}

impl Analysis {
    /// Nothing yet.
    pub fn new(question: Question) -> Self {
        let totals = Totals::new(&question);
        Self {
            question,
            left_out: LeftOut::default(),
            turn_stages: turn_stages::TurnStages::default(),
            newest: None,
            totals,
        }
    }

    /// Adds the calls of a trace.
    pub fn add(&mut self, trace: &Trace) {
        let tree = Tree::of(trace);
        let calls = tree.calls(trace);
        let has_turn_stages = self.turn_stages.add(trace, &self.question.population);
        if calls.is_empty() {
            let is_background = trace
                .spans()
                .iter()
                .any(|span| span.stage.is_some_and(StageId::is_background));
            match is_background {
                _ if has_turn_stages => {}
                true => self.left_out.background_traces += 1,
                false => self.left_out.bypassed_traces += 1,
            }
            return;
        }
        if is_truncated(trace, &tree, &calls) {
            self.left_out.truncated_traces += 1;
            return;
        }
        for call in &calls {
            // The first span of a command of the history has its attributes.
            let of_history = || call.stages.first().copied().filter(|_| self.question.is_history);
            let Some(head) = call.head.or_else(of_history) else {
                self.left_out.fragments += 1;
                continue;
            };
            let facts = Facts::of(trace, call, head);
            if let Some(reason) = self.question.population.refuses(&facts) {
                self.left_out.count(reason);
                continue;
            }
            if !self.is_of_version(&facts) {
                continue;
            }
            let weight = facts.sampling_weight();
            let weight = match self.question.is_weighted {
                true => copies(weight, trace.id()),
                false => {
                    self.left_out.sampled += u64::from(weight > 1.0);
                    1
                }
            };
            match measure(trace, &tree, call) {
                Ok(figures) => self.totals.add(trace, &facts, &figures, &self.question, weight),
                Err(measure::Unusable::Backwards) => self.left_out.backwards += 1,
            }
        }
    }

    /// Whether the version of a call counts. A newer one than all before replaces their figures.
    fn is_of_version(&mut self, facts: &Facts<'_>) -> bool {
        if self.question.population.versions != Versions::Newest {
            return true;
        }
        let version = population::Version::parse(facts.version);
        match &self.newest {
            Some(newest) if version < *newest => {
                self.left_out.old_versions += 1;
                return false;
            }
            Some(newest) if version == *newest => return true,
            _ => {}
        }
        self.left_out.old_versions += self.totals.calls;
        self.totals = Totals::new(&self.question);
        self.newest = Some(version);
        true
    }
}
