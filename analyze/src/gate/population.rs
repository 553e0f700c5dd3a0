//! Which runs count, and how many do not.

use super::rules::Population;
use crate::runs::{Run, Runs};

/// The runs that count, and why others do not.
pub(super) struct Chosen {
    pub(super) runs: Runs,
    /// Reasons in the order in which they are looked at, with the number of runs that each left out.
    pub(super) left_out: Vec<(String, usize)>,
}

/// Chooses the runs that count at `now_ns`.
pub(super) fn choose(population: &Population, runs: &Runs, now_ns: u64) -> Chosen {
    let mut left_out: Vec<(String, usize)> = Vec::new();
    let runs = runs.filtered(|run| match refusal(population, run, now_ns) {
        None => true,
        Some(reason) => {
            match left_out.iter_mut().find(|(one, _)| *one == reason) {
                Some((_, count)) => *count += 1,
                None => left_out.push((reason, 1)),
            }
            false
        }
    });
    left_out.sort();
    Chosen { runs, left_out }
}

fn refusal(population: &Population, run: &Run, now_ns: u64) -> Option<String> {
    if run.started_ns > now_ns {
        return Some("after now".to_owned());
    }
    if population
        .window_ns
        .is_some_and(|window| run.started_ns < now_ns.saturating_sub(window))
    {
        return Some("before the window".to_owned());
    }
    if let Some((first, last)) = population.turns {
        match run.turn {
            None => return Some("no turn".to_owned()),
            Some(turn) if !(first..=last).contains(&turn) => return Some("another turn".to_owned()),
            Some(_) => {}
        }
    }
    if population.succeeded.is_some_and(|wanted| run.succeeded != wanted) {
        return Some(
            if run.succeeded {
                "succeeded"
            } else {
                "did not succeed"
            }
            .to_owned(),
        );
    }
    let differs = population.attributes.iter().find(|(name, values)| {
        !run.attributes
            .get(*name)
            .is_some_and(|value| values.contains(value))
    });
    differs.map(|(name, _)| format!("another {name}"))
}
