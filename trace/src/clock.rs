//! The offset between two machines' wall clocks, from four-stamp exchanges (RFC 5905 section 8).
//!
//! The handshake is the first sample and every `Ping`/`Pong` another. The sample with the least round trip in
//! the window wins: queueing only ever adds to the round trip, and half of it bounds the error.

use std::collections::VecDeque;

use crate::limits::CLOCK_SAMPLES;

/// Estimated peer clock minus own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// Peer minus own, in nanoseconds.
    pub offset_ns: i64,
    /// The true offset lies within this of the estimate, in nanoseconds.
    pub error_ns: u64,
}

impl ClockOffset {
    /// Whether both ends may share a clock, as on one machine: an offset of 0 lies within the error.
    pub fn may_be_none(&self) -> bool {
        self.offset_ns.unsigned_abs() <= self.error_ns
    }
}

/// Four stamps of one exchange, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct ClockSample {
    /// Own clock: request sent.
    pub t0: u64,
    /// Peer's clock: request received.
    pub t1: u64,
    /// Peer's clock: answer sent.
    pub t2: u64,
    /// Own clock: answer received.
    pub t3: u64,
}

impl ClockSample {
    fn estimate(&self) -> Option<ClockOffset> {
        let [t0, t1, t2, t3] = [self.t0, self.t1, self.t2, self.t3].map(i128::from);
        let round_trip = (t3 - t0) - (t2 - t1);
        // The peer sent false stamps, or a clock was stepped.
        if t2 < t1 || t3 < t0 || round_trip < 0 {
            return None;
        }
        let offset = ((t1 - t0) + (t2 - t3)) / 2;
        Some(ClockOffset {
            offset_ns: i64::try_from(offset).ok()?,
            error_ns: u64::try_from(round_trip / 2).ok()?,
        })
    }
}

/// Estimates the clock offset over a window of samples.
#[derive(Debug, Default)]
pub struct ClockOffsetEstimator {
    window: VecDeque<ClockOffset>,
}

impl ClockOffsetEstimator {
    /// Adds one exchange. Impossible stamps are ignored.
    pub fn add(&mut self, sample: ClockSample) {
        if let Some(estimate) = sample.estimate() {
            if self.window.len() == CLOCK_SAMPLES {
                self.window.pop_front();
            }
            self.window.push_back(estimate);
        }
    }

    /// The best estimate in the window; `None` before the first sample.
    pub fn offset(&self) -> Option<ClockOffset> {
        self.window.iter().min_by_key(|o| o.error_ns).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symmetric_exchange_gives_the_exact_offset() {
        let mut clock = ClockOffsetEstimator::default();
        clock.add(ClockSample {
            t0: 100,
            t1: 1_150,
            t2: 1_160,
            t3: 210,
        });
        assert_eq!(
            clock.offset(),
            Some(ClockOffset {
                offset_ns: 1_000,
                error_ns: 50
            })
        );
    }

    #[test]
    fn the_least_round_trip_wins_and_old_samples_leave() {
        let mut clock = ClockOffsetEstimator::default();
        clock.add(ClockSample {
            t0: 0,
            t1: 10,
            t2: 10,
            t3: 20,
        });
        for _ in 0..CLOCK_SAMPLES - 1 {
            clock.add(ClockSample {
                t0: 0,
                t1: 500,
                t2: 500,
                t3: 600,
            });
        }
        assert_eq!(clock.offset().unwrap().error_ns, 10);
        clock.add(ClockSample {
            t0: 0,
            t1: 500,
            t2: 500,
            t3: 600,
        });
        assert_eq!(clock.offset().unwrap().error_ns, 300);
    }

    #[test]
    fn impossible_stamps_are_ignored() {
        let mut clock = ClockOffsetEstimator::default();
        clock.add(ClockSample {
            t0: 10,
            t1: 0,
            t2: 0,
            t3: 5,
        });
        clock.add(ClockSample {
            t0: 0,
            t1: 10,
            t2: 5,
            t3: 20,
        });
        clock.add(ClockSample {
            t0: 0,
            t1: 0,
            t2: u64::MAX,
            t3: 1,
        });
        assert_eq!(clock.offset(), None);
    }
}
