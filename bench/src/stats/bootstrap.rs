//! Intervals from resampled rounds or process sets, by the [block bootstrap](baton_analyze::stats::bootstrap) of
//! `baton compare`.
//!
//! A resample draws as many rounds as there are, with replacement. Both sides of a ratio use the same draw, so that a
//! disturbance in a round affects both. The statistic is computed over the pooled samples of the drawn rounds, because
//! one round has too few samples for a tail percentile.

use baton_analyze::stats::{Interval, Random, bootstrap};

use super::rounds::Rounds;
use super::statistic::Statistic;
use crate::limits::CONFIDENCE;

/// A number and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The statistic of all samples.
    pub value: f64,
    /// Lower end of the interval; the value itself with fewer than two rounds, which have no interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// A number that was measured once and has no interval.
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }

    /// Converts the value and its interval to another unit.
    pub fn times(self, factor: f64) -> Self {
        Self {
            value: self.value * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }

    /// Half the interval's width.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// A seeded source of resamples.
#[derive(Debug)]
pub struct Bootstrap {
    seed: u64,
    resamples: usize,
}

impl Bootstrap {
    /// The same seed and samples give the same intervals. At least one resample is drawn.
    pub fn new(seed: u64, resamples: usize) -> Self {
        Self {
            seed,
            resamples: resamples.max(1),
        }
    }

    /// The statistic of one participant.
    pub fn value(&self, of: &Rounds, statistic: Statistic) -> Estimate {
        let mut pooled = Vec::new();
        self.estimate(of.len(), |rounds| {
            of.pool(rounds.iter().copied(), &mut pooled);
            statistic.of(&mut pooled)
        })
    }

    /// The statistic of `over` divided by that of `under`. Rounds of the same number are paired. A round that only one
    /// side has is ignored.
    pub fn ratio(&self, over: &Rounds, under: &Rounds, statistic: Statistic) -> Estimate {
        self.paired(over, under, statistic, |over, under| over / under)
    }

    /// The statistic of `of` less that of `less`. Rounds are paired as in [`ratio`](Self::ratio).
    pub fn difference(&self, of: &Rounds, less: &Rounds, statistic: Statistic) -> Estimate {
        self.paired(of, less, statistic, |of, less| of - less)
    }

    fn paired(
        &self,
        first: &Rounds,
        second: &Rounds,
        statistic: Statistic,
        join: impl Fn(f64, f64) -> f64,
    ) -> Estimate {
        let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
        self.estimate(first.len().min(second.len()), |rounds| {
            first.pool(rounds.iter().copied(), &mut of_first);
            second.pool(rounds.iter().copied(), &mut of_second);
            join(statistic.of(&mut of_first), statistic.of(&mut of_second))
        })
    }

    /// The median over rounds of the ratio within each: the mean of `over` divided by that of `under`. A state of the
    /// machine that lasts for some rounds, such as TCP's estimate of the rate, then cancels. In [`ratio`](Self::ratio)
    /// the median may come from rounds of another state on each side. A round that only one side has is ignored.
    pub fn paired_ratio(&self, over: &Rounds, under: &Rounds) -> Estimate {
        let mut samples = Vec::new();
        let mut mean = |of: &Rounds, round| {
            of.pool([round], &mut samples);
            Statistic::Mean.of(&mut samples)
        };
        let mut ratios = Rounds::new();
        for round in 0..over.len().min(under.len()) {
            ratios.add(round, [mean(over, round) / mean(under, round)]);
        }
        self.value(&ratios, Statistic::P50)
    }

    fn estimate(&self, rounds: usize, mut of: impl FnMut(&[usize]) -> f64) -> Estimate {
        let all: Vec<usize> = (0..rounds).collect();
        let value = of(&all);
        // Each estimate starts from the seed, so that it depends on its samples only, not on earlier estimates.
        let random = &mut Random::new(self.seed);
        match bootstrap(rounds, self.resamples, CONFIDENCE, random, of) {
            Some(Interval { low, high }) => Estimate { value, low, high },
            None => Estimate::exact(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rounds(samples: Vec<Vec<f64>>) -> Rounds {
        let mut rounds = Rounds::default();
        for (round, samples) in samples.into_iter().enumerate() {
            rounds.add(round, samples);
        }
        rounds
    }

    fn samples() -> impl Strategy<Value = Vec<Vec<f64>>> {
        prop::collection::vec(prop::collection::vec(0.1f64..10.0, 1..10), 1..10)
    }

    #[test]
    fn equal_rounds_have_an_interval_without_width() {
        let over = Rounds::from([&[2.0, 2.0][..], &[2.0]]);
        let under = Rounds::from([&[1.0][..], &[1.0, 1.0]]);
        let ratio = Bootstrap::new(1, 100).ratio(&over, &under, Statistic::P50);
        assert_eq!(ratio, Estimate::exact(2.0));
    }

    #[test]
    fn drift_that_affects_both_sides_of_a_round_does_not_change_the_ratio() {
        let slow_later =
            |factor: f64| rounds((1..=20).map(|round| vec![factor * f64::from(round)]).collect());
        let ratio = Bootstrap::new(1, 500).ratio(&slow_later(3.0), &slow_later(2.0), Statistic::Mean);
        assert!(
            (ratio.value - 1.5).abs() < 1e-9 && ratio.half_width() < 1e-9,
            "{ratio:?}"
        );
    }

    #[test]
    fn a_state_that_lasts_for_a_round_does_not_change_the_paired_ratio() {
        let states = |factor: f64| {
            rounds(
                (0..20)
                    .map(|round| vec![factor * f64::from(1 + round % 3); 2])
                    .collect(),
            )
        };
        let (over, under) = (states(1.5), states(1.0));
        let paired = Bootstrap::new(1, 500).paired_ratio(&over, &under);
        assert_eq!(paired, Estimate::exact(1.5));
        // A round of one side alone is ignored.
        let mut longer = over.clone();
        longer.add(20, [100.0]);
        assert_eq!(Bootstrap::new(1, 500).paired_ratio(&longer, &under), paired);
    }

    #[test]
    fn rounds_that_disagree_widen_the_interval() {
        let calm = rounds((0..20).map(|_| vec![1.0, 2.0]).collect());
        let wild = rounds((0..20).map(|round| vec![1.0 + f64::from(round % 2); 2]).collect());
        let bootstrap = Bootstrap::new(1, 500);
        let width = |of| bootstrap.value(of, Statistic::Mean).half_width();
        assert_eq!(width(&calm), 0.0);
        assert!(width(&wild) > 0.1);
    }

    #[test]
    fn one_round_has_no_interval() {
        let of = Rounds::from([&[1.0, 2.0, 9.0][..]]);
        let estimate = Bootstrap::new(1, 500).value(&of, Statistic::P50);
        assert_eq!(estimate, Estimate::exact(2.0));
    }

    #[test]
    fn samples_of_one_round_are_not_taken_as_independent() {
        // Two process sets, each with many equal samples: the interval covers both sets.
        let of = Rounds::from([&[1.0; 100][..], &[2.0; 100]]);
        let estimate = Bootstrap::new(1, 500).value(&of, Statistic::Mean);
        assert_eq!((estimate.low, estimate.high), (1.0, 2.0));
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_interval(seed: u64, samples in samples()) {
            let of = rounds(samples);
            let estimate = || Bootstrap::new(seed, 50).value(&of, Statistic::P90);
            prop_assert_eq!(estimate(), estimate());
        }

        #[test]
        fn an_interval_stays_within_the_samples(seed: u64, samples in samples()) {
            let flat: Vec<f64> = samples.concat();
            let (min, max) = (
                flat.iter().copied().fold(f64::INFINITY, f64::min),
                flat.iter().copied().fold(0.0, f64::max),
            );
            let of = rounds(samples);
            let estimate = Bootstrap::new(seed, 50).value(&of, Statistic::P50);
            prop_assert!(min <= estimate.low && estimate.low <= estimate.high && estimate.high <= max);
        }

        #[test]
        fn a_participant_against_itself_is_exactly_one(seed: u64, samples in samples()) {
            let of = rounds(samples);
            let estimate = Bootstrap::new(seed, 50).ratio(&of, &of, Statistic::P99);
            prop_assert_eq!(estimate, Estimate::exact(1.0));
        }

        #[test]
        fn a_constant_that_is_added_to_each_sample_is_the_difference(seed: u64, samples in samples()) {
            let raised = samples.iter().map(|round| round.iter().map(|sample| sample + 4.0).collect());
            let (of, less) = (rounds(raised.collect()), rounds(samples));
            let difference = Bootstrap::new(seed, 50).difference(&of, &less, Statistic::P50);
            prop_assert!((difference.value - 4.0).abs() < 1e-9 && difference.half_width() < 1e-9);
        }
    }
}
