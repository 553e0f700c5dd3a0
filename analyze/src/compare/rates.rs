//! How often equal recordings are found different, and slower ones found.
//!
//! `cargo test` does 40 comparisons a row; `BATON_TEST_FULL=1` does 1,000, and asserts the pass criteria. The seed is
//! printed with the rates (`--nocapture`); `BATON_TEST_SEED=N` repeats or changes it. Floors are 0: with them, there are
//! fewer alarms.

use super::*;
use crate::simulation::Simulation;
use crate::stats::Random;

struct Rates {
    seed: u64,
    random: Random,
    comparisons: usize,
}

impl Rates {
    fn new() -> Self {
        let seed = std::env::var("BATON_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(20_261_123);
        let is_full = std::env::var("BATON_TEST_FULL").is_ok_and(|value| value == "1");
        Self {
            seed,
            random: Random::new(seed),
            comparisons: if is_full { 1_000 } else { 40 },
        }
    }

    /// The part of comparisons in which `is_hit`.
    fn of(
        &mut self,
        name: &str,
        simulation: impl Fn(Simulation) -> Simulation,
        is_hit: impl Fn(&Comparison) -> bool,
    ) -> f64 {
        let hits = (0..self.comparisons).filter(|_| {
            let (a, b) = simulation(Simulation::new(self.random.bits())).record();
            is_hit(&compare(&a, &b, &without_floors()).unwrap())
        });
        let hits = hits.count();
        println!(
            "{name}: {hits} of {} comparisons, seed {}",
            self.comparisons, self.seed
        );
        hits as f64 / self.comparisons as f64
    }

    /// The most that a rate may be: the criterion in full, and three standard deviations above it else.
    fn at_most(&self, rate: f64) -> f64 {
        match self.comparisons {
            1_000 => rate,
            comparisons => rate + 3.0 * (rate * (1.0 - rate) / comparisons as f64).sqrt(),
        }
    }
}

fn without_floors() -> Options {
    Options {
        floor_relative: 0.0,
        floor_ns: 0.0,
        ..Options::default()
    }
}

fn has_change(comparison: &Comparison) -> bool {
    comparison.verdict != Verdict::Unchanged
}

#[test]
fn equal_recordings_are_found_different_in_at_most_6_5_percent() {
    let mut rates = Rates::new();
    for is_paired in [true, false] {
        for between in [0.0, 0.05, 0.1] {
            let design = if is_paired {
                "interleaved pairs"
            } else {
                "no pairs"
            };
            let name = format!("A against A, {design}, {} % between blocks", between * 100.0);
            let simulation = |simulation: Simulation| {
                let simulation = simulation.between(between);
                if is_paired {
                    simulation
                } else {
                    simulation.unpaired()
                }
            };
            let rate = rates.of(&name, simulation, has_change);
            assert!(rate <= rates.at_most(0.065), "{rate}");
        }
    }
}

#[test]
fn ten_percent_in_one_stage_are_found_and_named_in_nine_of_ten() {
    let mut rates = Rates::new();
    for stage in ["process.wait", "process.spawn", "transit"] {
        let name = format!("{stage} 10 % slower, 40 interleaved pairs of 5 runs, 5 % between blocks");
        let is_named = |comparison: &Comparison| {
            comparison.verdict == Verdict::Regression && comparison.stages[0].name == stage
        };
        let rate = rates.of(&name, |simulation| simulation.slower(stage, 1.1), is_named);
        assert!(1.0 - rate <= rates.at_most(0.1), "{rate}");
    }
}

/// The simulation is one that a wrong method fails: taking each run for a block of its own.
#[test]
fn a_method_that_takes_runs_for_independent_alarms_often() {
    let mut rates = Rates::new();
    rates.comparisons = 40;
    let alarms = (0..rates.comparisons).filter(|_| {
        let (a, b) = Simulation::new(rates.random.bits())
            .between(0.1)
            .unpaired()
            .record();
        let [a, b] = [a, b].map(|runs| {
            let mut single = Runs::new();
            for (index, run) in runs.iter().enumerate() {
                let block = format!("{} {index}", run.block);
                let stages = runs.stages();
                let durations = stages
                    .iter()
                    .filter_map(|stage| Some((*stage, runs.duration(index, stage)?)));
                single.add(crate::runs::Run { block, ..run.clone() }, durations);
            }
            single
        });
        has_change(&compare(&a, &b, &without_floors()).unwrap())
    });
    let alarms = alarms.count();
    println!("A against A, each run a block, 10 % between blocks: {alarms} of 40 comparisons");
    assert!(alarms >= 10, "{alarms} of 40");
}
