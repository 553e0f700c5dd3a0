//! When an exec-server registers again after a registration ended or an attempt failed.

use std::time::{Duration, Instant};

use baton_proto::ExecServerId;

use crate::limits;
use crate::link::register::Cause;

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

    /// How long to wait after the current registration ended for this cause.
    pub(super) fn ended(&mut self, now: Instant, cause: Cause) -> Duration {
        let held = self.held(now);
        self.since = None;
        self.wait(now, cause, held)
    }

    /// How long to wait after an attempt to register failed for this cause. The current registration, if there is one,
    /// goes on.
    pub(super) fn failed(&mut self, now: Instant, cause: Cause) -> Duration {
        self.wait(now, cause, Duration::ZERO)
    }

    /// The current registration goes on, but its relay is no longer the one that dials reach. The next attempt follows
    /// at once, and further ones as after a loss.
    pub(super) fn superseded(&mut self, now: Instant) {
        if self.held(now) >= limits::REDIAL_HELD {
            self.begin_redials(now);
        }
    }

    /// The duration of the current registration so far.
    fn held(&self, now: Instant) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn wait(&mut self, now: Instant, cause: Cause, held: Duration) -> Duration {
        // The relay may not have noticed yet that its registration, this server's own, is dead.
        let may_be_own = cause == Cause::InUse && self.was_registered && self.is_redialling(now);
        if cause != Cause::Lost && !may_be_own {
            if held >= limits::REGISTRATION_HELD {
                self.backoff.reset();
            }
            return self.backoff.next();
        }
        if held >= limits::REDIAL_HELD {
            self.begin_redials(now);
            return self.backoff.redial(limits::REDIAL_FIRST);
        }
        self.lost.get_or_insert(now);
        match self.is_redialling(now) {
            true => self.backoff.redial(limits::REDIAL_EVERY),
            false => self.backoff.next(),
        }
    }

    fn begin_redials(&mut self, now: Instant) {
        self.lost = Some(now);
        self.backoff.reset();
    }

    fn is_redialling(&self, now: Instant) -> bool {
        self.lost
            .is_some_and(|lost| now.saturating_duration_since(lost) < limits::REDIAL_FOR)
    }
}

/// Exponential backoff with jitter, so that exec-servers do not all reach a restarted relay at the same time.
struct Backoff {
    attempt: u32,
    jitter: Jitter,
}

impl Backoff {
    fn new(server: ExecServerId) -> Self {
        Self {
            attempt: 0,
            jitter: Jitter::new(server),
        }
    }

    fn next(&mut self) -> Duration {
        let (first, longest) = limits::RECONNECT_BACKOFF;
        let full = first.saturating_mul(1 << self.attempt.min(16)).min(longest);
        self.attempt += 1;
        full.mul_f64(0.5 + 0.5 * self.jitter.spread())
    }

    /// `every` ± 50%.
    fn redial(&mut self, every: Duration) -> Duration {
        every.mul_f64(0.5 + self.jitter.spread())
    }

    fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// Spreads waits. Derives from the exec-server's id, a hash: it differs between servers, and is the same in each replay
/// of a simulation.
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(server: ExecServerId) -> Self {
        Self(server.first_bytes())
    }

    /// From 0 to 1.
    pub(super) fn spread(&mut self) -> f64 {
        self.0 = self.0.rotate_left(16);
        (self.0 % (1 << 16)) as f64 / f64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use baton_export::clock;

    use super::*;

    const SERVER: ExecServerId = ExecServerId([7; 16]);

    /// The number of attempts in ten minutes with a relay that ends each registration after `held`.
    fn attempts(held: Duration, cause: Cause) -> usize {
        let mut state = RegistrationState::new(SERVER);
        let mut now = clock::now();
        let end = now + Duration::from_secs(600);
        let attempt = || {
            state.registered(now);
            now += held;
            now += state.ended(now, cause);
            now < end
        };
        std::iter::repeat_with(attempt)
            .take_while(|goes_on| *goes_on)
            .count()
    }

    #[test]
    fn a_relay_that_ends_each_registration_at_once_is_asked_less_and_less_often() {
        let told = attempts(Duration::from_millis(100), Cause::Decision);
        assert!((60..140).contains(&told), "{told}");
        // A relay that drops the connection is redialled fast during `REDIAL_FOR`, then by the same backoff.
        let dropped = attempts(Duration::from_millis(100), Cause::Lost);
        assert!((120..300).contains(&dropped), "{dropped}");
        // A registration that held resets the backoff.
        let mut state = RegistrationState::new(SERVER);
        let now = clock::now();
        state.registered(now);
        let waits = [(); 2].map(|()| state.ended(now + limits::REGISTRATION_HELD, Cause::Decision));
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
            let wait = state.ended(now, Cause::Lost);
            if now == lost {
                let least = limits::REDIAL_FIRST / 2;
                assert!((least..=3 * least).contains(&wait), "{wait:?}");
            } else if now < lost + limits::REDIAL_FOR {
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
            let wait = state.ended(now, Cause::Lost);
            assert!(wait <= limits::REDIAL_FIRST * 3 / 2, "{wait:?}");
            now += wait;
        }
    }

    #[test]
    fn a_relay_that_still_has_this_servers_own_lost_registration_is_asked_again_soon() {
        let start = clock::now();
        let lost = start + limits::REGISTRATION_HELD;
        let waits = |was_lost: bool| {
            let mut state = RegistrationState::new(SERVER);
            state.registered(start);
            // A relay that itself ends a registration has not lost it.
            state.ended(lost, if was_lost { Cause::Lost } else { Cause::Decision });
            [(); 8].map(|()| state.failed(lost + limits::REDIAL_EVERY, Cause::InUse))
        };
        assert!(
            waits(true)
                .iter()
                .all(|wait| *wait <= limits::REDIAL_EVERY * 3 / 2),
            "{:?}",
            waits(true)
        );
        assert!(
            waits(false)[7] > limits::REDIAL_EVERY * 3 / 2,
            "{:?}",
            waits(false)
        );
    }

    #[test]
    fn an_attempt_that_fails_leaves_the_present_registration_its_duration() {
        let mut state = RegistrationState::new(SERVER);
        let start = clock::now();
        state.registered(start);
        let moved = start + limits::REGISTRATION_HELD;
        state.superseded(moved);
        for _ in 0..8 {
            let wait = state.failed(moved, Cause::Lost);
            assert!(wait <= limits::REDIAL_EVERY * 3 / 2, "{wait:?}");
        }
        assert!(state.ended(moved, Cause::Lost) <= limits::REDIAL_FIRST * 3 / 2);
    }
}
