//! The interval of a quantile of pooled values, from resampling whole blocks.

use super::bootstrap::{Interval, expanded_percentiles};
use super::quantile::Quantile;
use super::random::Random;

/// The interval of a quantile. `values` are values with the index of their block, below `blocks`. `None` with fewer than
/// two blocks.
///
/// The values are sorted once. A resample is a weight for each block, and its quantile the value at which the sum of
/// weights reaches the rank, so a resample costs one pass.
pub fn quantile_interval(
    values: &[(f64, usize)],
    blocks: usize,
    quantile: Quantile,
    resamples: usize,
    confidence: f64,
    random: &mut Random,
) -> Option<Interval> {
    if blocks < 2 {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut sizes = vec![0usize; blocks];
    sorted.iter().for_each(|(_, block)| sizes[*block] += 1);
    let mut weights = vec![0usize; blocks];
    let mut resampled = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        weights.fill(0);
        (0..blocks).for_each(|_| weights[random.below(blocks)] += 1);
        let total: usize = weights
            .iter()
            .zip(&sizes)
            .map(|(weight, size)| weight * size)
            .sum();
        let index = quantile.index(total);
        let mut before = 0;
        let value = sorted.iter().find(|(_, block)| {
            before += weights[*block];
            before > index
        });
        resampled.push(value.map_or(f64::NAN, |(value, _)| *value));
    }
    expanded_percentiles(&mut resampled, blocks, confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::bootstrap;

    #[test]
    fn it_is_the_interval_of_the_general_bootstrap_over_pooled_values() {
        let mut random = Random::new(9);
        let blocks: Vec<Vec<f64>> = (0..12)
            .map(|block| (0..=block % 4).map(|_| random.normal()).collect())
            .collect();
        let values: Vec<(f64, usize)> = blocks
            .iter()
            .enumerate()
            .flat_map(|(block, values)| values.iter().map(move |value| (*value, block)))
            .collect();
        for quantile in ["p0", "p50", "p90", "p99"] {
            let quantile: Quantile = quantile.parse().unwrap();
            let interval = quantile_interval(&values, 12, quantile, 499, 0.95, &mut Random::new(1));
            let pooled = |drawn: &[usize]| {
                let mut pooled: Vec<f64> = drawn.iter().flat_map(|block| blocks[*block].clone()).collect();
                quantile.of(&mut pooled).unwrap()
            };
            assert_eq!(interval, bootstrap(12, 499, 0.95, &mut Random::new(1), pooled));
        }
        assert_eq!(
            quantile_interval(&[(1.0, 0)], 1, Quantile::P50, 9, 0.95, &mut random),
            None
        );
    }
}
