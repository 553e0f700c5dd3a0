//! Values and their quantiles in bounded memory.
//!
//! Up to [`EXACT_VALUES`] the values are kept and quantiles are exact. With one more, all move into a sketch with bins of
//! equal relative width (Masson, Rim, Lee: "DDSketch", VLDB 2019): quantiles are then within [`SKETCH_ERROR`] of an exact
//! one.

use sketches_ddsketch::{Config, DDSketch};

use super::quantile::Quantile;
use crate::limits::{EXACT_VALUES, SKETCH_BINS, SKETCH_ERROR};

/// Values of one kind, like the durations of a stage in nanoseconds.
pub struct Distribution {
    values: Values,
    sum: f64,
    max: f64,
}

enum Values {
    Exact { values: Vec<f64>, is_sorted: bool },
    Sketch(Box<DDSketch>),
}

impl Default for Distribution {
    fn default() -> Self {
        Self::new()
    }
}

impl Distribution {
    /// No values.
    pub fn new() -> Self {
        Self {
            values: Values::Exact {
                values: Vec::new(),
                is_sorted: true,
            },
            sum: 0.0,
            max: f64::NEG_INFINITY,
        }
    }

    /// Adds a value. One that is not finite is ignored.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.sum += value;
        self.max = self.max.max(value);
        match &mut self.values {
            Values::Exact { values, is_sorted } if values.len() < EXACT_VALUES => {
                values.push(value);
                *is_sorted = false;
            }
            Values::Exact { values, .. } => {
                // Values below 1 (a nanosecond) count as 0.
                let mut sketch = DDSketch::new(Config::new(SKETCH_ERROR, SKETCH_BINS, 1.0));
                for value in std::mem::take(values) {
                    sketch.add(value);
                }
                sketch.add(value);
                self.values = Values::Sketch(Box::new(sketch));
            }
            Values::Sketch(sketch) => sketch.add(value),
        }
    }

    /// How many values were added.
    pub fn count(&self) -> usize {
        match &self.values {
            Values::Exact { values, .. } => values.len(),
            Values::Sketch(sketch) => sketch.count(),
        }
    }

    /// Whether quantiles are exact. Else they are within [`SKETCH_ERROR`].
    pub fn is_exact(&self) -> bool {
        matches!(self.values, Values::Exact { .. })
    }

    /// The sum, exact but for rounding.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The greatest value, always exact; `None` without values.
    pub fn max(&self) -> Option<f64> {
        (self.count() > 0).then_some(self.max)
    }

    /// A quantile by nearest rank; `None` without values.
    pub fn quantile(&mut self, quantile: Quantile) -> Option<f64> {
        let index = quantile.index(self.count());
        match &mut self.values {
            Values::Exact { values, is_sorted } => {
                if !*is_sorted {
                    values.sort_unstable_by(f64::total_cmp);
                    *is_sorted = true;
                }
                values.get(index).copied()
            }
            Values::Sketch(sketch) => {
                // The sketch rounds `quantile × (count − 1)` down to an index: half more than the index meets it.
                let quantile = (index as f64 + 0.5) / (sketch.count() as f64 - 1.0);
                sketch.quantile(quantile.min(1.0)).ok().flatten()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    fn quantiles() -> impl Iterator<Item = Quantile> {
        ["p0", "p1", "p25", "p50", "p90", "p99", "p99.9", "p99.99"]
            .into_iter()
            .map(|text| text.parse().unwrap())
    }

    /// Durations from a microsecond to a minute, equally likely at each scale.
    fn durations(count: usize) -> Vec<f64> {
        let mut random = Random::new(7);
        (0..count)
            .map(|_| (1e3 * (60e6f64.ln() * random.unit()).exp()).round())
            .collect()
    }

    #[test]
    fn ten_thousand_values_are_exact() {
        let mut values = durations(EXACT_VALUES);
        let mut distribution = Distribution::new();
        values.iter().for_each(|value| distribution.add(*value));
        assert!(distribution.is_exact());
        for quantile in quantiles() {
            assert_eq!(distribution.quantile(quantile), quantile.of(&mut values));
        }
        assert_eq!(distribution.max(), values.iter().copied().reduce(f64::max));
    }

    #[test]
    fn more_values_are_within_one_percent() {
        for count in [10_001, 10_002, 10_005, 25_000, 100_000] {
            let mut values = durations(count);
            let mut distribution = Distribution::new();
            values.iter().for_each(|value| distribution.add(*value));
            assert!(!distribution.is_exact());
            assert_eq!(distribution.count(), count);
            for quantile in quantiles() {
                let exact = quantile.of(&mut values).unwrap();
                let sketched = distribution.quantile(quantile).unwrap();
                let error = (sketched / exact - 1.0).abs();
                assert!(
                    error <= SKETCH_ERROR * 1.000_001,
                    "{quantile} of {count}: {sketched} for {exact}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_ignored() {
        let mut distribution = Distribution::new();
        distribution.add(f64::NAN);
        distribution.add(f64::INFINITY);
        assert_eq!((distribution.count(), distribution.max()), (0, None));
        assert_eq!(distribution.quantile(Quantile::P50), None);
    }
}
