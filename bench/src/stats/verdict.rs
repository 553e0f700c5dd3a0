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

/// The value of a comparison of equal programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEffect {
    /// Of a ratio.
    One,
    /// Of a difference.
    Zero,
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
    /// A participant differs from itself, so that what was measured is not, or not only, the programs' difference.
    NotJudgeable,
}

impl NoEffect {
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Zero => 0.0,
        }
    }
}

impl Verdict {
    /// Whether the bar is reached.
    pub fn has_passed(self) -> bool {
        matches!(self, Self::Pass | Self::PassWithinNoise)
    }
}

impl Bar {
    /// Compares without A against A: a number passes when the worse end of its interval is within the bar. NaN fails.
    pub fn judge(self, estimate: &Estimate) -> Verdict {
        self.judge_within(estimate, 0.0)
    }

    /// Compares with A against A, a participant compared with a second one of its kind. If the interval of that
    /// excludes `no_effect`, nothing is judgeable. Otherwise half its width is allowed beyond the bar, at most
    /// [`NOISE_ALLOWED`] of the bar's distance from `no_effect`. NaN never passes.
    pub fn judge_against_noise(
        self,
        estimate: &Estimate,
        a_against_a: &Estimate,
        no_effect: NoEffect,
    ) -> Verdict {
        let neutral = no_effect.value();
        if !(a_against_a.low..=a_against_a.high).contains(&neutral) {
            return Verdict::NotJudgeable;
        }
        let (Self::AtMost(bar) | Self::AtLeast(bar)) = self;
        let most = (bar - neutral).abs() * NOISE_ALLOWED;
        self.judge_within(estimate, a_against_a.half_width().min(most))
    }

    fn judge_within(self, estimate: &Estimate, noise: f64) -> Verdict {
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
            Self::NotJudgeable => "not judgeable",
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

    /// A against A around the value of no effect.
    fn noise(no_effect: NoEffect, half_width: f64) -> Estimate {
        let neutral = no_effect.value();
        between(neutral - half_width, neutral + half_width)
    }

    fn ratio(bar: Bar, low: f64, high: f64, half_width: f64) -> Verdict {
        bar.judge_against_noise(
            &between(low, high),
            &noise(NoEffect::One, half_width),
            NoEffect::One,
        )
    }

    #[test]
    fn the_worse_bound_of_the_interval_decides() {
        let bar = Bar::AtMost(1.4);
        assert_eq!(bar.judge(&between(1.2, 1.4)), Verdict::Pass);
        assert_eq!(bar.judge(&between(1.2, 1.401)), Verdict::Fail);
        assert_eq!(ratio(bar, 1.2, 1.41, 0.02), Verdict::PassWithinNoise);
        assert_eq!(ratio(bar, 1.2, 1.43, 0.02), Verdict::Fail);
        let bar = Bar::AtLeast(0.5);
        assert_eq!(bar.judge(&between(0.5, 0.95)), Verdict::Pass);
        assert_eq!(ratio(bar, 0.49, 0.95, 0.02), Verdict::PassWithinNoise);
        assert_eq!(ratio(bar, 0.47, 0.95, 0.02), Verdict::Fail);
    }

    #[test]
    fn a_participant_that_differs_from_itself_makes_nothing_judgeable() {
        let bar = Bar::AtMost(1.4);
        for a_against_a in [between(1.001, 1.02), between(0.9, 0.999)] {
            for measured in [between(1.0, 1.1), between(1.6, 1.7)] {
                let verdict = bar.judge_against_noise(&measured, &a_against_a, NoEffect::One);
                assert_eq!(verdict, Verdict::NotJudgeable);
                assert!(!verdict.has_passed());
            }
        }
        let touching = between(1.0, 1.02);
        let verdict = bar.judge_against_noise(&between(1.0, 1.1), &touching, NoEffect::One);
        assert_eq!(verdict, Verdict::Pass);
        // Of a difference, it is 0 that must be inside.
        let verdict = |a_against_a| {
            Bar::AtMost(0.4).judge_against_noise(&between(0.1, 0.2), &a_against_a, NoEffect::Zero)
        };
        assert_eq!(verdict(between(-0.003, 0.004)), Verdict::Pass);
        assert_eq!(verdict(between(0.99, 1.01)), Verdict::NotJudgeable);
        assert_eq!(verdict(Estimate::exact(f64::NAN)), Verdict::NotJudgeable);
    }

    #[test]
    fn the_allowance_for_noise_is_half_of_what_the_bar_allows_at_most() {
        // However wide A against A is: 1.03 allows 3 %, so 1.5 % of noise.
        let narrow = Bar::AtMost(1.03);
        assert_eq!(ratio(narrow, 1.0, 1.0449, 0.5), Verdict::PassWithinNoise);
        assert_eq!(ratio(narrow, 1.0, 1.0451, 0.5), Verdict::Fail);
        let wide = Bar::AtMost(2.0);
        assert_eq!(ratio(wide, 1.0, 2.49, 0.6), Verdict::PassWithinNoise);
        assert_eq!(ratio(wide, 1.0, 2.51, 0.6), Verdict::Fail);
        assert_eq!(
            ratio(Bar::AtLeast(0.9), 0.851, 1.0, 0.5),
            Verdict::PassWithinNoise
        );
        assert_eq!(ratio(Bar::AtLeast(0.9), 0.849, 1.0, 0.5), Verdict::Fail);
        // A bar of exactly no effect allows none.
        assert_eq!(ratio(Bar::AtMost(1.0), 0.9, 1.001, 0.5), Verdict::Fail);
        let difference = |high| {
            Bar::AtMost(100.0).judge_against_noise(
                &between(0.0, high),
                &noise(NoEffect::Zero, 500.0),
                NoEffect::Zero,
            )
        };
        assert_eq!(difference(149.0), Verdict::PassWithinNoise);
        assert_eq!(difference(151.0), Verdict::Fail);
    }

    #[test]
    fn a_quiet_machine_allows_no_more_than_its_noise() {
        assert_eq!(ratio(Bar::AtMost(1.4), 1.2, 1.41, 0.001), Verdict::Fail);
    }

    #[test]
    fn nan_fails_every_bar() {
        let nothing = Estimate::exact(f64::NAN);
        assert_eq!(Bar::AtMost(1.0).judge(&nothing), Verdict::Fail);
        assert_eq!(Bar::AtLeast(1.0).judge(&nothing), Verdict::Fail);
        let noise = noise(NoEffect::One, 0.1);
        let verdict = Bar::AtMost(2.0).judge_against_noise(&nothing, &noise, NoEffect::One);
        assert_eq!(verdict, Verdict::Fail);
    }

    proptest! {
        #[test]
        fn the_two_bars_mirror_each_other(low in 0.0f64..2.0, width in 0.0f64..1.0, bar in 0.0f64..2.0, half_width in 0.0f64..0.2) {
            let a_against_a = noise(NoEffect::Zero, half_width);
            let judge = |bar: Bar, of| bar.judge_against_noise(&of, &a_against_a, NoEffect::Zero);
            let at_most = judge(Bar::AtMost(bar), between(low, low + width));
            let at_least = judge(Bar::AtLeast(-bar), between(-low - width, -low));
            prop_assert_eq!(at_most, at_least);
        }
    }
}
