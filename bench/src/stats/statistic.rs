//! Statistics of samples.

use baton_analyze::stats::Quantile;

/// A number computed from samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// A quantile, by nearest rank.
    Quantile(Quantile),
    /// The arithmetic mean.
    Mean,
    /// The reciprocal of the mean. For seconds per execution, it is executions per second.
    Rate,
}

impl Statistic {
    /// The median.
    pub const P50: Self = Self::Quantile(Quantile::P50);
    /// The 90th percentile.
    pub const P90: Self = Self::Quantile(Quantile::P90);
    /// The 99th percentile.
    pub const P99: Self = Self::Quantile(Quantile::P99);
    /// The 99.9th percentile.
    pub const P999: Self = Self::Quantile(Quantile::P999);

    /// The value for these samples; NaN without samples. Reorders them.
    pub fn of(self, samples: &mut [f64]) -> f64 {
        if samples.is_empty() {
            return f64::NAN;
        }
        match self {
            Self::Quantile(quantile) => quantile.of(samples).unwrap_or(f64::NAN),
            Self::Mean => mean(samples),
            Self::Rate => 1.0 / mean(samples),
        }
    }
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statistic_is_that_of_its_name() {
        let mut samples: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
        let quantiles = [Statistic::P50, Statistic::P90, Statistic::P99, Statistic::P999];
        assert_eq!(
            quantiles.map(|of| of.of(&mut samples)),
            [500.0, 900.0, 990.0, 999.0]
        );
        assert_eq!(Statistic::Mean.of(&mut samples), 500.5);
    }

    #[test]
    fn a_rate_is_the_reciprocal_of_the_mean() {
        assert_eq!(Statistic::Rate.of(&mut [0.5, 1.5]), 1.0);
    }

    #[test]
    fn the_statistic_of_no_samples_is_nan() {
        assert!(Statistic::P50.of(&mut []).is_nan());
    }
}
