//! Compares two recordings, stage by stage.
//!
//! The flow: runs are grouped into units (module `design`), which are what is resampled. In each unit and side a stage
//! has one centre. The change of a stage is the mean over units of the logarithm of B's centre over A's, so that a change
//! of 10 % weighs the same in a fast unit and in a slow one. Its p-value comes from exchanging whole units, its interval
//! from resampling them, and Holm's correction holds the probability of any false alarm over all stages at 5 %.
//!
//! A verdict needs [`BLOCKS_MIN`](crate::limits::BLOCKS_MIN) units. It is `unproven` if a control moved: a stage that the
//! change cannot touch, or A against itself.

mod design;
mod json;
mod options;
mod self_check;
mod stage;
mod text;
mod verdict;
mod warnings;

pub use design::{Counts, Design};
pub use options::{CompareError, Options};
pub use stage::{Change, Measured, Side, StageComparison};
pub use verdict::{Comparison, SelfCheck, Verdict};

use crate::runs::Runs;
use crate::stages;
use design::Units;
use stage::Family;

/// Compares B with A.
pub fn compare(a: &Runs, b: &Runs, options: &Options) -> Result<Comparison, CompareError> {
    options.check(a, b)?;
    let (mut a, mut b) = (a.clone(), b.clone());
    a.sort();
    b.sort();
    let self_check = options.self_check.then(|| self_check::run(&a, &b, options));
    let mut comparison = without_self_check(&a, &b, options);
    if let Some(self_check) = self_check {
        comparison.add_self_check(self_check);
    }
    Ok(comparison)
}

fn without_self_check(a: &Runs, b: &Runs, options: &Options) -> Comparison {
    let units = Units::new(a, b, options.unpaired);
    let mut names: Vec<&str> = a.stages();
    names.extend(b.stages().into_iter().filter(|stage| !a.has_stage(stage)));
    names.sort_by_key(|name| (stages::position(name), *name));

    let is_control = |name: &&str| options.controls.iter().any(|control| control == name);
    let (controls, tested): (Vec<&str>, Vec<&str>) = names.into_iter().partition(is_control);
    let stages = Family::new(a, b, &units, &tested, options).compare();
    let controls = Family::new(a, b, &units, &controls, options).compare();
    let warnings = warnings::find(a, b, &units, &stages);
    Comparison::new(units.counts(a, b), stages, controls, warnings, options)
}

#[cfg(test)]
mod rates;
#[cfg(test)]
mod tests;
