//! What makes a comparison doubtful without disproving it.

use super::design::{Design, Units};
use super::stage::{Change, StageComparison, is_consequence};
use crate::limits::{ONE_SIDED_CHANGES, PRESENCE_DIFFERENCE, SAME_ORDER};
use crate::runs::Runs;

/// The warnings of a comparison.
pub(super) fn find(a: &Runs, b: &Runs, units: &Units, stages: &[StageComparison]) -> Vec<String> {
    let order = match units.design {
        Design::Paired => paired_order(a, b, units),
        Design::Unpaired => recordings_apart(a, b),
    };
    let left_out = match units.left_out {
        [0, 0] => None,
        [of_a, of_b] => Some(format!(
            "{of_a} runs of A and {of_b} of B have no partner and are left out"
        )),
    };
    let presence = stages
        .iter()
        .filter_map(|stage| presence(stage, a.len(), b.len()));
    order
        .into_iter()
        .chain(left_out)
        .chain(one_sided(stages))
        .chain(presence)
        .collect()
}

/// Every change goes in one direction, as on a machine that became slower or faster between the recordings.
fn one_sided(stages: &[StageComparison]) -> Option<String> {
    // A stage that includes a slow one is slow with it, and is no second sign.
    let is_cause = |stage: &&StageComparison| !is_consequence(stage, stages);
    let count = |change| {
        let changed = stages.iter().filter(|stage| stage.change == change);
        changed.filter(is_cause).count()
    };
    let (changes, word) = match (count(Change::Slower), count(Change::Faster)) {
        (slower, 0) => (slower, "slower"),
        (0, faster) => (faster, "faster"),
        _ => return None,
    };
    (changes >= ONE_SIDED_CHANGES).then(|| {
        format!(
            "all {changes} changes are {word}, as if the machine had changed: name stages that the change cannot touch \
             as controls"
        )
    })
}

/// One side nearly always ran first.
fn paired_order(a: &Runs, b: &Runs, units: &Units) -> Option<String> {
    let mean = |runs: &Runs, indices: &[usize]| {
        let started = indices.iter().map(|index| runs.run(*index).started_ns as f64);
        started.sum::<f64>() / indices.len() as f64
    };
    let order = units
        .units
        .iter()
        .map(|unit| mean(a, &unit.a).total_cmp(&mean(b, &unit.b)));
    let (mut a_first, mut b_first) = (0, 0);
    for order in order {
        match order {
            std::cmp::Ordering::Less => a_first += 1,
            std::cmp::Ordering::Greater => b_first += 1,
            std::cmp::Ordering::Equal => {}
        }
    }
    let (first, times) = if a_first >= b_first {
        ("A", a_first)
    } else {
        ("B", b_first)
    };
    let is_one_sided = times > 1 && times as f64 >= SAME_ORDER * units.units.len() as f64;
    is_one_sided.then(|| {
        format!(
            "{first} ran first in {times} of {} pairs, so what the first run warms or disturbs looks like a change: \
             alternate the order",
            units.units.len()
        )
    })
}

/// One recording ended before the other began.
fn recordings_apart(a: &Runs, b: &Runs) -> Option<String> {
    let range = |runs: &Runs| {
        let started = || runs.iter().map(|run| run.started_ns);
        Some((started().min()?, started().max()?))
    };
    let ((a_from, a_to), (b_from, b_to)) = (range(a)?, range(b)?);
    (a_to < b_from || b_to < a_from).then(|| {
        "one recording ended before the other began, so drift of the machine looks like a change: interleave the blocks \
         of A and B, and pair them"
            .to_owned()
    })
}

/// A stage that one side has more often.
fn presence(stage: &StageComparison, a: usize, b: usize) -> Option<String> {
    let (of_a, of_b) = (stage.a.runs as f64 / a as f64, stage.b.runs as f64 / b as f64);
    ((of_a - of_b).abs() > PRESENCE_DIFFERENCE).then(|| {
        format!(
            "{} is in {:.0} % of A's runs and in {:.0} % of B's; its change is that of the runs that have it",
            stage.name,
            of_a * 100.0,
            of_b * 100.0
        )
    })
}
