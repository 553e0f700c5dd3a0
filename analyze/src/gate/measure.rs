//! What a condition finds in the runs of a set.

use std::collections::{BTreeMap, HashMap};

use baton_trace::report::units;

use super::condition::{Condition, Difference, Interval, Statistic, Threshold};
use super::rules::Minimum;
use super::verdict::Finding;
use crate::compare::{Change, Options, StageComparison, Verdict, compare};
use crate::limits::{EXEMPLARS, INTERVAL_RESAMPLES};
use crate::runs::Runs;
use crate::stats::{self, Quantile, Seed, quantile_interval};

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    No,
    /// The data does not say.
    Unknown,
    /// A control moved.
    Unproven,
}

/// The runs of a set.
pub(super) struct SetRuns<'a> {
    pub(super) name: &'a str,
    pub(super) runs: &'a Runs,
    pub(super) minimum: Minimum,
    /// The runs of every set, for differences.
    pub(super) sets: &'a BTreeMap<String, Runs>,
}

impl SetRuns<'_> {
    pub(super) fn measure(&self, condition: &Condition) -> (Holds, Finding) {
        match &condition.statistic {
            Statistic::Duration {
                of,
                quantile,
                threshold,
            } => self.duration(of, *quantile, *threshold),
            Statistic::Share {
                part,
                of,
                quantile,
                threshold,
                floor_ns,
            } => self.share(part, of, *quantile, *threshold, *floor_ns),
            Statistic::Dominant { part, of } => self.dominant(part, of),
            Statistic::Difference(difference) => self.difference(difference),
        }
    }

    fn duration(&self, of: &Interval, quantile: Quantile, threshold: Threshold) -> (Holds, Finding) {
        let sample = self.sample(|run| self.sum(of, run));
        let what = format!("{quantile} of {}", of.name);
        if let Some(shortage) = self.shortage(&what, &[of], &sample) {
            return (Holds::Unknown, shortage);
        }
        let mut finding = sample.quantile(self.runs, quantile);
        let value = finding.value.unwrap_or(f64::NAN);
        finding.unit = "ns";
        finding.sentence = sentence(&what, &finding, threshold, duration);
        (holds(threshold.holds(value)), finding)
    }

    fn share(
        &self,
        part: &Interval,
        of: &Interval,
        quantile: Quantile,
        threshold: Threshold,
        floor_ns: f64,
    ) -> (Holds, Finding) {
        let sample = self
            .sample(|run| Some(self.sum(part, run)? / self.sum(of, run)?).filter(|share| share.is_finite()));
        let what = format!("{quantile} of {} / {}", part.name, of.name);
        if let Some(shortage) = self.shortage(&what, &[part, of], &sample) {
            return (Holds::Unknown, shortage);
        }
        let mut finding = sample.quantile(self.runs, quantile);
        let value = finding.value.unwrap_or(f64::NAN);
        finding.sentence = sentence(&what, &finding, threshold, percent);
        let mut durations: Vec<f64> = sample
            .values
            .iter()
            .filter_map(|one| self.sum(part, one.run))
            .collect();
        let own = quantile.of(&mut durations).unwrap_or(f64::NAN);
        if threshold.holds(value) && own < floor_ns {
            finding.sentence += &format!(
                ", but it is {}, below the floor of {}",
                duration(own),
                duration(floor_ns)
            );
            return (Holds::No, finding);
        }
        (holds(threshold.holds(value)), finding)
    }

    fn dominant(&self, part: &str, of: &Interval) -> (Holds, Finding) {
        let what = format!("{part} in {}", of.name);
        let share = |stage: &str| {
            self.sample(|run| {
                let share = self.runs.duration(run, stage)? as f64 / self.sum(of, run)?;
                Some(share).filter(|share| share.is_finite())
            })
        };
        let own = share(part);
        if let Some(shortage) = self.shortage(&what, &[of], &own) {
            return (Holds::Unknown, shortage);
        }
        let mut finding = own.quantile(self.runs, Quantile::P50);
        let value = finding.value.unwrap_or(f64::NAN);
        let others = of
            .stages
            .iter()
            .filter(|stage| *stage != part)
            .filter_map(|stage| {
                let mut shares: Vec<f64> = share(stage).values.iter().map(|one| one.value).collect();
                Some((Quantile::P50.of(&mut shares)?, stage))
            });
        let (greatest, other) = others
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .unwrap_or((0.0, &of.name));
        let is_dominant = value > greatest;
        finding.sentence = format!(
            "the median share of {part} in {} is {}, {} that of {other}, {}",
            of.name,
            percent(value),
            if is_dominant { "above" } else { "not above" },
            percent(greatest)
        );
        (holds(is_dominant), finding)
    }

    fn difference(&self, difference: &Difference) -> (Holds, Finding) {
        let stage = &difference.stage;
        let what = format!(
            "the change of {stage} from {} to {}",
            difference.from, difference.to
        );
        let unknown = |why: String| (Holds::Unknown, Finding::unknown(format!("{what}: {why}")));
        let (Some(from), Some(to)) = (self.sets.get(&difference.from), self.sets.get(&difference.to)) else {
            let missing = [&difference.from, &difference.to]
                .into_iter()
                .find(|name| !self.sets.contains_key(*name));
            return unknown(format!(
                "no run is of the set {}",
                missing.unwrap_or(&difference.from)
            ));
        };
        let mut stages = vec![stage.clone()];
        stages.extend(difference.controls.iter().cloned());
        let options = Options {
            controls: difference.controls.clone(),
            floor_ns: difference.floor_ns,
            floor_relative: difference.floor_relative,
            ..Options::default()
        };
        let comparison = match compare(&from.only(&stages), &to.only(&stages), &options) {
            Ok(comparison) => comparison,
            Err(error) => return unknown(error.to_string()),
        };
        let needed = self.minimum.blocks.max(self.minimum.pairs);
        let have = comparison.counts.blocks[0].min(comparison.counts.blocks[1]);
        if have < needed {
            return unknown(format!("{have} blocks, need {needed}"));
        }
        match comparison.verdict {
            Verdict::NotEnoughData => return unknown(comparison.reasons.join("; ")),
            Verdict::Unproven => {
                let finding = Finding::unknown(format!("{what}: {}", comparison.reasons.join("; ")));
                return (Holds::Unproven, finding);
            }
            Verdict::Unchanged | Verdict::Improvement | Verdict::Regression => {}
        }
        let Some(compared) = comparison.stages.iter().find(|one| one.name == *stage) else {
            return unknown(format!("no run has the stage {stage}"));
        };
        difference_of(difference, &what, compared, have)
    }

    /// The value of each run that has one.
    fn sample(&self, value: impl Fn(usize) -> Option<f64>) -> Sample {
        let mut blocks: HashMap<&str, usize> = HashMap::new();
        let mut values = Vec::new();
        for (run, details) in self.runs.iter().enumerate() {
            if let Some(value) = value(run) {
                let next = blocks.len();
                let block = *blocks.entry(details.block.as_str()).or_insert(next);
                values.push(Value { run, value, block });
            }
        }
        Sample {
            values,
            blocks: blocks.len(),
        }
    }

    /// The sum of an interval's stages in one run; `None` if it lacks one.
    fn sum(&self, interval: &Interval, run: usize) -> Option<f64> {
        let stages = interval.stages.iter().map(|stage| self.runs.duration(run, stage));
        stages.map(|duration| duration.map(|ns| ns as f64)).sum()
    }

    /// Why a sample does not decide.
    fn shortage(&self, what: &str, of: &[&Interval], sample: &Sample) -> Option<Finding> {
        let mut stages = of.iter().flat_map(|interval| &interval.stages);
        let absent = stages.find(|stage| self.runs.durations(stage).flatten().next().is_none());
        let (pairs, blocks) = (sample.values.len(), sample.blocks);
        let why = if let Some(stage) = absent {
            format!("no run of {} has the stage {stage}", self.name)
        } else if pairs < self.minimum.pairs {
            let unit = if of.len() > 1 { "pairs" } else { "runs" };
            format!("{pairs} {unit} in {}, need {}", self.name, self.minimum.pairs)
        } else if blocks < self.minimum.blocks {
            format!("{blocks} blocks in {}, need {}", self.name, self.minimum.blocks)
        } else {
            return None;
        };
        Some(Finding {
            pairs,
            blocks,
            ..Finding::unknown(format!("{what}: {why}"))
        })
    }
}

fn difference_of(
    difference: &Difference,
    what: &str,
    compared: &StageComparison,
    blocks: usize,
) -> (Holds, Finding) {
    let measured = compared.measured.filter(|measured| measured.interval.is_some());
    let Some(measured) = measured else {
        return (
            Holds::Unknown,
            Finding::unknown(format!("{what}: too few blocks have the stage")),
        );
    };
    // `measured` was chosen for its interval.
    let interval = measured.interval.unwrap_or(stats::Interval {
        low: f64::NAN,
        high: f64::NAN,
    });
    let scale = if difference.is_absolute {
        measured.absolute_ns / measured.relative
    } else {
        1.0
    };
    let scale = if scale.is_finite() { scale } else { 1.0 };
    let show = if difference.is_absolute { duration } else { percent };
    let value = measured.relative * scale;
    let interval = stats::Interval {
        low: interval.low * scale,
        high: interval.high * scale,
    };
    let is_change = matches!(compared.change, Change::Slower | Change::Faster);
    let (does_hold, bound) = match difference.threshold {
        // A change must be one beyond noise, and as large.
        Threshold::AtLeast(bound) => (is_change && value >= bound, format!("at least {}", show(bound))),
        // The whole interval must be below.
        Threshold::AtMost(bound) => (interval.high <= bound, format!("surely at most {}", show(bound))),
    };
    let finding = Finding {
        sentence: format!(
            "{what} is {} (95 % interval {} to {}, p {:.4}, {blocks} blocks a side), {}{bound}",
            show(value),
            show(interval.low),
            show(interval.high),
            measured.p.unwrap_or(1.0),
            if does_hold { "" } else { "not " },
        ),
        value: Some(value),
        interval: Some(interval),
        unit: if difference.is_absolute { "ns" } else { "" },
        pairs: measured.units,
        blocks,
        traces: Vec::new(),
    };
    (holds(does_hold), finding)
}

struct Sample {
    values: Vec<Value>,
    blocks: usize,
}

struct Value {
    run: usize,
    value: f64,
    block: usize,
}

impl Sample {
    /// A quantile with its interval, and the traces nearest to it.
    fn quantile(&self, runs: &Runs, quantile: Quantile) -> Finding {
        let mut sorted: Vec<&Value> = self.values.iter().collect();
        sorted.sort_by(|one, other| one.value.total_cmp(&other.value));
        let index = quantile.index(sorted.len());
        let from = index.saturating_sub(EXEMPLARS / 2);
        let near = sorted.iter().skip(from).take(EXEMPLARS);

        let mut seed = Seed::new();
        let values: Vec<(f64, usize)> = self.values.iter().map(|one| (one.value, one.block)).collect();
        values.iter().for_each(|(value, block)| {
            seed.number(value.to_bits()).number(*block as u64);
        });
        let interval = quantile_interval(
            &values,
            self.blocks,
            quantile,
            INTERVAL_RESAMPLES,
            0.95,
            &mut seed.random(),
        );
        Finding {
            sentence: String::new(),
            value: sorted.get(index).map(|one| one.value),
            interval,
            unit: "",
            pairs: sorted.len(),
            blocks: self.blocks,
            traces: near.map(|one| runs.run(one.run).trace.clone()).collect(),
        }
    }
}

fn holds(does: bool) -> Holds {
    if does { Holds::Yes } else { Holds::No }
}

fn sentence(what: &str, finding: &Finding, threshold: Threshold, show: fn(f64) -> String) -> String {
    let value = finding.value.unwrap_or(f64::NAN);
    let interval = finding
        .interval
        .map_or("no interval from one block".to_owned(), |interval| {
            format!("95 % interval {} to {}", show(interval.low), show(interval.high))
        });
    let bound = match (threshold, threshold.holds(value)) {
        (Threshold::AtLeast(_), true) => "at least",
        (Threshold::AtLeast(_), false) => "below",
        (Threshold::AtMost(_), true) => "at most",
        (Threshold::AtMost(_), false) => "above",
    };
    format!(
        "{what} is {} ({interval}, {} runs in {} blocks), {bound} {}",
        show(value),
        finding.pairs,
        finding.blocks,
        show(threshold.bound())
    )
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn duration(ns: f64) -> String {
    let sign = if ns < 0.0 { "-" } else { "" };
    format!("{sign}{}", units::duration(ns.abs() as u64, false))
}
