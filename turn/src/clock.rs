//! The clock of turns: tokio's, so that tests on a paused runtime are exact, and one anchor to the wall clock.
//!
//! Wall-clock times are nanoseconds since the Unix epoch. All those of one step come from one anchor, so that their
//! differences are the measured ones. A turn's steps share the turn's anchor, so that they keep their order if the wall
//! clock is set back. A step has a new anchor only if the wall clock is [`ANCHOR_BEHIND_MAX`] ahead: after a suspend.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_trace::record::{Anchor, unix_now_ns};
use tokio::time::Instant;

use crate::limits::{ANCHOR_BEHIND_MAX, ANCHOR_GAP_MAX, ANCHOR_RETRIES, DISPATCH_GAP, DISPATCH_GAP_READINGS};

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Reads both clocks; again if the thread was interrupted between the readings.
pub(crate) fn anchor() -> Anchor {
    let mut read = read_anchor();
    for _ in 0..ANCHOR_RETRIES {
        if now().into_std().saturating_duration_since(read.instant) <= ANCHOR_GAP_MAX {
            break;
        }
        read = read_anchor();
    }
    read
}

/// The anchor of a turn's next step.
pub(crate) fn renewed(anchor: Anchor) -> Anchor {
    let read = self::anchor();
    let expected = anchor.unix_ns_of(read.instant);
    match read.unix_ns.saturating_sub(expected) > duration_ns(ANCHOR_BEHIND_MAX) {
        true => read,
        false => anchor,
    }
}

fn read_anchor() -> Anchor {
    Anchor {
        instant: now().into_std(),
        unix_ns: unix_now_ns(),
    }
}

/// Wall-clock time of a reading.
pub(crate) fn unix_ns(anchor: &Anchor, at: Instant) -> u64 {
    anchor.unix_ns_of(at.into_std())
}

pub(crate) fn system_time(unix_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_ns)
}

/// Saturates after 584 years.
pub(crate) fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns when the clock is [`DISPATCH_GAP`] past `instant`, or stands still.
pub(crate) fn pass_gap_after(instant: Instant) {
    for _ in 0..DISPATCH_GAP_READINGS {
        if now().saturating_duration_since(instant) >= DISPATCH_GAP {
            return;
        }
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An anchor whose wall clock is `seconds` off.
    fn off_by(seconds: i64) -> Anchor {
        let mut anchor = anchor();
        anchor.unix_ns = anchor.unix_ns.saturating_add_signed(seconds * 1_000_000_000);
        anchor
    }

    #[test]
    fn an_anchor_is_renewed_only_after_a_suspend() {
        let suspended = off_by(-60);
        assert!(renewed(suspended).unix_ns > suspended.unix_ns + 59_000_000_000);
        for kept in [off_by(-1), off_by(0), off_by(60)] {
            assert_eq!(renewed(kept).unix_ns, kept.unix_ns);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_that_is_advanced_keeps_its_anchor() {
        let anchor = anchor();
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(renewed(anchor).unix_ns, anchor.unix_ns);
    }

    #[test]
    fn a_remote_call_does_not_touch_its_tools_dispatch() {
        let dispatched = now();
        pass_gap_after(dispatched);
        let passed = now().saturating_duration_since(dispatched);
        assert!(passed >= DISPATCH_GAP, "{passed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_stands_still_holds_no_call_back() {
        let dispatched = now();
        pass_gap_after(dispatched);
        assert_eq!(now(), dispatched);
    }
}
