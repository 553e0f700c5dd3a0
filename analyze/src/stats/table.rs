//! One value per block and stage.

/// Values by row (a block, or a pair of blocks) and column (a stage). A block need not have every stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    columns: usize,
    /// Row by row; NaN where the block has no value.
    values: Vec<f64>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: usize) -> Self {
        Self {
            columns,
            values: Vec::new(),
        }
    }

    /// Adds a row: a value per column. Missing values count as absent, further ones are ignored.
    pub fn push(&mut self, row: impl IntoIterator<Item = Option<f64>>) {
        let row = row.into_iter().map(|value| value.unwrap_or(f64::NAN));
        let row = row.chain(std::iter::repeat(f64::NAN)).take(self.columns);
        self.values.extend(row);
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// One row; NaN where a value is absent.
    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// The present values of a column.
    pub fn column(&self, column: usize) -> impl Iterator<Item = f64> {
        let values = self.values.iter().skip(column).step_by(self.columns.max(1));
        values.copied().filter(|value| !value.is_nan())
    }

    /// The number of present values of a column.
    pub fn count(&self, column: usize) -> usize {
        self.column(column).count()
    }

    /// The mean of a column; NaN if it is empty.
    pub fn mean(&self, column: usize) -> f64 {
        self.column(column).sum::<f64>() / self.count(column) as f64
    }

    /// The variance of a column, with n − 1 under it; NaN with fewer than two values.
    pub fn variance(&self, column: usize) -> f64 {
        let mean = self.mean(column);
        let squares: f64 = self.column(column).map(|value| (value - mean).powi(2)).sum();
        match self.count(column) {
            0 | 1 => f64::NAN,
            count => squares / (count - 1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_the_present_values_only() {
        let mut table = Table::new(2);
        table.push([Some(1.0), Some(5.0)]);
        table.push([Some(3.0)]);
        table.push([Some(5.0), None]);
        assert_eq!(table.rows(), 3);
        assert_eq!((table.count(0), table.mean(0), table.variance(0)), (3, 3.0, 4.0));
        assert_eq!((table.count(1), table.mean(1)), (1, 5.0));
        assert!(table.variance(1).is_nan());
    }
}
