//! Counts connections that were closed because of a limit. Any peer can cause them, so the relay logs their number at
//! most once per [`REJECTED_LOG_INTERVAL`]: otherwise a peer could fill the log.

use std::time::Instant;

use crate::limits::REJECTED_LOG_INTERVAL;

/// The number of rejected connections since the last log line.
#[derive(Debug, Default)]
pub(crate) struct RejectedConnections {
    last_log: Option<Instant>,
    count: u64,
}

impl RejectedConnections {
    /// Counts one more. Returns the number to log, if the interval has passed.
    pub(crate) fn add(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let waits = |last_log| now.saturating_duration_since(last_log) < REJECTED_LOG_INTERVAL;
        if self.last_log.is_some_and(waits) {
            return None;
        }
        self.last_log = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_surplus_connection_is_told_at_once_and_the_others_are_counted() {
        let start = Instant::now();
        let mut rejected = RejectedConnections::default();
        assert_eq!(rejected.add(start), Some(1));
        for _ in 0..10_000 {
            assert_eq!(rejected.add(start + REJECTED_LOG_INTERVAL / 2), None);
        }
        assert_eq!(rejected.add(start + REJECTED_LOG_INTERVAL), Some(10_001));
        assert_eq!(rejected.add(start + REJECTED_LOG_INTERVAL), None);
    }
}
