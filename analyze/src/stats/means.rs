//! Intervals for means over blocks, for all columns of a table at once.

use super::bootstrap::{Interval, expanded_percentiles};
use super::random::Random;
use super::table::Table;

/// The interval of the mean of each column, from resampled rows. `None` for a column with fewer than two values.
pub fn means(table: &Table, resamples: usize, confidence: f64, random: &mut Random) -> Vec<Option<Interval>> {
    let mut sums = Sums::new(table);
    let mut resampled = vec![Vec::with_capacity(resamples); table.columns()];
    for _ in 0..resamples {
        sums.draw(random);
        for (column, values) in resampled.iter_mut().enumerate() {
            values.push(sums.mean(column));
        }
    }
    intervals(resampled, confidence, |column| table.count(column))
}

/// The interval of the mean of each column of `b` less that of `a`, from resampling the rows of each. `None` for a column
/// with fewer than two values on a side. Both tables must have the same columns.
pub fn mean_differences(
    a: &Table,
    b: &Table,
    resamples: usize,
    confidence: f64,
    random: &mut Random,
) -> Vec<Option<Interval>> {
    let (mut of_a, mut of_b) = (Sums::new(a), Sums::new(b));
    let mut resampled = vec![Vec::with_capacity(resamples); a.columns().min(b.columns())];
    for _ in 0..resamples {
        of_a.draw(random);
        of_b.draw(random);
        for (column, values) in resampled.iter_mut().enumerate() {
            values.push(of_b.mean(column) - of_a.mean(column));
        }
    }
    // The smaller side bounds what is known of the variance.
    intervals(resampled, confidence, |column| {
        a.count(column).min(b.count(column))
    })
}

fn intervals(
    resampled: Vec<Vec<f64>>,
    confidence: f64,
    count: impl Fn(usize) -> usize,
) -> Vec<Option<Interval>> {
    let of_column = |(column, mut values): (usize, Vec<f64>)| match count(column) {
        0 | 1 => None,
        blocks => expanded_percentiles(&mut values, blocks, confidence),
    };
    resampled.into_iter().enumerate().map(of_column).collect()
}

/// The sum and the count of each column over drawn rows.
struct Sums {
    rows: Vec<Vec<[f64; 2]>>,
    sums: Vec<[f64; 2]>,
}

impl Sums {
    fn new(table: &Table) -> Self {
        let term = |value: &f64| if value.is_nan() { [0.0, 0.0] } else { [*value, 1.0] };
        let row = |row| table.row(row).iter().map(term).collect();
        Self {
            rows: (0..table.rows()).map(row).collect(),
            sums: vec![[0.0; 2]; table.columns()],
        }
    }

    fn draw(&mut self, random: &mut Random) {
        self.sums.fill([0.0; 2]);
        for _ in 0..self.rows.len() {
            let row = &self.rows[random.below(self.rows.len())];
            for (sum, term) in self.sums.iter_mut().zip(row) {
                sum[0] += term[0];
                sum[1] += term[1];
            }
        }
    }

    /// NaN if no drawn row has the column.
    fn mean(&self, column: usize) -> f64 {
        let [sum, count] = self.sums[column];
        sum / count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::bootstrap;

    fn tables() -> [Table; 2] {
        let mut random = Random::new(3);
        [20, 30].map(|rows| {
            let mut table = Table::new(3);
            for row in 0..rows {
                let absent = (row % 2 == 0).then(|| random.normal());
                table.push([Some(random.normal()), absent, (row == 0).then_some(1.0)]);
            }
            table
        })
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_general_bootstrap() {
        let [table, _] = tables();
        let interval = means(&table, 999, 0.95, &mut Random::new(1))[0];
        let values: Vec<f64> = table.column(0).collect();
        let mean = |drawn: &[usize]| drawn.iter().map(|row| values[*row]).sum::<f64>() / 20.0;
        assert_eq!(interval, bootstrap(20, 999, 0.95, &mut Random::new(1), mean));
    }

    #[test]
    fn a_difference_varies_with_both_sides_and_a_column_with_one_value_has_no_interval() {
        let [a, b] = tables();
        let width =
            |interval: Option<Interval>| interval.map(|interval| interval.high - interval.low).unwrap();
        let mut random = Random::new(1);
        let (of_a, of_b) = (
            means(&a, 999, 0.95, &mut random),
            means(&b, 999, 0.95, &mut random),
        );
        let both = mean_differences(&a, &b, 999, 0.95, &mut random);
        for column in [0, 1] {
            let (of_a, of_b) = (width(of_a[column]), width(of_b[column]));
            let expected = (of_a.powi(2) + of_b.powi(2)).sqrt();
            let error = width(both[column]) / expected - 1.0;
            assert!(error.abs() < 0.2, "{error} of column {column}");
        }
        assert_eq!((of_a[2], both[2]), (None, None));
    }
}
