//! How long a key serves, and what a peer may ask for.

use std::time::{Duration, Instant};

use baton_proto::limits::{KEY_MAX_BYTES, KEY_MAX_MESSAGES, REKEY_BURST, REKEY_PACE, REKEY_TIMEOUT};

use crate::limits::{REKEY_AFTER, REKEY_AFTER_BYTES, REKEY_AFTER_MESSAGES};

/// What one key carries in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimit {
    /// Noise transport messages.
    pub messages: u64,
    /// Bytes of their plaintext.
    pub bytes: u64,
}

/// When the keys of a session are renewed. The default is the protocol's: 2^32 messages, 64 GiB or one hour,
/// whichever is first.
///
/// Both ends need not have the same: whoever is due first begins. [`end`](Self::end) and [`pace`](Self::pace) are
/// what a peer is held to, so a peer with other values must keep within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RekeyPolicy {
    /// A key that has carried this much in either direction is renewed.
    pub after: KeyLimit,
    /// So is one of this age.
    pub after_age: Duration,
    /// No direction of a key carries more than this: the session ends.
    pub end: KeyLimit,
    /// How long the peer may take for its part of a rekey.
    pub timeout: Duration,
    /// The peer may cause one rekey in this time, and [`REKEY_BURST`] at once; zero: as many as it likes.
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

/// How many more rekeys the peer may cause now: a token bucket.
pub(super) struct Allowance {
    left: u32,
    /// Up to when tokens have been counted.
    at: Instant,
}

impl Allowance {
    pub(super) fn full(now: Instant) -> Self {
        Self {
            left: REKEY_BURST,
            at: now,
        }
    }

    pub(super) fn take(&mut self, now: Instant, pace: Duration) -> bool {
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
    fn an_allowance_is_a_burst_and_then_a_pace() {
        let start = Instant::now();
        let pace = Duration::from_secs(1);
        let mut allowance = Allowance::full(start);
        let burst = (0..).take_while(|_| allowance.take(start, pace)).count();
        assert_eq!(burst, REKEY_BURST as usize);
        assert!(!allowance.take(start + pace - Duration::from_nanos(1), pace));
        assert!(allowance.take(start + pace, pace));
        assert!(!allowance.take(start + pace, pace));
        // What was not used adds up, to the burst and no further.
        let later = start + 1000 * pace;
        assert_eq!((0..).take_while(|_| allowance.take(later, pace)).count(), burst);
        assert!((0..10_000).all(|_| allowance.take(later, Duration::ZERO)));
    }
}
