//! Why the exec-server is to kill a process, and how long the process has to end by itself. No IO, no clock.
//!
//! The client may state a longer time for its own decisions: the deadline of the call, and a signal that ends the
//! process. A client that is gone, or that may not decide any more, gets [`KILL_GRACE`].

use std::time::Duration;

use baton_trace::call_end::CallEnd;

use crate::limits::KILL_GRACE;
use crate::termination::StopReason;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Stop {
    /// What the client states in `Start`, within the server's limit.
    kill_grace: Duration,
    order: Option<Order>,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    /// The first reason.
    reason: StopReason,
    /// The shortest grace of all reasons.
    grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            kill_grace: KILL_GRACE,
            order: None,
        }
    }
}

impl Stop {
    /// Sets what the client states. An order that was given before keeps its grace.
    pub(super) fn set_kill_grace(&mut self, kill_grace: Duration) {
        self.kill_grace = kill_grace;
    }

    /// The process is to be killed.
    pub(super) fn order(&mut self, reason: StopReason) {
        let grace = match reason {
            StopReason::Call(CallEnd::Deadline) => self.kill_grace,
            StopReason::Call(_) | StopReason::ServerFault => KILL_GRACE,
        };
        let first = self.order.get_or_insert(Order { reason, grace });
        first.grace = first.grace.min(grace);
    }

    /// Why the process is to be killed, if it is.
    pub(super) fn reason(&self) -> Option<StopReason> {
        self.order.map(|order| order.reason)
    }

    /// The time between SIGTERM and SIGKILL, if the process is to be killed.
    pub(super) fn grace(&self) -> Option<Duration> {
        self.order.map(|order| order.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATED: Duration = Duration::from_secs(5);

    fn stated(stated: Duration) -> Stop {
        let mut stop = Stop::default();
        stop.set_kill_grace(stated);
        stop
    }

    #[test]
    fn only_a_deadline_has_the_grace_that_the_client_states() {
        for end in CallEnd::ALL {
            let mut stop = stated(STATED);
            assert_eq!((stop.reason(), stop.grace()), (None, None));
            stop.order(StopReason::Call(end));
            let expected = match end {
                CallEnd::Deadline => STATED,
                _ => KILL_GRACE,
            };
            assert_eq!(
                (stop.reason(), stop.grace()),
                (Some(StopReason::Call(end)), Some(expected))
            );
        }
    }

    #[test]
    fn the_first_reason_is_kept_and_the_shortest_grace() {
        let mut stop = stated(STATED);
        stop.order(StopReason::Call(CallEnd::Deadline));
        stop.order(StopReason::Call(CallEnd::Revoked));
        stop.order(StopReason::Call(CallEnd::Deadline));
        let expected = StopReason::Call(CallEnd::Deadline);
        assert_eq!((stop.reason(), stop.grace()), (Some(expected), Some(KILL_GRACE)));

        let mut stop = stated(Duration::ZERO);
        stop.order(StopReason::Call(CallEnd::Deadline));
        stop.order(StopReason::Call(CallEnd::ShutDown));
        assert_eq!(stop.grace(), Some(Duration::ZERO));
    }
}
