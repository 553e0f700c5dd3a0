//! Decides how long a process outlives the session of its call. No IO, no clock.
//!
//! The loss of the session begins the grace, whose length the client stated in `Start`, within the server's limit.
//! Every other reason that cuts a call short kills at once: the client decided it, or may not decide any more. The
//! deadline of the call holds during the grace too, although no session enforces it.

use std::time::{Duration, Instant};

use baton_trace::call_end::CallEnd;

/// See the [module](self). The default is no grace.
#[derive(Debug, Default)]
pub(super) struct Grace {
    limit: Duration,
    /// The deadline of the call.
    deadline: Option<Instant>,
    /// While it runs: its end, and why the process is killed then.
    end: Option<(Instant, CallEnd)>,
}

impl Grace {
    /// A grace of `limit`, for a call with this deadline.
    pub(super) fn new(limit: Duration, deadline: Option<Instant>) -> Self {
        Self {
            limit,
            deadline,
            end: None,
        }
    }

    /// Its length.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// The call was cut short. Returns why the process is to be killed at once; `None`: the grace runs.
    pub(super) fn begin(&mut self, why: CallEnd, now: Instant) -> Option<CallEnd> {
        let is_lost = match why {
            CallEnd::ClientLost | CallEnd::ConnectionLost => true,
            CallEnd::Reset
            | CallEnd::Deadline
            | CallEnd::Revoked
            | CallEnd::ShutDown
            | CallEnd::Violation
            | CallEnd::GraceExpired => false,
        };
        if !is_lost || self.limit.is_zero() {
            return Some(why);
        }
        self.end.get_or_insert_with(|| {
            let expires = now + self.limit;
            match self.deadline {
                Some(deadline) if deadline <= expires => (deadline, CallEnd::Deadline),
                _ => (expires, CallEnd::GraceExpired),
            }
        });
        None
    }

    /// A call has attached. Its loss begins the grace anew.
    pub(super) fn stop(&mut self) {
        self.end = None;
    }

    /// When to call [`due`](Self::due); `None` while it does not run.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.end.map(|(at, _)| at)
    }

    /// Why the process is to be killed at `now`, once.
    pub(super) fn due(&mut self, now: Instant) -> Option<CallEnd> {
        let (_, why) = self.end.take_if(|(at, _)| *at <= now)?;
        Some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn only_a_lost_session_begins_the_grace_and_nothing_does_without_one() {
        let now = Instant::now();
        for why in CallEnd::ALL {
            let mut grace = Grace::new(LIMIT, None);
            let is_lost = matches!(why, CallEnd::ClientLost | CallEnd::ConnectionLost);
            assert_eq!(grace.begin(why, now), (!is_lost).then_some(why));
            assert_eq!(grace.ends(), is_lost.then(|| now + LIMIT));
            let mut none = Grace::default();
            assert_eq!((none.begin(why, now), none.ends()), (Some(why), None));
        }
    }

    #[test]
    fn it_expires_once_and_a_second_report_of_the_loss_does_not_prolong_it() {
        let start = Instant::now();
        let mut grace = Grace::new(LIMIT, None);
        assert_eq!(grace.due(start), None);
        grace.begin(CallEnd::ClientLost, start);
        grace.begin(CallEnd::ClientLost, start + LIMIT / 2);
        assert_eq!(grace.due(start + LIMIT / 2), None);
        assert_eq!(grace.due(start + LIMIT), Some(CallEnd::GraceExpired));
        assert_eq!((grace.due(start + LIMIT), grace.ends()), (None, None));
    }

    #[test]
    fn a_call_that_attaches_stops_it_and_its_loss_begins_a_whole_one() {
        let start = Instant::now();
        let mut grace = Grace::new(LIMIT, None);
        grace.begin(CallEnd::ClientLost, start);
        grace.stop();
        assert_eq!((grace.ends(), grace.due(start + LIMIT)), (None, None));
        grace.begin(CallEnd::ClientLost, start + LIMIT);
        assert_eq!(grace.ends(), Some(start + 2 * LIMIT));
    }

    #[test]
    fn a_reset_ends_a_grace_that_runs() {
        let now = Instant::now();
        let mut grace = Grace::new(LIMIT, None);
        assert_eq!(grace.begin(CallEnd::ConnectionLost, now), None);
        assert_eq!(grace.begin(CallEnd::Reset, now), Some(CallEnd::Reset));
    }

    #[test]
    fn the_deadline_of_the_call_holds_where_it_is_earlier() {
        let start = Instant::now();
        for (deadline, expected) in [
            (LIMIT / 2, (LIMIT / 2, CallEnd::Deadline)),
            (LIMIT * 2, (LIMIT, CallEnd::GraceExpired)),
        ] {
            let mut grace = Grace::new(LIMIT, Some(start + deadline));
            grace.begin(CallEnd::ClientLost, start);
            let (after, why) = expected;
            assert_eq!(grace.ends(), Some(start + after));
            assert_eq!(grace.due(start + after), Some(why));
        }
    }
}
