//! Lines that others can cause at will: some a minute are told, the rest is counted. A log that a stranger can fill is a limit missing.
//!
//! Sans IO: the time comes in as an argument. Counted by cause, not by text, for the text is often a stranger's.

use std::time::Instant;

use crate::limits::{LOG_LINES_PER_PERIOD, LOG_PERIOD};

/// The lines of one cause.
#[derive(Debug, Default)]
pub(crate) struct LogRateLimit {
    /// When the period began, and how many were told in it.
    period: Option<(Instant, u32)>,
    /// Since the last count.
    kept_back: u64,
}

impl LogRateLimit {
    /// Whether one more should be told.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        let told = match &mut self.period {
            Some((began, told)) if !is_over(*began, now) => told,
            period => &mut period.insert((now, 0)).1,
        };
        if *told >= LOG_LINES_PER_PERIOD {
            self.kept_back += 1;
            return false;
        }
        *told += 1;
        true
    }

    /// How many were kept back in a period that is over, once.
    pub(crate) fn count(&mut self, now: Instant) -> Option<u64> {
        let is_over = self.period.is_none_or(|(began, _)| is_over(began, now));
        (is_over && self.kept_back > 0).then(|| std::mem::take(&mut self.kept_back))
    }
}

fn is_over(began: Instant, now: Instant) -> bool {
    now.saturating_duration_since(began) >= LOG_PERIOD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_lines_of_a_period_are_told_and_the_rest_is_counted_once_it_is_over() {
        let start = Instant::now();
        let mut repeats = LogRateLimit::default();
        assert_eq!(repeats.count(start), None);
        let told = (0..10_000).filter(|_| repeats.admit(start)).count();
        assert_eq!(told, LOG_LINES_PER_PERIOD as usize);
        assert_eq!(repeats.count(start), None, "not yet");
        let later = start + LOG_PERIOD;
        assert_eq!(repeats.count(later), Some(10_000 - told as u64));
        assert_eq!(repeats.count(later), None, "once");
        assert!(repeats.admit(later));
    }
}
