//! The interval between two warms, within its bounds.

use std::time::Duration;

use baton_proto::limits::{WARM_INTERVAL_MAX, WARM_INTERVAL_MIN};

/// From [`WARM_INTERVAL_MIN`] to [`WARM_INTERVAL_MAX`], in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WarmInterval(Duration);

/// Why a duration is no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WarmIntervalError {
    /// Zero, or below the minimum.
    #[error("an interval of {} ms is too short: pass at least {} ms", .0.as_millis(), WARM_INTERVAL_MIN.as_millis())]
    TooShort(Duration),
    /// Above the maximum.
    #[error("{} s is too long for an interval: pass at most {} days", .0.as_secs(), WARM_INTERVAL_MAX.as_secs() / 86_400)]
    TooLong(Duration),
}

impl WarmInterval {
    /// The interval as a duration.
    pub fn as_duration(self) -> Duration {
        self.0
    }

    /// The interval in milliseconds.
    pub fn as_millis(self) -> u64 {
        // At most a week.
        self.0.as_millis() as u64
    }
}

impl TryFrom<Duration> for WarmInterval {
    type Error = WarmIntervalError;

    /// Rounds down to milliseconds, the unit in which it is published.
    fn try_from(interval: Duration) -> Result<Self, WarmIntervalError> {
        if interval < WARM_INTERVAL_MIN {
            return Err(WarmIntervalError::TooShort(interval));
        }
        if interval > WARM_INTERVAL_MAX {
            return Err(WarmIntervalError::TooLong(interval));
        }
        Ok(Self(Duration::from_millis(interval.as_millis() as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_zero_or_beyond_the_bounds_is_refused() {
        let nanosecond = Duration::from_nanos(1);
        for short in [Duration::ZERO, nanosecond, WARM_INTERVAL_MIN - nanosecond] {
            assert_eq!(
                WarmInterval::try_from(short),
                Err(WarmIntervalError::TooShort(short))
            );
        }
        for long in [WARM_INTERVAL_MAX + nanosecond, Duration::MAX] {
            assert_eq!(
                WarmInterval::try_from(long),
                Err(WarmIntervalError::TooLong(long))
            );
        }
        for good in [WARM_INTERVAL_MIN, WARM_INTERVAL_MAX] {
            assert_eq!(WarmInterval::try_from(good).unwrap().as_duration(), good);
        }
    }

    #[test]
    fn an_interval_is_rounded_down_to_the_unit_in_which_it_is_published() {
        let interval = WarmInterval::try_from(Duration::from_micros(1_000_999)).unwrap();
        assert_eq!(
            interval.as_duration(),
            Duration::from_millis(interval.as_millis())
        );
        assert_eq!(interval.as_millis(), 1_000);
    }
}
