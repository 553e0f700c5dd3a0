//! The test of interleaved pairs of blocks.
//!
//! A row is a pair: a block of A and the block of B that ran beside it. Its values are the differences of the pair's
//! centres. If A and B are the same program, exchanging the two blocks of any pair changes nothing but the sign of its
//! differences. So the observed sum is compared with the sums under random signs, which are the same for all stages of a
//! pair. The test needs no assumption about the shape of the noise, nor about how runs within a block depend on each
//! other.

use super::random::Random;
use super::table::Table;

/// The two-sided p-value of each column: how often random signs give a sum as far from 0 as the observed one. 1 for a
/// column without values.
pub fn sign_flip(differences: &Table, resamples: usize, random: &mut Random) -> Vec<f64> {
    let columns = differences.columns();
    let zero_if_absent = |value: &f64| if value.is_nan() { 0.0 } else { *value };
    let rows: Vec<Vec<f64>> = (0..differences.rows())
        .map(|row| differences.row(row).iter().map(zero_if_absent).collect())
        .collect();
    let mut observed = vec![0.0; columns];
    for row in &rows {
        add(&mut observed, row, 1.0);
    }
    // A sum that differs from the observed one by rounding only is as far from 0.
    observed
        .iter_mut()
        .for_each(|sum: &mut f64| *sum = sum.abs() * (1.0 - 1e-12));

    let mut as_far = vec![0usize; columns];
    let mut sums = vec![0.0; columns];
    for _ in 0..resamples {
        sums.fill(0.0);
        for rows in rows.chunks(u64::BITS as usize) {
            let mut signs = random.bits();
            for row in rows {
                // A product, not a branch: the processor cannot predict random signs.
                add(&mut sums, row, 1.0 - 2.0 * (signs & 1) as f64);
                signs >>= 1;
            }
        }
        for (times, (sum, observed)) in as_far.iter_mut().zip(sums.iter().zip(&observed)) {
            *times += usize::from(sum.abs() >= *observed);
        }
    }
    // The observed signs are one of the possible ones, so no p-value is 0.
    as_far
        .iter()
        .map(|times| (times + 1) as f64 / (resamples + 1) as f64)
        .collect()
}

fn add(sums: &mut [f64], row: &[f64], sign: f64) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += sign * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize, mut row: impl FnMut(usize) -> Vec<Option<f64>>) -> Table {
        let mut table = Table::new(row(0).len());
        (0..rows).for_each(|index| table.push(row(index)));
        table
    }

    #[test]
    fn a_difference_in_every_pair_has_the_smallest_p_value() {
        let differences = table(20, |_| vec![Some(1.0), Some(-1.0), None]);
        let p = sign_flip(&differences, 999, &mut Random::new(1));
        assert_eq!(p, [0.001, 0.001, 1.0]);
    }

    /// Six pairs of one sign: 2 of the 64 signs are as far from 0.
    #[test]
    fn the_p_value_is_the_part_of_signs_that_are_as_far() {
        let differences = table(6, |row| vec![Some((row + 1) as f64)]);
        let p = sign_flip(&differences, 19_999, &mut Random::new(1))[0];
        assert!((p - 2.0 / 64.0).abs() < 0.005, "{p}");
    }

    /// Normal differences, and ones of which a tenth is twenty times as large.
    #[test]
    fn equal_sides_are_found_different_in_five_percent() {
        let mut random = Random::new(5);
        for spoiled in [0.0, 0.1] {
            let alarms = (0..1_000).filter(|_| {
                let differences = table(20, |_| {
                    let scale = if random.unit() < spoiled { 20.0 } else { 1.0 };
                    vec![Some(random.normal() * scale)]
                });
                sign_flip(&differences, 199, &mut random)[0] <= 0.05
            });
            let alarms = alarms.count();
            // 50 expected; the standard deviation is 6.9.
            assert!((29..=71).contains(&alarms), "{alarms} of 1,000");
        }
    }
}
