//! The maximum of the samples in a time window, in constant memory: the greatest sample of the window, the greatest
//! after that one, and the greatest after the second (Kathleen Nichols' windowed filter, as in Linux's
//! `lib/win_minmax.c`).

use std::time::{Duration, Instant};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct WindowedMax(Option<[Sample; 3]>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    value: f64,
}

impl WindowedMax {
    pub(super) fn value(&self) -> Option<f64> {
        self.0.map(|best| best[0].value)
    }

    /// Adds a sample; those older than `window` no longer count.
    pub(super) fn add(&mut self, now: Instant, value: f64, window: Duration) {
        let new = Sample { at: now, value };
        let age = |sample: &Sample| now.saturating_duration_since(sample.at);
        let best = match &mut self.0 {
            Some(best) if value < best[0].value && age(&best[2]) <= window => best,
            // The first sample, a new maximum, or all three are older than the window.
            all => {
                *all = Some([new; 3]);
                return;
            }
        };
        if value >= best[1].value {
            best[1..].fill(new);
        } else if value >= best[2].value {
            best[2] = new;
        }
        if age(&best[0]) > window {
            *best = [best[1], best[2], new];
            if age(&best[0]) > window {
                *best = [best[1], best[2], new];
            }
        } else if best[1].at == best[0].at && age(&best[1]) > window / 4 {
            // A quarter of the window passed without a second best: take this one, so that one exists when the best
            // expires.
            best[1..].fill(new);
        } else if best[2].at == best[1].at && age(&best[2]) > window / 2 {
            best[2] = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_millis(1000);

    #[test]
    fn a_greater_sample_counts_at_once_and_a_smaller_one_when_the_maximum_expires() {
        let start = Instant::now();
        let mut max = WindowedMax::default();
        assert_eq!(max.value(), None);
        let mut add = |ms: u64, value| {
            max.add(start + Duration::from_millis(ms), value, WINDOW);
            max.value()
        };
        assert_eq!(add(0, 5.0), Some(5.0));
        assert_eq!(add(10, 9.0), Some(9.0));
        for ms in (20..=1010).step_by(10) {
            assert_eq!(add(ms, 4.0), Some(9.0), "{ms}");
        }
        assert_eq!(add(1020, 4.0), Some(4.0));
        // After a pause longer than the window only the next sample counts.
        assert_eq!(add(9000, 1.0), Some(1.0));
    }

    proptest! {
        /// Never more than the true maximum of the window, never less than that of its newest 370 ms.
        #[test]
        fn the_estimate_is_near_the_true_maximum(samples in prop::collection::vec((1u64..120, 0u32..1000), 1..200)) {
            let start = Instant::now();
            let mut max = WindowedMax::default();
            let mut seen = Vec::new();
            let mut at = 0;
            for (step, value) in samples {
                at += step;
                seen.push((at, f64::from(value)));
                max.add(start + Duration::from_millis(at), f64::from(value), WINDOW);
                let of_last = |ms: u64| {
                    let recent = seen.iter().filter(|(then, _)| at - then <= ms);
                    recent.map(|(_, value)| *value).fold(0.0, f64::max)
                };
                let value = max.value().unwrap();
                prop_assert!(value <= of_last(1000), "{value} of {seen:?}");
                prop_assert!(value >= of_last(370), "{value} of {seen:?}");
            }
        }
    }
}
