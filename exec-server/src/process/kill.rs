//! Decides which signal to send, and when: SIGTERM to the whole group, and SIGKILL after a grace period to the rest of
//! it. No IO.

use std::time::Instant;

use rustix::process::Signal;

use crate::limits::KILL_GRACE;

/// See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill {
    /// No kill was requested.
    Idle,
    /// SIGTERM was sent.
    Terminating {
        /// When SIGKILL follows, even if the leader has exited: others in its group may not have.
        kill_at: Instant,
    },
    /// SIGKILL was sent.
    Done,
}

impl Kill {
    /// Begins, unless it has begun before; returns the signal to send.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Signal> {
        if *self != Kill::Idle {
            return None;
        }
        *self = Kill::Terminating {
            kill_at: now + KILL_GRACE,
        };
        Some(Signal::TERM)
    }

    /// The signal that is due at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Option<Signal> {
        if self.deadline()? > now {
            return None;
        }
        *self = Kill::Done;
        Some(Signal::KILL)
    }

    /// When to call [`due`](Self::due) next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Kill::Terminating { kill_at } => Some(*kill_at),
            Kill::Idle | Kill::Done => None,
        }
    }

    /// A signal is still to be sent: the leader must not be reaped yet.
    pub(super) fn is_pending(&self) -> bool {
        self.deadline().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigterm_at_once_and_sigkill_after_the_grace_each_exactly_once() {
        let start = Instant::now();
        let mut kill = Kill::Idle;
        assert_eq!(kill.due(start), None);
        assert_eq!(kill.begin(start), Some(Signal::TERM));
        assert_eq!(kill.begin(start), None);
        assert!(kill.is_pending());
        assert_eq!(kill.due(start + KILL_GRACE / 2), None);
        assert_eq!(kill.due(start + KILL_GRACE), Some(Signal::KILL));
        assert!(!kill.is_pending());
        assert_eq!(kill.due(start + KILL_GRACE * 2), None);
        assert_eq!(kill.begin(start + KILL_GRACE * 2), None);
    }
}
