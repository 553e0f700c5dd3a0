//! The correction of p-values over stages (Holm: "A simple sequentially rejective multiple test procedure", 1979).

/// The corrected p-values, in the order of the given ones. If those at or below 0.05 are called changes, the probability
/// of calling any that is none is at most 5 %, however the stages depend on each other.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*one].total_cmp(&p[*other]));
    let mut corrected = vec![1.0; p.len()];
    let mut greatest = 0.0f64;
    for (rank, index) in order.into_iter().enumerate() {
        greatest = greatest.max(p[index] * (p.len() - rank) as f64).min(1.0);
        corrected[index] = greatest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_is_multiplied_by_all_the_next_by_one_less_and_none_overtakes() {
        assert_eq!(holm(&[]), [0.0; 0]);
        assert_eq!(holm(&[0.25, 0.0625, 0.125]), [0.25, 0.1875, 0.25]);
        assert_eq!(holm(&[0.5, 0.75, 0.5]), [1.0, 1.0, 1.0]);
        // 0.04 × 1 would be below 0.03 × 2, and is raised to it.
        assert_eq!(holm(&[0.04, 0.03]), [0.06, 0.06]);
    }
}
