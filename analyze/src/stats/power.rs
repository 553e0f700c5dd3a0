//! How many blocks find a difference.

use super::normal::{normal, student};

/// The probability with which a difference of the wanted size is found.
const POWER: f64 = 0.9;

/// The blocks (pairs, or blocks of each side) that find a mean difference of `effect` in nine experiments of ten, if
/// single differences have the standard deviation `deviation` and the test's level is `level`. `None` if one of them is
/// not a positive number.
pub fn blocks_needed(effect: f64, deviation: f64, level: f64) -> Option<usize> {
    let is_positive = |value: f64| value.is_finite() && value > 0.0;
    if !is_positive(effect) || !deviation.is_finite() || !is_positive(level) {
        return None;
    }
    let enough =
        |blocks: f64| detectable(deviation, blocks as usize, level).is_some_and(|least| least <= effect);
    // The normal approximation is below the answer, and the answer is a few blocks above it.
    let z = normal(1.0 - level / 2.0) + normal(POWER);
    let mut blocks = (z * deviation / effect).powi(2).floor().max(2.0);
    // A number of blocks that nobody can record is an answer too: it saturates.
    while blocks < 1e9 && !enough(blocks) {
        blocks += (blocks / 1_000.0).ceil();
    }
    Some(blocks as usize)
}

/// The smallest mean difference that this many blocks find in nine experiments of ten. `None` with fewer than two blocks.
pub fn detectable(deviation: f64, blocks: usize, level: f64) -> Option<f64> {
    if blocks < 2 {
        return None;
    }
    let freedom = blocks as f64 - 1.0;
    let t = student(1.0 - level / 2.0, freedom) + student(POWER, freedom);
    Some(t * deviation / (blocks as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Random, Table, sign_flip};

    /// Textbooks: 13 pairs for a difference of one standard deviation with a power of 90 % at 5 %.
    #[test]
    fn a_difference_of_one_deviation_needs_13_pairs() {
        assert!((12..=13).contains(&blocks_needed(1.0, 1.0, 0.05).unwrap()));
    }

    #[test]
    fn the_blocks_needed_find_the_difference_in_nine_of_ten() {
        let level = 0.01;
        let blocks = blocks_needed(0.1, 0.1, level).unwrap();
        let mut random = Random::new(4);
        let found = (0..200).filter(|_| {
            let mut table = Table::new(1);
            (0..blocks).for_each(|_| table.push([Some(0.1 + 0.1 * random.normal())]));
            sign_flip(&table, 999, &mut random)[0] <= level
        });
        let found = found.count();
        // 180 expected; the standard deviation is 4.2.
        assert!(
            (167..=193).contains(&found),
            "{found} of 200 with {blocks} blocks"
        );
    }

    #[test]
    fn what_cannot_be_computed_is_none() {
        assert_eq!(blocks_needed(0.0, 1.0, 0.05), None);
        assert_eq!(blocks_needed(0.1, f64::NAN, 0.05), None);
        assert_eq!(blocks_needed(0.1, 0.0, 0.05), Some(2));
        assert_eq!(detectable(1.0, 1, 0.05), None);
        assert!(blocks_needed(1e-12, 1.0, 0.05).unwrap() >= 1_000_000_000);
    }
}
