//! Quantiles by nearest rank: the smallest value that at least this part of all values does not exceed. It is always one
//! of the values, so a trace can be named for it; nothing is interpolated.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A quantile, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantile(u16);

/// The text is no quantile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a quantile; write p50, p90 or p99.9: a `p` and a percentage below 100 with at most two decimals"
)]
pub struct ParseQuantileError(String);

/// The unit of [`Quantile`]: the whole.
const WHOLE: u16 = 10_000;

impl Quantile {
    /// The median.
    pub const P50: Self = Self(5_000);
    /// The 90th percentile.
    pub const P90: Self = Self(9_000);
    /// The 99th percentile.
    pub const P99: Self = Self(9_900);
    /// The 99.9th percentile.
    pub const P999: Self = Self(9_990);

    /// The index of the quantile among `count` sorted values; 0 if there are none.
    pub fn index(self, count: usize) -> usize {
        // In integers, so that 99 % of 100 values is rank 99: 0.99 × 100 is not exactly 99. u128 cannot overflow.
        let rank = (u128::from(self.0) * count as u128).div_ceil(WHOLE.into()) as usize;
        rank.max(1).min(count.max(1)) - 1
    }

    /// The quantile of these values, `None` if there are none. Reorders them. NaN sorts above every number.
    pub fn of(self, values: &mut [f64]) -> Option<f64> {
        let index = self.index(values.len());
        if values.is_empty() {
            return None;
        }
        Some(*values.select_nth_unstable_by(index, f64::total_cmp).1)
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (self.0 / 100, self.0 % 100) {
            (percent, 0) => format!("p{percent}"),
            (percent, rest) if rest % 10 == 0 => format!("p{percent}.{}", rest / 10),
            (percent, rest) => format!("p{percent}.{rest:02}"),
        };
        f.pad(&text)
    }
}

impl FromStr for Quantile {
    type Err = ParseQuantileError;

    fn from_str(text: &str) -> Result<Self, ParseQuantileError> {
        let error = || ParseQuantileError(text.chars().take(40).collect());
        let number = text.strip_prefix('p').ok_or_else(error)?;
        let (percent, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(percent) || !digits(decimals) {
            return Err(error());
        }
        // At most two digits each: they are numbers, and the sum is at most 9,999.
        let number = |text: &str| text.parse::<u16>().map_err(|_| error());
        let tens = if decimals.len() == 1 { 10 } else { 1 };
        Ok(Self(number(percent)? * 100 + number(decimals)? * tens))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_nth_percentile_of_1_to_100_is_n() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for percent in 1..100 {
            let quantile: Quantile = format!("p{percent}").parse().unwrap();
            assert_eq!(quantile.of(&mut values), Some(f64::from(percent)));
        }
        assert_eq!("p0".parse::<Quantile>().unwrap().of(&mut values), Some(1.0));
        assert_eq!("p99.01".parse::<Quantile>().unwrap().of(&mut values), Some(100.0));
    }

    #[test]
    fn no_values_have_no_quantile() {
        assert_eq!(Quantile::P50.of(&mut []), None);
    }

    #[test]
    fn text_that_is_no_quantile_is_refused() {
        for text in [
            "", "p", "50", "p100", "p5.", "p.5", "p-1", "p5e1", "p50.123", "P50", "p٣",
        ] {
            assert!(text.parse::<Quantile>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_a_value_with_enough_values_at_or_below_it(
            mut values in prop::collection::vec(-1e9f64..1e9, 1..200),
            quantile in 0u16..10_000,
        ) {
            let value = Quantile(quantile).of(&mut values).unwrap();
            let at_or_below = values.iter().filter(|one| **one <= value).count();
            let below = values.iter().filter(|one| **one < value).count();
            prop_assert!(values.contains(&value));
            prop_assert!(at_or_below * 10_000 >= values.len() * usize::from(quantile));
            prop_assert!(below == 0 || below * 10_000 < values.len() * usize::from(quantile));
        }

        #[test]
        fn a_printed_quantile_parses_to_itself(quantile in 0u16..10_000) {
            prop_assert_eq!(Quantile(quantile).to_string().parse(), Ok(Quantile(quantile)));
        }
    }
}
