//! The comparison of each stage of a family. A family shares one correction: the stages, or the controls.

use baton_trace::stage::{StageDef, StageId};

use super::design::{Design, Units};
use super::options::Options;
use crate::limits::{BLOCKS_MIN, FALSE_ALARMS, INTERVAL_RESAMPLES, TEST_RESAMPLES};
use crate::runs::Runs;
use crate::stats::{
    Distribution, Interval, Quantile, Random, Seed, Table, blocks_needed, detectable, holm, mean_differences,
    means, midmean, permutation, sign_flip,
};

/// One stage of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct StageComparison {
    /// The stage.
    pub name: String,
    /// What A has of it.
    pub a: Side,
    /// What B has of it.
    pub b: Side,
    /// The difference; `None` if fewer than two units have the stage on both sides.
    pub measured: Option<Measured>,
    /// What it means.
    pub change: Change,
    /// The units that would find the [wanted change](Options::detected) of this stage; `None` if it cannot be computed.
    pub needed: Option<usize>,
}

/// One side of a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Side {
    /// Runs that have it.
    pub runs: usize,
    /// Its median over all runs, in nanoseconds.
    pub p50: Option<f64>,
    /// Its 90th percentile over all runs, in nanoseconds.
    pub p90: Option<f64>,
}

/// The difference of one stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Units (pairs, or blocks of the smaller side) that have the stage.
    pub units: usize,
    /// B over A, less 1.
    pub relative: f64,
    /// Its 95 % interval for this stage alone.
    pub interval: Option<Interval>,
    /// The same difference in nanoseconds, at A's level.
    pub absolute_ns: f64,
    /// The probability of a difference as large if A and B were equal, corrected over the family; `None` below
    /// [`BLOCKS_MIN`] units.
    pub p: Option<f64>,
    /// The difference over its standard error, for an order.
    pub distance: f64,
    /// The smallest relative change that this many units find in nine comparisons of ten.
    pub detectable: Option<f64>,
}

/// What the difference of a stage means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// B is slower.
    Slower,
    /// B is faster.
    Faster,
    /// No difference was found.
    Unchanged,
    /// There is a difference, and it is too small to matter.
    BelowFloor,
    /// Too few units have the stage on both sides.
    NotEnoughData,
    /// Only A has it.
    OnlyInA,
    /// Only B has it.
    OnlyInB,
}

/// Whether a stage changed only together with a stage that it includes: in the same direction as one below it in the
/// tables. It says nothing that the other does not say.
pub(super) fn is_consequence(stage: &StageComparison, stages: &[StageComparison]) -> bool {
    stages
        .iter()
        .filter(|other| other.change == stage.change && other.name != stage.name)
        .any(|other| includes(&stage.name, &other.name))
}

/// Whether one stage of the tables is above another.
fn includes(above: &str, below: &str) -> bool {
    let parent = |row: &'static StageDef| row.parent.and_then(StageId::def);
    let below = baton_trace::stage::by_name(below).and_then(parent);
    std::iter::successors(below, |row| parent(row)).any(|row| row.name == above)
}

/// Stages that are compared together.
pub(super) struct Family<'a> {
    sides: [&'a Runs; 2],
    names: &'a [&'a str],
    options: &'a Options,
    values: Values,
    seed: Seed,
}

/// The centres of units, as logarithms.
enum Values {
    /// B less A, by pair; and the mean of A and B for the level.
    Paired {
        differences: Table,
        a: Table,
    },
    Unpaired {
        a: Table,
        b: Table,
    },
}

impl<'a> Family<'a> {
    pub(super) fn new(
        a: &'a Runs,
        b: &'a Runs,
        units: &Units,
        names: &'a [&'a str],
        options: &'a Options,
    ) -> Self {
        let mut seed = Seed::new();
        let mut tables = [Table::new(names.len()), Table::new(names.len())];
        let mut differences = Table::new(names.len());
        for unit in &units.units {
            let of_a = centers(a, &unit.a, names, &mut seed);
            let of_b = centers(b, &unit.b, names, &mut seed);
            match units.design {
                Design::Paired => {
                    differences.push(of_a.iter().zip(&of_b).map(|(a, b)| Some((*b)? - (*a)?)));
                    tables[0].push(of_a);
                }
                Design::Unpaired if unit.b.is_empty() => tables[0].push(of_a),
                Design::Unpaired => tables[1].push(of_b),
            }
        }
        let [of_a, of_b] = tables;
        let values = match units.design {
            Design::Paired => Values::Paired { differences, a: of_a },
            Design::Unpaired => Values::Unpaired { a: of_a, b: of_b },
        };
        Self {
            sides: [a, b],
            names,
            options,
            values,
            seed,
        }
    }

    pub(super) fn compare(&self) -> Vec<StageComparison> {
        let p = self.corrected();
        let intervals = self.intervals();
        let columns = 0..self.names.len();
        columns
            .map(|column| self.stage(column, p[column], intervals[column]))
            .collect()
    }

    /// The corrected p-values of the stages that have enough units. Stages without are no part of the correction.
    fn corrected(&self) -> Vec<Option<f64>> {
        let mut random = self.seed.random();
        let p = match &self.values {
            Values::Paired { differences, .. } => sign_flip(differences, TEST_RESAMPLES, &mut random),
            Values::Unpaired { a, b } => permutation(a, b, TEST_RESAMPLES, &mut random),
        };
        let tested: Vec<usize> = (0..p.len())
            .filter(|column| self.units(*column) >= BLOCKS_MIN)
            .collect();
        let of_tested: Vec<f64> = tested.iter().map(|column| p[*column]).collect();
        let mut corrected = vec![None; p.len()];
        for (column, p) in tested.into_iter().zip(holm(&of_tested)) {
            corrected[column] = Some(p);
        }
        corrected
    }

    fn intervals(&self) -> Vec<Option<Interval>> {
        let mut random: Random = self.seed.random();
        match &self.values {
            Values::Paired { differences, .. } => means(differences, INTERVAL_RESAMPLES, 0.95, &mut random),
            Values::Unpaired { a, b } => mean_differences(a, b, INTERVAL_RESAMPLES, 0.95, &mut random),
        }
    }

    /// Pairs, or blocks of the smaller side, that have the stage.
    fn units(&self, column: usize) -> usize {
        match &self.values {
            Values::Paired { differences, .. } => differences.count(column),
            Values::Unpaired { a, b } => a.count(column).min(b.count(column)),
        }
    }

    /// The mean difference, the standard deviation of one unit's difference, and A's level.
    fn difference(&self, column: usize) -> (f64, f64, f64) {
        match &self.values {
            Values::Paired { differences, a } => {
                let deviation = differences.variance(column).sqrt();
                (differences.mean(column), deviation, a.mean(column))
            }
            Values::Unpaired { a, b } => {
                let deviation = (a.variance(column) + b.variance(column)).sqrt();
                (b.mean(column) - a.mean(column), deviation, a.mean(column))
            }
        }
    }

    fn stage(&self, column: usize, p: Option<f64>, interval: Option<Interval>) -> StageComparison {
        let name = self.names[column];
        let [a, b] = self.sides.map(|runs| Side::new(runs, name));
        let units = self.units(column);
        let (difference, deviation, level) = self.difference(column);
        // The level at which the first stage of the family must be significant.
        let alpha = FALSE_ALARMS / self.names.len().max(1) as f64;
        let measured = (units >= 2).then(|| Measured {
            units,
            relative: difference.exp_m1(),
            interval: interval.filter(|_| units >= BLOCKS_MIN).map(|interval| Interval {
                low: interval.low.exp_m1(),
                high: interval.high.exp_m1(),
            }),
            absolute_ns: level.exp() * difference.exp_m1(),
            p,
            distance: match difference.abs() {
                0.0 => 0.0,
                difference => difference / (deviation / (units as f64).sqrt()),
            },
            detectable: detectable(deviation, units, alpha).map(f64::exp_m1),
        });
        let needed = blocks_needed(self.options.detected.ln_1p(), deviation, alpha);
        StageComparison {
            name: name.to_owned(),
            a,
            b,
            change: self.change(&a, &b, measured.as_ref()),
            measured,
            needed: (units >= 2)
                .then_some(needed)
                .flatten()
                .map(|needed| needed.max(BLOCKS_MIN)),
        }
    }

    fn change(&self, a: &Side, b: &Side, measured: Option<&Measured>) -> Change {
        let p = measured.and_then(|measured| Some((measured, measured.p?)));
        match (a.runs, b.runs, p) {
            (_, 0, _) => Change::OnlyInA,
            (0, _, _) => Change::OnlyInB,
            (_, _, None) => Change::NotEnoughData,
            (_, _, Some((_, p))) if p > FALSE_ALARMS => Change::Unchanged,
            (_, _, Some((measured, _))) => {
                let is_small = measured.relative.abs() < self.options.floor_relative
                    || measured.absolute_ns.abs() < self.options.floor_ns;
                match is_small {
                    true => Change::BelowFloor,
                    false if measured.relative > 0.0 => Change::Slower,
                    false => Change::Faster,
                }
            }
        }
    }
}

impl Side {
    fn new(runs: &Runs, stage: &str) -> Self {
        let mut durations = Distribution::new();
        for duration in runs.durations(stage).flatten() {
            durations.add(duration as f64);
        }
        Self {
            runs: durations.count(),
            p50: durations.quantile(Quantile::P50),
            p90: durations.quantile(Quantile::P90),
        }
    }
}

/// The logarithm of the centre of each stage over these runs. Adds the durations to the seed.
fn centers(runs: &Runs, indices: &[usize], names: &[&str], seed: &mut Seed) -> Vec<Option<f64>> {
    seed.number(indices.len() as u64);
    let mut durations = Vec::with_capacity(indices.len());
    let mut center = |name: &&str| {
        durations.clear();
        for index in indices {
            if let Some(duration) = runs.duration(*index, name) {
                seed.number(duration);
                // A duration of 0 has no logarithm. A nanosecond is below what a clock resolves.
                durations.push(duration.max(1) as f64);
            }
        }
        midmean(&mut durations).map(f64::ln)
    };
    names.iter().map(&mut center).collect()
}
