//! The centre of a block's runs.

/// The mean of the middle half of the values (the interquartile mean): sort, leave out a quarter of the weight at each
/// end, average the rest. `None` without values. Reorders them.
///
/// One run in five that was disturbed does not move it, as with the median, and it uses more of the data: for normal
/// values its variance is 0.84 of that of the median.
pub fn midmean(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let count = values.len() as f64;
    let (from, to) = (count / 4.0, count * 3.0 / 4.0);
    let weighted = |(index, value): (usize, &f64)| {
        // The part of this value's unit of weight that lies in the middle half.
        let weight = (to.min(index as f64 + 1.0) - from.max(index as f64)).max(0.0);
        value * weight
    };
    Some(values.iter().enumerate().map(weighted).sum::<f64>() / (to - from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_weight_at_each_end_is_left_out() {
        assert_eq!(midmean(&mut []), None);
        assert_eq!(midmean(&mut [7.0]), Some(7.0));
        assert_eq!(midmean(&mut [1.0, 3.0]), Some(2.0));
        assert_eq!(midmean(&mut [100.0, 1.0, 2.0, 4.0]), Some(3.0));
        // Five values: 0, 0.75, 1, 0.75, 0.
        let expected = (0.75 * 2.0 + 3.0 + 0.75 * 5.0) / 2.5;
        assert_eq!(midmean(&mut [-1e9, 2.0, 3.0, 5.0, 1e9]), Some(expected));
    }
}
