//! Quantiles of the normal and of Student's distribution, for sample sizes and the width of intervals. No p-value
//! depends on them: those are counted from resamples.

/// The quantile of the standard normal distribution at `p`, within 5 × 10^-4: Abramowitz and Stegun, "Handbook of
/// Mathematical Functions", 26.2.23.
pub(super) fn normal(p: f64) -> f64 {
    let tail = p.min(1.0 - p).max(f64::MIN_POSITIVE);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let quantile = t - above / below;
    if p < 0.5 { -quantile } else { quantile }
}

/// The quantile of Student's distribution: the expansion in 1 / `freedom` of Abramowitz and Stegun, 26.7.5. Within 1 %
/// from 5 degrees of freedom, for `p` up to 0.999.
pub(super) fn student(p: f64, freedom: f64) -> f64 {
    let z = normal(p);
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    let first = (z3 + z) / 4.0;
    let second = (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0;
    let third = (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0;
    let freedom = freedom.max(1.0);
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From printed tables of the two distributions.
    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.9, 1.2816),
            (0.975, 1.9600),
            (0.999, 3.0902),
            (0.025, -1.9600),
        ] {
            assert!((normal(p) - z).abs() < 5e-4, "{p}: {} for {z}", normal(p));
        }
        for (p, freedom, t) in [
            (0.975, 5.0, 2.5706),
            (0.975, 19.0, 2.0930),
            (0.975, 39.0, 2.0227),
            (0.999, 19.0, 3.5794),
            (0.95, 9.0, 1.8331),
        ] {
            let is = student(p, freedom);
            assert!((is / t - 1.0).abs() < 0.01, "{p}, {freedom}: {is} for {t}");
        }
    }
}
