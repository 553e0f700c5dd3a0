//! When a client repeats a failed dial: with jitter, until a deadline, and only after temporary errors.

use std::time::{Duration, Instant};

use super::dial::ConnectError;
use crate::limits::{NOT_REGISTERED_SOON, RETRY_FIRST, RETRY_HINT_MAX, RETRY_LONGEST, RETRY_UNVERIFIED};

/// The retries of one attempt to establish a session.
pub(crate) struct Retry {
    deadline: Instant,
    /// The next wait, without the jitter.
    next: Duration,
    /// Factor on the wait of the next hint; grows with each hint.
    hint_factor: f64,
    /// Attempts that ended before the exec-server proved its key.
    unverified: u32,
    /// The first refusal for want of a registration.
    unregistered: Option<Instant>,
    jitter: u64,
}

impl Retry {
    /// `jitter`: random, or the same in each replay of a simulation.
    pub(crate) fn new(now: Instant, timeout: Duration, jitter: u64) -> Self {
        Self {
            deadline: now + timeout,
            next: RETRY_FIRST,
            hint_factor: 1.0,
            unverified: 0,
            unregistered: None,
            jitter,
        }
    }

    /// When the client gives up.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long to wait after an attempt failed with `error`; `None` if the client must give up.
    pub(crate) fn after(&mut self, error: &ConnectError, now: Instant) -> Option<Duration> {
        if !self.may_pass(error) {
            return None;
        }
        let full = match (self.registers_soon(error, now), error.retry_after()) {
            (Some(hint), _) => hint.clamp(RETRY_FIRST, RETRY_LONGEST),
            // A peer at its limit needs time for its other clients: many refused clients that return as soon as the
            // hint allows would overload it.
            (None, Some(hint)) => {
                let hint = hint.clamp(RETRY_FIRST, RETRY_HINT_MAX).mul_f64(self.hint_factor);
                self.hint_factor = (self.hint_factor * 1.5).min(RETRY_HINT_MAX.div_duration_f64(RETRY_FIRST));
                hint.min(RETRY_HINT_MAX)
            }
            (None, None) => {
                let next = (self.next * 3 / 2).min(RETRY_LONGEST);
                std::mem::replace(&mut self.next, next)
            }
        };
        let wait = full.mul_f64(0.5 + self.spread());
        (now + wait < self.deadline).then_some(wait)
    }

    /// The relay's hint if the exec-server is expected to register within [`NOT_REGISTERED_SOON`]. It is at no limit,
    /// so the waits need not grow.
    fn registers_soon(&mut self, error: &ConnectError, now: Instant) -> Option<Duration> {
        let ConnectError::NotRegistered { retry_ms, .. } = error else {
            return None;
        };
        let since = *self.unregistered.get_or_insert(now);
        let is_soon = now.saturating_duration_since(since) < NOT_REGISTERED_SOON;
        retry_ms.filter(|_| is_soon).map(Duration::from_millis)
    }

    fn may_pass(&mut self, error: &ConnectError) -> bool {
        if matches!(error, ConnectError::Handshake) {
            // An exec-server that stops or times out closes the stream just like one that holds another key.
            self.unverified += 1;
            return self.unverified <= RETRY_UNVERIFIED;
        }
        error.may_pass()
    }

    /// A pseudorandom number from 0 to 1, by xorshift64 (Marsaglia 2003).
    fn spread(&mut self) -> f64 {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        (self.jitter % (1 << 16)) as f64 / f64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use baton_export::clock;

    use super::super::endpoint::RelayError;
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn busy(retry_ms: Option<u64>) -> ConnectError {
        ConnectError::Busy {
            hint: String::new(),
            retry_ms,
        }
    }

    fn not_registered(retry_ms: Option<u64>) -> ConnectError {
        ConnectError::NotRegistered {
            hint: String::new(),
            retry_ms,
        }
    }

    /// The waits until the client gives up.
    fn waits(error: &ConnectError, jitter: u64) -> Vec<Duration> {
        let mut now = clock::now();
        let mut retry = Retry::new(now, TIMEOUT, jitter);
        std::iter::from_fn(|| {
            let wait = retry.after(error, now)?;
            now += wait;
            Some(wait)
        })
        // A wait of zero must not hang the test.
        .take(1_000)
        .collect()
    }

    #[test]
    fn temporary_errors_are_retried_until_the_deadline() {
        let unreachable = ConnectError::Relay(RelayError::Unreachable {
            url: String::new(),
            reason: String::new(),
        });
        for error in [
            unreachable,
            not_registered(None),
            ConnectError::Unavailable(String::new()),
            ConnectError::Broken(String::new()),
            ConnectError::Timeout("the relay"),
        ] {
            let waits = waits(&error, 7);
            assert!((50..120).contains(&waits.len()), "{error}: {}", waits.len());
            assert!(waits.iter().all(|wait| *wait <= RETRY_LONGEST * 3 / 2), "{error}");
            assert!(waits.iter().sum::<Duration>() < TIMEOUT);
        }
    }

    #[test]
    fn permanent_errors_are_reported_at_once() {
        for error in [
            ConnectError::TicketRefused(String::new()),
            ConnectError::Refused(String::new()),
            ConnectError::Local,
            ConnectError::Relay(RelayError::Url(String::new())),
            ConnectError::Relay(RelayError::Untrusted { url: String::new() }),
        ] {
            assert!(waits(&error, 7).is_empty(), "{error}");
        }
        let hung_up = waits(&ConnectError::Handshake, 7);
        assert_eq!(hung_up.len(), RETRY_UNVERIFIED as usize);
    }

    #[test]
    fn hints_are_bounded_and_waits_differ_between_clients() {
        let hinted = waits(&busy(Some(250)), 7);
        let first = Duration::from_millis(125)..Duration::from_millis(375);
        assert!(first.contains(&hinted[0]), "{hinted:?}");
        // The waits grow beyond the hint.
        assert!((8..20).contains(&hinted.len()), "{hinted:?}");
        let forever = waits(&busy(Some(u64::MAX)), 7);
        assert!(
            forever.iter().all(|wait| *wait <= RETRY_HINT_MAX * 3 / 2),
            "{forever:?}"
        );
        assert_ne!(waits(&busy(Some(250)), 8), hinted);
    }

    #[test]
    fn a_hint_of_a_registration_soon_is_followed_for_three_seconds_and_the_deadline_stays() {
        let until = |waits: &[Duration], time: Duration| {
            let mut passed = Duration::ZERO;
            let is_before = |wait: &&Duration| {
                passed += **wait;
                passed < time
            };
            waits.iter().take_while(is_before).count()
        };
        let hinted = waits(&not_registered(Some(250)), 7);
        let soon = until(&hinted, NOT_REGISTERED_SOON);
        let near = Duration::from_millis(125)..=Duration::from_millis(375);
        assert!(
            hinted[..soon].iter().all(|wait| near.contains(wait)),
            "{hinted:?}"
        );
        assert!(soon >= 8, "{soon}");
        let later = until(&hinted, TIMEOUT) - soon;
        assert!((40..110).contains(&later), "{later}");
        assert!(hinted.iter().sum::<Duration>() > TIMEOUT - Duration::from_secs(1));

        // A hint cannot silence a client, nor let it flood the relay.
        for hint in [0, u64::MAX] {
            let waits = waits(&not_registered(Some(hint)), 7);
            let bounds = RETRY_FIRST / 2..=RETRY_LONGEST * 3 / 2;
            assert!(waits.iter().all(|wait| bounds.contains(wait)), "{waits:?}");
        }
    }
}
