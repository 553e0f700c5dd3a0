//! Traces that stand for a percentile.
//!
//! Values are sorted into bins of 2 % of their size, and each bin keeps one trace, the one with the smallest id. So the
//! exemplars do not depend on the order of the input, and need little memory.

use baton_trace::TraceId;

/// One trace for each size of a value.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    /// A trace id and its value, by [`bin`].
    bins: Vec<Option<([u8; 16], u64)>>,
}

impl Exemplars {
    pub(super) fn add(&mut self, value: u64, trace: TraceId) {
        let found = (trace.to_bytes(), value);
        let bin = bin(value);
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, None);
        }
        let known = &mut self.bins[bin];
        *known = Some(known.map_or(found, |known| found.min(known)));
    }

    /// The trace whose value is nearest to `value`.
    pub(super) fn nearest(&self, value: f64) -> Option<TraceId> {
        let middle = self.bins.len().min(bin(value.max(0.0) as u64) + 1);
        let (below, above) = self.bins.split_at(middle);
        let below = below.iter().rev().flatten().take(2);
        let above = above.iter().flatten().take(1);
        let distance = |(_, known): &&([u8; 16], u64)| (*known as f64 - value).abs();
        let nearest = below
            .chain(above)
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        Some(TraceId::from_bytes(nearest.0))
    }
}

/// Bins that are powers of two divided into 32 equal parts: 2 to 3 % wide, without a logarithm. Fewer than 2,080.
fn bin(value: u64) -> usize {
    let bits = 64 - value.leading_zeros();
    if bits <= 5 {
        return value as usize;
    }
    let part = (value >> (bits - 6)) & 31;
    bits as usize * 32 + part as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_in_the_order_of_their_values_and_three_percent_wide() {
        let mut last = 0;
        for value in 0..200_000u64 {
            assert!(bin(value) >= last, "{value}");
            last = bin(value);
            assert!(value < 32 || bin(value) < bin(value + value / 31 + 1), "{value}");
        }
        assert!(bin(u64::MAX) < 2_080);
    }

    #[test]
    fn the_nearest_trace_stands_for_a_value() {
        let mut exemplars = Exemplars::default();
        for value in [10, 1_000, 2_000, 1_000_000] {
            exemplars.add(value, TraceId::from(u128::from(value)));
        }
        for (value, nearest) in [
            (0.0, 10),
            (1_010.0, 1_000),
            (1_600.0, 2_000),
            (1_400.0, 1_000),
            (9e9, 1_000_000),
        ] {
            assert_eq!(exemplars.nearest(value), Some(TraceId::from(nearest)), "{value}");
        }
        assert_eq!(Exemplars::default().nearest(1.0), None);
    }

    #[test]
    fn the_order_of_the_input_does_not_matter() {
        let of = |ids: [u128; 3]| {
            let mut exemplars = Exemplars::default();
            ids.iter().for_each(|id| exemplars.add(1_000, TraceId::from(*id)));
            exemplars.nearest(1_000.0)
        };
        assert_eq!(of([1, 2, 3]), of([3, 2, 1]));
    }
}
