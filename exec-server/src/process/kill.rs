//! Decides when a process and its descendants get SIGKILL: a grace after the signal that asked the process group to end.
//! No IO.
//!
//! A later request may shorten the grace, and never prolongs it. When the process is over, which means that its leader
//! has exited and no process holds its pipes, its descendants have [`KILL_GRACE`] at most, and their kill is handed over
//! to the sweep of the tree, which ends as soon as none is left.

use std::time::{Duration, Instant};

use crate::limits::KILL_GRACE;

/// See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill {
    /// No kill was requested.
    Idle,
    /// The group was asked to end.
    Terminating {
        /// When SIGKILL follows, even if the leader has exited: others in its group may not have.
        kill_at: Instant,
    },
    /// SIGKILL was sent, or is left to the sweep.
    Done,
}

impl Kill {
    /// A request to end, with SIGKILL after `grace`. Returns whether it changes anything: then the caller sends the
    /// signal that asks the group to end.
    pub(super) fn begin(&mut self, now: Instant, grace: Duration) -> bool {
        let at = now + grace;
        let is_news = match *self {
            Kill::Idle => true,
            Kill::Terminating { kill_at } => at < kill_at,
            Kill::Done => false,
        };
        if is_news {
            *self = Kill::Terminating { kill_at: at };
        }
        is_news
    }

    /// The process is over. Returns when to kill its descendants, once.
    pub(super) fn hand_over(&mut self, now: Instant) -> Option<Instant> {
        let kill_at = self.deadline()?;
        *self = Kill::Done;
        Some(kill_at.min(now + KILL_GRACE))
    }

    /// Whether SIGKILL is to be sent at `now`, once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.deadline().is_some_and(|at| at <= now);
        if is_due {
            *self = Kill::Done;
        }
        is_due
    }

    /// When to call [`is_due`](Self::is_due) next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Kill::Terminating { kill_at } => Some(*kill_at),
            Kill::Idle | Kill::Done => None,
        }
    }

    /// SIGKILL is still to be sent: the leader must not be reaped yet.
    pub(super) fn is_pending(&self) -> bool {
        self.deadline().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn the_group_is_asked_once_and_killed_once_after_the_grace() {
        let start = Instant::now();
        for grace in [KILL_GRACE, LONG] {
            let mut kill = Kill::Idle;
            assert!(!kill.is_due(start + LONG * 2));
            assert!(kill.begin(start, grace));
            assert!(!kill.begin(start, grace) && !kill.begin(start + grace / 2, grace));
            assert!(kill.is_pending() && !kill.is_due(start + grace / 2));
            assert!(kill.is_due(start + grace));
            assert!(!kill.is_pending() && !kill.is_due(start + grace * 2));
            assert!(!kill.begin(start + grace * 2, grace));
        }
    }

    #[test]
    fn a_grace_of_0_kills_in_the_same_turn() {
        let now = Instant::now();
        let mut kill = Kill::Idle;
        assert!(kill.begin(now, Duration::ZERO) && kill.is_due(now));
    }

    #[test]
    fn a_later_request_shortens_the_grace_and_never_prolongs_it() {
        let start = Instant::now();
        let mut kill = Kill::Idle;
        assert!(kill.begin(start, LONG));
        let later = start + LONG / 2;
        assert!(!kill.begin(later, LONG), "not prolonged");
        assert!(kill.begin(later, KILL_GRACE), "the group is asked again");
        assert_eq!(kill.deadline(), Some(later + KILL_GRACE));
        assert!(!kill.begin(later, LONG));
        assert_eq!(kill.deadline(), Some(later + KILL_GRACE));
    }

    #[test]
    fn descendants_of_a_process_that_is_over_have_the_short_grace_and_are_handed_over_once() {
        let start = Instant::now();
        let mut kill = Kill::Idle;
        assert_eq!(kill.hand_over(start), None);
        assert_eq!(kill, Kill::Idle);
        kill.begin(start, LONG);
        assert_eq!(kill.hand_over(start), Some(start + KILL_GRACE));
        assert!(!kill.is_pending() && !kill.is_due(start + LONG));
        assert_eq!(kill.hand_over(start), None);
        // It does not prolong what is left.
        let mut kill = Kill::Idle;
        kill.begin(start, KILL_GRACE);
        assert_eq!(kill.hand_over(start + KILL_GRACE / 2), Some(start + KILL_GRACE));
    }
}
