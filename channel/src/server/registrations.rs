//! Which registrations an exec-server has, and when it registers next. Sans-IO: time is an argument, and a registration
//! is any value `R`, which is dropped when it is given up.
//!
//! ```text
//!                 Here: NOT_FOUND                      registered
//! current ──────────────────────────► an attempt is due ────────────► the new one is current, the old one is kept
//!    │ ended, or no ping in time            ▲   │ failed                                     │ REGISTRATION_KEPT
//!    └──────────────────────────────────────┘   └─► due again after a wait                   ▼ dropped
//! ```
//!
//! * At most one registration is current and one kept. Both announce dials and are pinged.
//! * While the current one goes on, an attempt replaces it only if it succeeds.
//! * A relay that refuses an attempt because it has this server's own registration means the one that it pinged during
//!   the attempt. That one is current then, and no other is needed.

use std::time::{Duration, Instant};

use super::retries::RegistrationState;
use crate::limits;
use crate::link::register::{Cause, RegisterError};

/// See the [module](self).
pub(super) struct Registrations<'s, R> {
    current: Option<Held<R>>,
    /// The registration that the current one replaced, and the time at which it is dropped.
    kept: Option<(Held<R>, Instant)>,
    attempt: Attempt,
    state: &'s mut RegistrationState,
}

struct Held<R> {
    registration: R,
    /// Whether the relay has pinged during the present attempt to register.
    is_pinged: bool,
    patience: Option<Duration>,
    /// The last ping, or the start of the registration.
    last_ping: Instant,
}

enum Attempt {
    None,
    Due(Instant),
    Running,
}

/// One of the registrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Current,
    Kept,
}

/// What follows from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The next attempt follows after this time.
    Retry(Duration),
    /// The relay still has the current registration.
    Stays,
    /// The relay has the kept registration, which is the current one again.
    Returned,
}

impl<'s, R> Registrations<'s, R> {
    /// There is no registration, and an attempt is due.
    pub(super) fn new(state: &'s mut RegistrationState, now: Instant) -> Self {
        Self {
            current: None,
            kept: None,
            attempt: Attempt::Due(now),
            state,
        }
    }

    /// The current and the kept registration.
    pub(super) fn both(&mut self) -> (Option<&mut R>, Option<&mut R>) {
        (
            self.current.as_mut().map(|held| &mut held.registration),
            self.kept.as_mut().map(|(held, _)| &mut held.registration),
        )
    }

    /// Whether this server has ever been registered.
    pub(super) fn was_registered(&self) -> bool {
        self.state.was_registered
    }

    /// The time of the next change that no input causes.
    pub(super) fn wake(&self) -> Option<Instant> {
        let due = match self.attempt {
            Attempt::Due(due) => Some(due),
            Attempt::None | Attempt::Running => None,
        };
        let silent = self.current.as_ref().and_then(Held::silent_at);
        let expired = self.kept.as_ref().map(|(_, until)| *until);
        [due, silent, expired].into_iter().flatten().min()
    }

    /// Drops a kept registration whose time is over.
    pub(super) fn drop_expired(&mut self, now: Instant) {
        self.kept.take_if(|(_, until)| *until <= now);
    }

    /// The loss of the current registration whose relay has not pinged in time.
    pub(super) fn silence(&self, now: Instant) -> Option<RegisterError> {
        let current = self.current.as_ref()?;
        let patience = current.patience?;
        (current.silent_at()? <= now).then(|| {
            let seconds = patience.as_secs();
            RegisterError::Lost(format!("no ping for {seconds} s"))
        })
    }

    /// Begins an attempt if one is due.
    pub(super) fn begin_attempt(&mut self, now: Instant) -> bool {
        let is_due = matches!(self.attempt, Attempt::Due(due) if due <= now);
        if is_due {
            self.attempt = Attempt::Running;
            let kept = self.kept.as_mut().map(|(held, _)| held);
            for held in self.current.iter_mut().chain(kept) {
                held.is_pinged = false;
            }
        }
        is_due
    }

    /// An attempt succeeded. Returns whether the new registration replaces one that goes on for
    /// [`limits::REGISTRATION_KEPT`].
    pub(super) fn registered(&mut self, registration: R, patience: Option<Duration>, now: Instant) -> bool {
        self.attempt = Attempt::None;
        self.state.registered(now);
        let new = Held {
            registration,
            is_pinged: false,
            patience,
            last_ping: now,
        };
        let replaced = self.current.replace(new);
        let is_moved = replaced.is_some();
        if let Some(replaced) = replaced {
            self.kept = Some((replaced, now + limits::REGISTRATION_KEPT));
        }
        is_moved
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, error: &RegisterError, now: Instant) -> Failed {
        self.attempt = Attempt::None;
        if error.cause() == Cause::InUse {
            if self.current.as_ref().is_some_and(|held| held.is_pinged) {
                return Failed::Stays;
            }
            let kept = self.kept.take_if(|(held, _)| held.is_pinged);
            if let Some((held, _)) = kept {
                let last_ping = now;
                self.current = Some(Held { last_ping, ..held });
                self.state.registered(now);
                return Failed::Returned;
            }
        }
        let wait = self.state.failed(now, error.cause());
        self.attempt = Attempt::Due(now + wait);
        Failed::Retry(wait)
    }

    /// A registration ended and is dropped. Returns the time until the next attempt if it was the current one.
    pub(super) fn ended(&mut self, which: Which, error: &RegisterError, now: Instant) -> Option<Duration> {
        if which == Which::Kept {
            self.kept = None;
            return None;
        }
        self.current = None;
        let mut wait = self.state.ended(now, error.cause());
        match self.attempt {
            Attempt::Running => return Some(Duration::ZERO),
            Attempt::Due(due) => wait = wait.min(due.saturating_duration_since(now)),
            Attempt::None => {}
        }
        self.attempt = Attempt::Due(now + wait);
        Some(wait)
    }

    /// The relay of this registration pinged.
    pub(super) fn pinged(&mut self, which: Which, now: Instant) {
        let held = match which {
            Which::Current => self.current.as_mut(),
            Which::Kept => self.kept.as_mut().map(|(held, _)| held),
        };
        if let Some(held) = held {
            held.is_pinged = true;
            held.last_ping = now;
        }
    }

    /// The relay that a load balancer chooses now has a registration of this server, or has none.
    pub(super) fn here(&mut self, which: Which, is_registered: bool, now: Instant) {
        if which == Which::Kept || self.current.is_none() {
            return;
        }
        match (is_registered, &self.attempt) {
            (false, Attempt::None) => {
                self.state.superseded(now);
                self.attempt = Attempt::Due(now);
            }
            // The balancer has changed its mind.
            (true, Attempt::Due(_)) => self.attempt = Attempt::None,
            _ => {}
        }
    }
}

impl<R> Held<R> {
    /// When the relay counts as lost if it does not ping before.
    fn silent_at(&self) -> Option<Instant> {
        Some(self.last_ping + self.patience?)
    }
}

#[cfg(test)]
mod tests {
    use baton_export::clock;
    use baton_proto::ExecServerId;

    use super::*;

    const SERVER: ExecServerId = ExecServerId([7; 16]);
    const HELD: Duration = limits::REGISTRATION_HELD;
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(75));

    fn lost() -> RegisterError {
        RegisterError::Lost(String::new())
    }

    fn in_use() -> RegisterError {
        RegisterError::InUse(String::new())
    }

    /// Registrations by the name of their relay, and their clock.
    struct Machine<'s> {
        registrations: Registrations<'s, &'static str>,
        now: Instant,
    }

    impl<'s> Machine<'s> {
        /// Registered with A for long enough.
        fn registered(state: &'s mut RegistrationState) -> Self {
            let now = clock::now();
            let mut machine = Self {
                registrations: Registrations::new(state, now),
                now,
            };
            machine.attempt();
            assert!(!machine.succeed("A"), "the first one replaces none");
            machine.pass(HELD);
            machine
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.registrations.drop_expired(self.now);
        }

        /// Lets time pass until the next attempt, and begins it.
        fn attempt(&mut self) {
            let due = self.registrations.wake().expect("an attempt is due");
            self.now = self.now.max(due);
            assert!(self.registrations.begin_attempt(self.now));
            assert!(!self.registrations.begin_attempt(self.now), "it runs once");
        }

        fn succeed(&mut self, relay: &'static str) -> bool {
            self.registrations.registered(relay, PATIENCE, self.now)
        }

        fn fail(&mut self, error: &RegisterError) -> Failed {
            self.registrations.failed(error, self.now)
        }

        fn here(&mut self, is_registered: bool) {
            self.registrations.here(Which::Current, is_registered, self.now);
        }

        fn ping(&mut self, which: Which) {
            self.registrations.pinged(which, self.now);
        }

        fn end(&mut self, which: Which) -> Option<Duration> {
            self.registrations.ended(which, &lost(), self.now)
        }

        fn both(&mut self) -> (Option<&'static str>, Option<&'static str>) {
            let (current, kept) = self.registrations.both();
            (current.copied(), kept.copied())
        }
    }

    fn state() -> RegistrationState {
        RegistrationState::new(SERVER)
    }

    #[test]
    fn a_registration_that_a_new_one_replaces_is_kept_for_five_seconds() {
        let mut state = state();
        let mut machine = Machine::registered(&mut state);
        machine.here(true);
        assert_eq!(machine.both(), (Some("A"), None));
        let asked = machine.now;
        machine.here(false);
        machine.attempt();
        assert_eq!(machine.now, asked, "at once");
        assert_eq!(machine.both(), (Some("A"), None), "until the attempt succeeds");
        assert!(machine.succeed("B"));
        assert_eq!(machine.both(), (Some("B"), Some("A")));
        machine.pass(limits::REGISTRATION_KEPT - Duration::from_millis(1));
        assert_eq!(machine.both(), (Some("B"), Some("A")));
        assert_eq!(
            machine.registrations.wake(),
            Some(machine.now + Duration::from_millis(1))
        );
        machine.pass(Duration::from_millis(1));
        assert_eq!(machine.both(), (Some("B"), None));
    }

    #[test]
    fn a_registration_goes_on_while_attempts_to_replace_it_fail_and_until_its_relay_is_chosen_again() {
        let mut state = state();
        let mut machine = Machine::registered(&mut state);
        machine.here(false);
        for _ in 0..5 {
            machine.attempt();
            // Another question is answered meanwhile.
            machine.here(false);
            let Failed::Retry(wait) = machine.fail(&lost()) else {
                panic!("it gave up");
            };
            assert!(wait <= limits::REDIAL_EVERY * 3 / 2, "{wait:?}");
            assert_eq!(machine.both(), (Some("A"), None));
        }
        machine.here(true);
        machine.pass(HELD);
        assert!(!machine.registrations.begin_attempt(machine.now));
    }

    #[test]
    fn a_relay_that_refuses_because_of_the_registration_that_it_pings_keeps_that_one() {
        let mut state = state();
        let mut machine = Machine::registered(&mut state);
        machine.here(false);
        machine.attempt();
        machine.ping(Which::Current);
        assert_eq!(machine.fail(&in_use()), Failed::Stays);
        assert_eq!(machine.both(), (Some("A"), None));

        machine.here(false);
        machine.attempt();
        machine.succeed("B");
        assert!(machine.end(Which::Current).is_some());
        machine.attempt();
        machine.ping(Which::Kept);
        assert_eq!(machine.fail(&in_use()), Failed::Returned);
        assert_eq!(machine.both(), (Some("A"), None));
        machine.pass(limits::REGISTRATION_KEPT);
        assert_eq!(
            machine.both(),
            (Some("A"), None),
            "it is no longer kept but current"
        );
    }

    #[test]
    fn a_relay_that_refuses_without_a_ping_means_another_process() {
        let mut state = state();
        let mut machine = Machine::registered(&mut state);
        // Before the attempt.
        machine.ping(Which::Current);
        machine.here(false);
        machine.attempt();
        assert!(matches!(machine.fail(&in_use()), Failed::Retry(_)));
        assert_eq!(machine.both(), (Some("A"), None));
    }

    #[test]
    fn a_relay_without_pings_for_its_patience_is_lost_and_one_that_pings_is_not() {
        let mut state = state();
        let mut machine = Machine::registered(&mut state);
        let interval = Duration::from_secs(30);
        for _ in 0..10 {
            machine.pass(interval);
            machine.ping(Which::Current);
        }
        let last = machine.now;
        assert_eq!(
            machine.registrations.wake(),
            PATIENCE.map(|patience| last + patience)
        );
        machine.pass(Duration::from_secs(75) - Duration::from_millis(1));
        assert!(machine.registrations.silence(machine.now).is_none());
        machine.pass(Duration::from_millis(1));
        let error = machine.registrations.silence(machine.now).expect("lost");
        assert!(error.to_string().contains("no ping for 75 s"), "{error}");
        let wait = machine.end(Which::Current).expect("it was the current one");
        assert!(wait <= limits::REDIAL_FIRST * 3 / 2, "{wait:?}");
        assert_eq!(machine.both(), (None, None));
    }

    #[test]
    fn the_end_of_a_kept_registration_changes_nothing_else() {
        let mut state = state();
        let mut machine = Machine::registered(&mut state);
        machine.here(false);
        machine.attempt();
        machine.succeed("B");
        assert_eq!(machine.end(Which::Kept), None);
        assert_eq!(machine.both(), (Some("B"), None));
        assert!(!machine.registrations.begin_attempt(machine.now + HELD));
    }

    #[test]
    fn a_registration_that_ends_during_an_attempt_waits_for_its_result() {
        let mut state = state();
        let mut machine = Machine::registered(&mut state);
        machine.here(false);
        machine.attempt();
        assert_eq!(machine.end(Which::Current), Some(Duration::ZERO));
        assert!(
            !machine.registrations.begin_attempt(machine.now + HELD),
            "it runs"
        );
        assert!(!machine.succeed("B"), "it replaces none");
        assert_eq!(machine.both(), (Some("B"), None));
    }
}
