//! Limits log lines that peers can cause: a few per minute are logged, the others are counted. Otherwise a peer could
//! fill the log.
//!
//! Sans-IO: time is an argument. Lines are counted by kind, not by text, because the text often comes from a peer.

use std::time::Instant;

use crate::limits::{LOG_LINES_PER_PERIOD, LOG_PERIOD};

/// The lines of one kind.
#[derive(Debug, Default)]
pub(crate) struct LogRateLimit {
    /// When the period began, and how many lines were logged in it.
    period: Option<(Instant, u32)>,
    /// Lines that were suppressed since the last count.
    kept_back: u64,
}

impl LogRateLimit {
    /// Whether one more line may be logged.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        let logged = match &mut self.period {
            Some((began, logged)) if !is_over(*began, now) => logged,
            period => &mut period.insert((now, 0)).1,
        };
        if *logged >= LOG_LINES_PER_PERIOD {
            self.kept_back += 1;
            return false;
        }
        *logged += 1;
        true
    }

    /// The number of suppressed lines after the end of a period, once.
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
        let logged = (0..10_000).filter(|_| repeats.admit(start)).count();
        assert_eq!(logged, LOG_LINES_PER_PERIOD as usize);
        assert_eq!(repeats.count(start), None, "not yet");
        let later = start + LOG_PERIOD;
        assert_eq!(repeats.count(later), Some(10_000 - logged as u64));
        assert_eq!(repeats.count(later), None, "once");
        assert!(repeats.admit(later));
    }
}
