//! Statistics of samples.

/// A number computed from samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// The smallest sample that at least this percentage of all samples does not exceed (nearest rank, without
    /// interpolation). 0 to 100.
    Percentile(f64),
    /// The arithmetic mean.
    Mean,
    /// The reciprocal of the mean. For seconds per execution, it is executions per second.
    Rate,
}

impl Statistic {
    /// The median.
    pub const P50: Self = Self::Percentile(50.0);
    /// The 90th percentile.
    pub const P90: Self = Self::Percentile(90.0);
    /// The 99th percentile.
    pub const P99: Self = Self::Percentile(99.0);

    /// The value for these samples; NaN without samples. Reorders them.
    pub fn of(self, samples: &mut [f64]) -> f64 {
        if samples.is_empty() {
            return f64::NAN;
        }
        match self {
            Self::Percentile(percent) => percentile(samples, percent),
            Self::Mean => mean(samples),
            Self::Rate => 1.0 / mean(samples),
        }
    }
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

fn percentile(samples: &mut [f64], percent: f64) -> f64 {
    // Multiply before dividing: 99 % of 100 samples must be rank 99, and 0.99 × 100 is not exactly 99.
    let rank = (percent * samples.len() as f64 / 100.0).ceil() as usize;
    let index = rank.clamp(1, samples.len()) - 1;
    *samples.select_nth_unstable_by(index, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_nth_percentile_of_1_to_100_is_n() {
        let mut samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for percent in 1..=100 {
            let percent = f64::from(percent);
            assert_eq!(Statistic::Percentile(percent).of(&mut samples), percent);
        }
        assert_eq!(Statistic::Percentile(0.0).of(&mut samples), 1.0);
    }

    #[test]
    fn a_rate_is_the_reciprocal_of_the_mean() {
        assert_eq!(Statistic::Rate.of(&mut [0.5, 1.5]), 1.0);
    }

    #[test]
    fn the_statistic_of_no_samples_is_nan() {
        assert!(Statistic::P50.of(&mut []).is_nan());
    }

    proptest! {
        #[test]
        fn a_percentile_is_a_sample_with_enough_samples_at_or_below_it(
            mut samples in prop::collection::vec(-1e9f64..1e9, 1..200),
            percent in 0u32..=100,
        ) {
            let value = Statistic::Percentile(percent.into()).of(&mut samples);
            let at_or_below = samples.iter().filter(|sample| **sample <= value).count();
            let below = samples.iter().filter(|sample| **sample < value).count();
            prop_assert!(samples.contains(&value));
            prop_assert!(at_or_below * 100 >= samples.len() * percent as usize);
            prop_assert!(below == 0 || below * 100 < samples.len() * percent as usize);
        }
    }
}
