//! Bars and verdicts.

use std::fmt;

use super::bootstrap::Estimate;
use crate::limits::NOISE_ALLOWED;

/// What a measured number must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

/// The result of comparing an estimate with a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is within the bar.
    Pass,
    /// The whole interval is within the bar plus the noise of a participant against itself.
    PassWithinNoise,
    /// The interval exceeds the bar plus noise.
    Fail,
}

impl Bar {
    /// A number passes when the worse bound of its interval is within the bar plus `noise`. `noise` is the half-width
    /// of the interval of A against A, or 0 without such a comparison. At most [`NOISE_ALLOWED`] of the bar is allowed.
    /// NaN fails.
    pub fn judge(self, estimate: &Estimate, noise: f64) -> Verdict {
        let (Self::AtMost(bar) | Self::AtLeast(bar)) = self;
        let noise = noise.min(bar.abs() * NOISE_ALLOWED);
        let (is_within, is_within_noise) = match self {
            Self::AtMost(bar) => (estimate.high <= bar, estimate.high <= bar + noise),
            Self::AtLeast(bar) => (estimate.low >= bar, estimate.low >= bar - noise),
        };
        match (is_within, is_within_noise) {
            (true, _) => Verdict::Pass,
            (false, true) => Verdict::PassWithinNoise,
            (false, false) => Verdict::Fail,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bar) => write!(f, "≤ {bar}"),
            Self::AtLeast(bar) => write!(f, "≥ {bar}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::PassWithinNoise => "pass (noise)",
            Self::Fail => "FAIL",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn between(low: f64, high: f64) -> Estimate {
        Estimate {
            value: (low + high) / 2.0,
            low,
            high,
        }
    }

    #[test]
    fn the_worse_bound_of_the_interval_decides() {
        let bar = Bar::AtMost(1.4);
        assert_eq!(bar.judge(&between(1.2, 1.4), 0.0), Verdict::Pass);
        assert_eq!(bar.judge(&between(1.2, 1.41), 0.02), Verdict::PassWithinNoise);
        assert_eq!(bar.judge(&between(1.2, 1.43), 0.02), Verdict::Fail);
        let bar = Bar::AtLeast(0.85);
        assert_eq!(bar.judge(&between(0.85, 0.95), 0.0), Verdict::Pass);
        assert_eq!(bar.judge(&between(0.84, 0.95), 0.02), Verdict::PassWithinNoise);
        assert_eq!(bar.judge(&between(0.82, 0.95), 0.02), Verdict::Fail);
    }

    #[test]
    fn the_allowance_for_noise_is_bounded() {
        let bar = Bar::AtMost(1.6);
        assert_eq!(bar.judge(&between(1.68, 2.3), 1.3), Verdict::Fail);
        assert_eq!(bar.judge(&between(1.5, 1.67), 1.3), Verdict::PassWithinNoise);
        assert_eq!(Bar::AtLeast(0.85).judge(&between(0.5, 0.9), 0.5), Verdict::Fail);
    }

    #[test]
    fn nan_fails_every_bar() {
        let nothing = Estimate::exact(f64::NAN);
        assert_eq!(Bar::AtMost(1.0).judge(&nothing, 0.0), Verdict::Fail);
        assert_eq!(Bar::AtLeast(1.0).judge(&nothing, f64::NAN), Verdict::Fail);
    }

    proptest! {
        #[test]
        fn the_two_bars_mirror_each_other(low in 0.0f64..2.0, width in 0.0f64..1.0, bar in 0.0f64..2.0, noise in 0.0f64..0.2) {
            let at_most = Bar::AtMost(bar).judge(&between(low, low + width), noise);
            let at_least = Bar::AtLeast(-bar).judge(&between(-low - width, -low), noise);
            prop_assert_eq!(at_most, at_least);
        }
    }
}
