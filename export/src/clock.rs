//! The clock that every measurement and every deadline reads.
//!
//! `baton-trace` and the state machines take readings as arguments; those come from here.

use std::time::Instant;

use baton_trace::record::{Anchor, unix_now_ns};

use crate::limits::{ANCHOR_GAP_MAX, ANCHOR_RETRIES};

/// The monotonic clock: the one that tokio's timers keep, so that a deadline computed from it and a timer that waits for it
/// agree. That is the operating system's clock, read as directly; only where a runtime's time was paused, as a simulation
/// does, is it the runtime's.
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

/// Reads both clocks for the stamps of a whole call, again if the thread was interrupted between the two: the wall-clock time of each of
/// its spans would be wrong by as much.
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
