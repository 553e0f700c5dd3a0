//! When a key is renewed, and how many rekeys a peer may cause.

use std::time::{Duration, Instant};

use baton_proto::limits::{KEY_MAX_BYTES, KEY_MAX_MESSAGES, REKEY_BURST, REKEY_PACE, REKEY_TIMEOUT};

use crate::limits::{REKEY_AFTER, REKEY_AFTER_BYTES, REKEY_AFTER_MESSAGES, REKEY_SPREAD};

/// An amount of traffic under one key in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimit {
    /// Noise transport messages.
    pub messages: u64,
    /// Bytes of their plaintext.
    pub bytes: u64,
}

/// When the keys of a session are renewed. The default is that of the protocol: 2^32 messages, 64 GiB or one hour,
/// whichever is first.
///
/// The ends may have different policies: the end whose key is due first begins. [`end`](Self::end) and
/// [`pace`](Self::pace) are limits for the peer, so a peer's own policy must stay within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RekeyPolicy {
    /// A key is renewed after this much traffic in either direction.
    pub after: KeyLimit,
    /// A key is renewed at this age.
    pub after_age: Duration,
    /// The session ends before a direction of a key carries more than this.
    pub end: KeyLimit,
    /// How long the peer may take to answer in a rekey.
    pub timeout: Duration,
    /// The peer may cause one rekey in this time, and [`REKEY_BURST`] at once; zero: no limit.
    pub pace: Duration,
}

impl Default for RekeyPolicy {
    fn default() -> Self {
        Self {
            after: KeyLimit {
                messages: REKEY_AFTER_MESSAGES,
                bytes: REKEY_AFTER_BYTES,
            },
            after_age: REKEY_AFTER,
            end: KeyLimit {
                messages: KEY_MAX_MESSAGES,
                bytes: KEY_MAX_BYTES,
            },
            timeout: REKEY_TIMEOUT,
            pace: REKEY_PACE,
        }
    }
}

impl RekeyPolicy {
    /// The policy of the `n`th session of an exec-server, which renews its keys up to a [`REKEY_SPREAD`]th of the age
    /// earlier. Sessions that began together, when a relay became reachable again, then rekey at different times.
    /// Multiples of the golden ratio are evenly spread for any number of sessions (Weyl sequence); `origin` differs
    /// between exec-servers.
    pub fn spread(self, origin: u64, n: u64) -> Self {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let place = origin.wrapping_add(n.wrapping_mul(GOLDEN)) as f64 / (1u128 << 64) as f64;
        // A fraction just below 1 may round to 1.
        let sooner = (self.after_age / REKEY_SPREAD).mul_f64(place.min(1.0));
        Self {
            after_age: self.after_age.saturating_sub(sooner),
            ..self
        }
    }
}

/// A token bucket: how many more rekeys the peer may cause now.
pub(crate) struct Allowance {
    left: u32,
    /// Time up to which tokens were added.
    at: Instant,
}

impl Allowance {
    pub(crate) fn full(now: Instant) -> Self {
        Self {
            left: REKEY_BURST,
            at: now,
        }
    }

    pub(crate) fn take(&mut self, now: Instant, pace: Duration) -> bool {
        if pace.is_zero() {
            return true;
        }
        let elapsed = now.saturating_duration_since(self.at);
        let earned = u32::try_from(elapsed.as_nanos() / pace.as_nanos()).unwrap_or(u32::MAX);
        if earned >= REKEY_BURST - self.left {
            *self = Self::full(now);
        } else {
            self.left += earned;
            self.at += pace * earned;
        }
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_began_together_rekey_at_spread_times_and_none_late() {
        let policy = RekeyPolicy::default();
        for origin in [0, 7, u64::MAX] {
            let mut ages: Vec<_> = (0..64).map(|n| policy.spread(origin, n).after_age).collect();
            ages.sort_unstable();
            assert!(ages[63] <= REKEY_AFTER && ages[0] >= REKEY_AFTER - REKEY_AFTER / REKEY_SPREAD);
            let even = REKEY_AFTER / REKEY_SPREAD / 64;
            for pair in ages.windows(2) {
                assert!(pair[1] - pair[0] > even / 3, "{pair:?}");
            }
        }
        assert_ne!(
            policy.spread(0, 0),
            policy.spread(1 << 60, 0),
            "two exec-servers have the same spread"
        );
        // For extreme policies too.
        for after_age in [Duration::MAX, Duration::ZERO] {
            let policy = RekeyPolicy { after_age, ..policy };
            assert!(policy.spread(u64::MAX, 0).after_age <= after_age);
        }
    }

    #[test]
    fn an_allowance_permits_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let pace = Duration::from_secs(1);
        let mut allowance = Allowance::full(start);
        let burst = (0..).take_while(|_| allowance.take(start, pace)).count();
        assert_eq!(burst, REKEY_BURST as usize);
        assert!(!allowance.take(start + pace - Duration::from_nanos(1), pace));
        assert!(allowance.take(start + pace, pace));
        assert!(!allowance.take(start + pace, pace));
        // Unused tokens accumulate up to the burst.
        let later = start + 1000 * pace;
        assert_eq!((0..).take_while(|_| allowance.take(later, pace)).count(), burst);
        assert!((0..10_000).all(|_| allowance.take(later, Duration::ZERO)));
    }
}
