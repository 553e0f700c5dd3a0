//! Counts connections that were closed before they were served. Any peer can cause them, so the relay logs their number
//! at most once per [`REJECTED_LOG_INTERVAL`] and cause: otherwise a peer could fill the log. A flood of one cause does
//! not hide another.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits::REJECTED_LOG_INTERVAL;
use crate::rejection::{HeaderError, Rejection};

/// The rejected connections of a relay, by cause.
#[derive(Debug, Default)]
pub(crate) struct RejectedConnections {
    beyond_limits: RejectionCount,
    not_balancers: RejectionCount,
    without_header: RejectionCount,
}

/// The number of rejected connections since the last log line.
#[derive(Debug, Default)]
struct RejectionCount(Mutex<UnloggedRejections>);

#[derive(Debug, Default)]
struct UnloggedRejections {
    last_log: Option<Instant>,
    count: u64,
}

impl RejectedConnections {
    /// Counts one more connection of `remote`, and logs the number that was not logged yet, if it is time.
    pub(crate) fn add(&self, rejection: &Rejection, remote: IpAddr) {
        let now = Instant::now();
        match rejection {
            Rejection::Limit(limit) => {
                if let Some(closed) = self.beyond_limits.add(now) {
                    tracing::warn!(closed, %remote, "connections beyond a limit were closed: {limit}");
                }
            }
            Rejection::NotABalancer => {
                if let Some(closed) = self.not_balancers.add(now) {
                    tracing::warn!(
                        closed,
                        %remote,
                        "connections past the balancer were closed: {rejection}; dial the balancer, or name the address \
                         if it is one"
                    );
                }
            }
            // Plain TCP health checks do this every few seconds.
            Rejection::Header(error @ HeaderError::Unused) => tracing::debug!(%remote, "{error}"),
            Rejection::Header(error) => {
                if let Some(closed) = self.without_header.add(now) {
                    tracing::warn!(
                        closed,
                        %remote,
                        "connections of a balancer without a valid PROXY header were closed: {error}"
                    );
                }
            }
        }
    }
}

impl RejectionCount {
    /// Counts one more. Returns the number to log, if the interval has passed.
    fn add(&self, now: Instant) -> Option<u64> {
        let mut unlogged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unlogged.count += 1;
        let waits = |last_log| now.saturating_duration_since(last_log) < REJECTED_LOG_INTERVAL;
        if unlogged.last_log.is_some_and(waits) {
            return None;
        }
        unlogged.last_log = Some(now);
        Some(std::mem::take(&mut unlogged.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_surplus_connection_is_told_at_once_and_the_others_are_counted() {
        let start = Instant::now();
        let rejected = RejectionCount::default();
        assert_eq!(rejected.add(start), Some(1));
        for _ in 0..10_000 {
            assert_eq!(rejected.add(start + REJECTED_LOG_INTERVAL / 2), None);
        }
        assert_eq!(rejected.add(start + REJECTED_LOG_INTERVAL), Some(10_001));
        assert_eq!(rejected.add(start + REJECTED_LOG_INTERVAL), None);
    }
}
