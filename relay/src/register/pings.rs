//! The regular pings of one registration.
//!
//! They show that the exec-server is there: HTTP/2 pings end at a balancer, which keeps its own connection to the relay
//! open. And they keep the stream from being closed for want of traffic. At most one ping is unanswered; the answer has
//! until the next one is due.

use std::time::Duration;

use baton_proto::ExecServerId;
use tokio::time::Instant;

/// When to ping, and whether the last ping was answered.
pub(super) struct RegularPings {
    interval: Duration,
    due: Instant,
    /// The number of the last ping, which is its nonce. It may be predictable: only the exec-server's own stream
    /// carries the answer.
    number: u64,
    last: LastPing,
}

#[derive(PartialEq, Eq)]
enum LastPing {
    Answered,
    Unanswered,
    /// The queue of the stream was full: the exec-server cannot answer what was not sent.
    NotSent,
}

impl RegularPings {
    /// The first ping is due within one interval. The id, a hash, selects when: exec-servers that register together, as
    /// after a restart of the relay, are pinged at different times.
    pub(super) fn new(id: ExecServerId, interval: Duration, now: Instant) -> Self {
        let [a, b, c, d, ..] = id.0;
        let part = u128::from(u32::from_be_bytes([a, b, c, d]));
        // Whole milliseconds, as timers have: in virtual time, a fraction would be rounded up or down by chance.
        let phase = interval.as_millis() * part / u128::from(u32::MAX);
        Self {
            interval,
            due: now + Duration::from_millis(u64::try_from(phase).unwrap_or(u64::MAX)),
            number: 0,
            last: LastPing::Answered,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The nonce of the ping to send now that it is due; `None` if the one before it is unanswered. The next one is due
    /// an interval from now, however late this one is.
    pub(super) fn next(&mut self, now: Instant) -> Option<u64> {
        if self.last == LastPing::Unanswered {
            return None;
        }
        self.number += 1;
        self.last = LastPing::Unanswered;
        self.due = now + self.interval;
        Some(self.number)
    }

    /// Called when the ping could not be queued. The next one is tried when it is due.
    pub(super) fn not_sent(&mut self) {
        self.last = LastPing::NotSent;
    }

    /// Handles a `Pong`; `false` if it answers no regular ping that waits.
    pub(super) fn pong(&mut self, nonce: u64) -> bool {
        let answers = self.last == LastPing::Unanswered && nonce == self.number;
        if answers {
            self.last = LastPing::Answered;
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use baton_proto::registration::exec_server_id;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn pings(now: Instant) -> RegularPings {
        RegularPings::new(ExecServerId([0x80; 16]), INTERVAL, now)
    }

    #[test]
    fn only_the_last_ping_can_be_answered_and_only_by_its_nonce() {
        let start = Instant::now();
        let mut pings = pings(start);
        let first = pings.next(start).unwrap();
        assert!(!pings.pong(first + 1));
        assert!(pings.pong(first));
        assert!(!pings.pong(first), "it is answered");
        let second = pings.next(start + INTERVAL).unwrap();
        assert_ne!(first, second);
        assert!(
            !pings.pong(first),
            "the answer to an earlier ping proves nothing now"
        );
        assert_eq!(pings.next(start + 2 * INTERVAL), None);
    }

    #[test]
    fn a_ping_that_was_late_leaves_a_whole_interval_for_its_answer() {
        let start = Instant::now();
        let mut pings = pings(start);
        let resumed = start + 10 * INTERVAL;
        let nonce = pings.next(resumed).unwrap();
        assert_eq!(pings.due(), resumed + INTERVAL);
        assert!(pings.pong(nonce));
    }

    #[test]
    fn a_ping_that_could_not_be_sent_is_tried_again_instead_of_ending_the_registration() {
        let start = Instant::now();
        let mut pings = pings(start);
        let first = pings.next(start).unwrap();
        pings.not_sent();
        assert!(!pings.pong(first));
        let second = pings.next(start + INTERVAL).unwrap();
        assert!(pings.pong(second));
    }

    #[test]
    fn the_pings_of_exec_servers_that_register_together_are_spread_over_the_interval() {
        let start = Instant::now();
        let mut by_second = [0; 30];
        for number in 0_u32..3_000 {
            let id = exec_server_id(&number.to_be_bytes());
            let due = RegularPings::new(id, INTERVAL, start).due();
            let wait = (due - start).min(INTERVAL - Duration::from_nanos(1));
            by_second[wait.as_secs() as usize] += 1;
        }
        // 100 each on average. The ids are fixed, so the numbers are too.
        assert!(
            by_second.iter().all(|count| (60..140).contains(count)),
            "{by_second:?}"
        );
    }

    #[test]
    fn the_first_ping_is_due_within_an_interval_for_every_id() {
        let start = Instant::now();
        for id in [[0; 16], [0xff; 16], [0x7f; 16]] {
            let due = RegularPings::new(ExecServerId(id), INTERVAL, start).due();
            assert!(due >= start && due <= start + INTERVAL);
        }
    }
}
