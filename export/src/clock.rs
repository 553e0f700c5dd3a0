//! The clock that every measurement and every deadline reads.
//!
//! `baton-trace` and the state machines take readings as arguments; those come from here.

use std::time::Instant;

use baton_trace::record::{Anchor, unix_now_ns};

use crate::limits::{ANCHOR_GAP_MAX, ANCHOR_RETRIES};

/// The monotonic clock: the one that tokio's timers keep, so that a deadline computed from it and a timer that waits
/// for it agree. That is the operating system's clock, at the same cost. Only if the runtime's time is paused, as in a
/// simulation, it is the runtime's clock.
#[inline]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Reads the monotonic and the wall clock.
pub fn anchor() -> Anchor {
    Anchor {
        instant: now(),
        unix_ns: unix_now_ns(),
    }
}

/// Reads both clocks for the stamps of a whole call. Reads again if the thread was interrupted between the two
/// readings, because the interruption would shift the wall-clock time of every span.
pub fn call_anchor() -> Anchor {
    let mut read = anchor();
    for _ in 0..ANCHOR_RETRIES {
        if now().saturating_duration_since(read.instant) <= ANCHOR_GAP_MAX {
            break;
        }
        read = anchor();
    }
    read
}
