//! When an exec-server registers again after a registration ended or an attempt failed.

use std::time::{Duration, Instant};

use baton_proto::ExecServerId;

use crate::limits;

/// The history of registrations, which determines the wait before the next attempt.
pub(super) struct RegistrationState {
    backoff: Backoff,
    pub(super) was_registered: bool,
    /// The start of the current registration.
    since: Option<Instant>,
    /// The loss of the last registration that held for [`limits::REDIAL_HELD`], or the first failed attempt.
    lost: Option<Instant>,
}

impl RegistrationState {
    pub(super) fn new(server: ExecServerId) -> Self {
        Self {
            backoff: Backoff::new(server),
            was_registered: false,
            since: None,
            lost: None,
        }
    }

    pub(super) fn registered(&mut self, now: Instant) {
        self.was_registered = true;
        self.since = Some(now);
    }

    /// How long to wait after an attempt failed or a registration ended. `is_relay_decision`: the relay itself refused
    /// or ended it.
    pub(super) fn lost(&mut self, now: Instant, is_relay_decision: bool) -> Duration {
        let since = self.since.take();
        let has_held = |limit| since.is_some_and(|since| now.saturating_duration_since(since) >= limit);
        if is_relay_decision {
            if has_held(limits::REGISTRATION_HELD) {
                self.backoff.reset();
            }
            return self.backoff.next();
        }
        if has_held(limits::REDIAL_HELD) {
            self.lost = Some(now);
            self.backoff.reset();
        }
        let lost = *self.lost.get_or_insert(now);
        match now.saturating_duration_since(lost) < limits::REDIAL_FOR {
            true => self.backoff.redial(),
            false => self.backoff.next(),
        }
    }
}

/// Exponential backoff with jitter, so that exec-servers do not all reach a restarted relay at the same time. The
/// jitter derives from the exec-server's id, a hash: it differs between servers, and is the same in each replay of a
/// simulation.
struct Backoff {
    attempt: u32,
    jitter: u64,
}

impl Backoff {
    fn new(server: ExecServerId) -> Self {
        Self {
            attempt: 0,
            jitter: server.first_bytes(),
        }
    }

    fn next(&mut self) -> Duration {
        let (first, longest) = limits::RECONNECT_BACKOFF;
        let full = first.saturating_mul(1 << self.attempt.min(16)).min(longest);
        self.attempt += 1;
        full.mul_f64(0.5 + 0.5 * self.spread())
    }

    /// [`limits::REDIAL_EVERY`] ± 50%.
    fn redial(&mut self) -> Duration {
        limits::REDIAL_EVERY.mul_f64(0.5 + self.spread())
    }

    fn reset(&mut self) {
        self.attempt = 0;
    }

    /// From 0 to 1.
    fn spread(&mut self) -> f64 {
        self.jitter = self.jitter.rotate_left(16);
        (self.jitter % (1 << 16)) as f64 / f64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use baton_export::clock;

    use super::*;

    const SERVER: ExecServerId = ExecServerId([7; 16]);

    /// The number of attempts in ten minutes with a relay that ends each registration after `held`.
    fn attempts(held: Duration, is_relay_decision: bool) -> usize {
        let mut state = RegistrationState::new(SERVER);
        let mut now = clock::now();
        let end = now + Duration::from_secs(600);
        let attempt = || {
            state.registered(now);
            now += held;
            now += state.lost(now, is_relay_decision);
            now < end
        };
        std::iter::repeat_with(attempt)
            .take_while(|goes_on| *goes_on)
            .count()
    }

    #[test]
    fn a_relay_that_ends_each_registration_at_once_is_asked_less_and_less_often() {
        let told = attempts(Duration::from_millis(100), true);
        assert!((60..140).contains(&told), "{told}");
        // A relay that drops the connection is redialled fast during `REDIAL_FOR`, then by the same backoff.
        let dropped = attempts(Duration::from_millis(100), false);
        assert!((120..300).contains(&dropped), "{dropped}");
        // A registration that held resets the backoff.
        let mut state = RegistrationState::new(SERVER);
        let now = clock::now();
        state.registered(now);
        let waits = [(); 2].map(|()| state.lost(now + limits::REGISTRATION_HELD, true));
        let first = limits::RECONNECT_BACKOFF.0;
        assert!(waits[0] <= first && waits[1] > first, "once: {waits:?}");
    }

    #[test]
    fn a_lost_relay_is_redialled_fast_for_half_a_minute_and_then_with_backoff() {
        let mut state = RegistrationState::new(SERVER);
        let start = clock::now();
        state.registered(start);
        let lost = start + limits::REDIAL_HELD;
        let mut now = lost;
        let (mut soon, mut late) = (0, 0);
        while now < lost + limits::REDIAL_FOR * 4 {
            let wait = state.lost(now, false);
            if now < lost + limits::REDIAL_FOR {
                let least = limits::REDIAL_EVERY / 2;
                assert!((least..=3 * least).contains(&wait), "{wait:?}");
                soon += 1;
            } else {
                late += 1;
            }
            now += wait;
        }
        assert!(
            (100..300).contains(&soon) && (10..25).contains(&late),
            "{soon}, {late}"
        );
    }

    #[test]
    fn repeated_relay_restarts_do_not_increase_the_wait() {
        let mut state = RegistrationState::new(SERVER);
        let mut now = clock::now();
        for _ in 0..100 {
            state.registered(now);
            now += limits::REDIAL_HELD;
            let wait = state.lost(now, false);
            assert!(wait <= limits::REDIAL_EVERY * 3 / 2, "{wait:?}");
            now += wait;
        }
    }
}
