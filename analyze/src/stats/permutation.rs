//! The test of blocks without pairs.
//!
//! If A and B are the same program, the labels of their blocks mean nothing. So the observed difference is compared with
//! the differences after shuffling the labels of whole blocks. The difference is divided by its standard error (Welch's
//! t), which keeps the test honest where the two sides vary differently (Janssen: "Studentized permutation tests for
//! non-i.i.d. hypotheses", 1997).

use super::random::Random;
use super::table::Table;

/// The two-sided p-value of each column. 1 for a column with fewer than two values on either side. Both tables must have
/// the same columns.
pub fn permutation(a: &Table, b: &Table, resamples: usize, random: &mut Random) -> Vec<f64> {
    let columns = a.columns().min(b.columns());
    let rows = rows(a, b, columns);
    let mut all = Sums::new(columns);
    rows.iter().for_each(|row| all.add(row));

    let mut side = Sums::new(columns);
    rows[..a.rows()].iter().for_each(|row| side.add(row));
    let observed: Vec<f64> = (0..columns)
        .map(|column| side.welch(&all, column) * (1.0 - 1e-12))
        .collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut as_far = vec![0usize; columns];
    for _ in 0..resamples {
        side.clear();
        // The first steps of a shuffle choose the rows that are labelled A.
        for place in 0..a.rows() {
            order.swap(place, place + random.below(rows.len() - place));
            side.add(&rows[order[place]]);
        }
        for (column, (times, observed)) in as_far.iter_mut().zip(&observed).enumerate() {
            let t = side.welch(&all, column);
            // NaN, without enough values on a side, is as far: it must not make a p-value smaller.
            *times += usize::from(t.is_nan() || t >= *observed);
        }
    }
    let p = as_far
        .iter()
        .map(|times| (times + 1) as f64 / (resamples + 1) as f64);
    p.zip(&observed)
        .map(|(p, observed)| if observed.is_nan() { 1.0 } else { p })
        .collect()
}

/// For each row the values of its columns, then their squares, then 1 for each value; zeros where a value is absent.
/// Values are moved by their column's mean, so that squares do not cancel.
fn rows(a: &Table, b: &Table, columns: usize) -> Vec<Vec<f64>> {
    let mean = |column| {
        let count = a.count(column) + b.count(column);
        (a.column(column).sum::<f64>() + b.column(column).sum::<f64>()) / count.max(1) as f64
    };
    let means: Vec<f64> = (0..columns).map(mean).collect();
    let row = |values: &[f64]| {
        let moved: Vec<f64> = values
            .iter()
            .zip(&means)
            .map(|(value, mean)| value - mean)
            .collect();
        let or_zero = |value: f64| if value.is_nan() { 0.0 } else { value };
        let values = moved.iter().map(|value| or_zero(*value));
        let squares = moved.iter().map(|value| or_zero(value * value));
        let counts = moved.iter().map(|value| f64::from(u8::from(!value.is_nan())));
        values.chain(squares).chain(counts).collect()
    };
    let of_a = (0..a.rows()).map(|index| row(a.row(index)));
    of_a.chain((0..b.rows()).map(|index| row(b.row(index)))).collect()
}

/// The sums of each column over some rows: of the values, of their squares, and the counts.
struct Sums {
    columns: usize,
    sums: Vec<f64>,
}

impl Sums {
    fn new(columns: usize) -> Self {
        let sums = vec![0.0; 3 * columns];
        Self { columns, sums }
    }

    fn clear(&mut self) {
        self.sums.fill(0.0);
    }

    fn add(&mut self, row: &[f64]) {
        for (sum, value) in self.sums.iter_mut().zip(row) {
            *sum += value;
        }
    }

    /// Sum, sum of squares and count of a column.
    fn column(&self, column: usize) -> [f64; 3] {
        [0, 1, 2].map(|term| self.sums[term * self.columns + column])
    }

    /// Welch's |t| between these rows and the rest of `all`; NaN with fewer than two values on a side.
    fn welch(&self, all: &Self, column: usize) -> f64 {
        let of_one = |[sum, squares, count]: [f64; 3]| {
            let mean = sum / count;
            let variance = (squares - sum * mean).max(0.0) / (count - 1.0);
            (count >= 2.0).then_some((mean, variance / count))
        };
        let (here, all) = (self.column(column), all.column(column));
        let there = [0, 1, 2].map(|term| all[term] - here[term]);
        let (Some((mean, error)), Some((other_mean, other_error))) = (of_one(here), of_one(there)) else {
            return f64::NAN;
        };
        match ((mean - other_mean).abs(), (error + other_error).sqrt()) {
            (0.0, _) => 0.0,
            (difference, error) => difference / error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(values: impl IntoIterator<Item = f64>) -> Table {
        let mut table = Table::new(1);
        values.into_iter().for_each(|value| table.push([Some(value)]));
        table
    }

    #[test]
    fn sides_that_do_not_overlap_have_a_small_p_value() {
        let a = table((0..20).map(f64::from));
        let b = table((100..120).map(f64::from));
        assert_eq!(permutation(&a, &b, 999, &mut Random::new(1)), [0.001]);
    }

    #[test]
    fn a_stage_that_one_side_hardly_has_has_no_p_value() {
        let a = table((0..20).map(f64::from));
        let p = permutation(&a, &table([100.0]), 99, &mut Random::new(1));
        assert_eq!(p, [1.0]);
        assert_eq!(permutation(&Table::new(1), &a, 99, &mut Random::new(1)), [1.0]);
    }

    #[test]
    fn equal_values_are_not_different() {
        let (a, b) = (table([5.0; 20]), table([5.0; 20]));
        assert_eq!(permutation(&a, &b, 99, &mut Random::new(1)), [1.0]);
    }

    #[test]
    fn equal_means_are_found_different_in_five_percent_even_if_one_side_varies_more() {
        let mut random = Random::new(5);
        for scale in [1.0, 5.0] {
            let alarms = (0..1_000).filter(|_| {
                let a = table((0..20).map(|_| random.normal()).collect::<Vec<_>>());
                let b = table((0..40).map(|_| random.normal() * scale).collect::<Vec<_>>());
                permutation(&a, &b, 199, &mut random)[0] <= 0.05
            });
            let alarms = alarms.count();
            // 50 expected; the standard deviation is 6.9.
            assert!((29..=71).contains(&alarms), "{alarms} of 1,000 at {scale}");
        }
    }
}
