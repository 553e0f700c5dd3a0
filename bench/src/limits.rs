//! Every limit of this crate: its value and what it protects from.

use std::time::Duration;

/// The pause between two checks of a process that does not report when it is ready.
pub const START_POLL: Duration = Duration::from_millis(10);

/// The time that a worker has for one request. A visit takes less than a second on an idle machine.
pub const VISIT_PATIENCE: Duration = Duration::from_secs(120);

/// The confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;

/// The largest allowance for noise, as a part of what the bar allows: of its distance from 1 for a ratio, from 0 for a
/// difference. A bar of 1.03 is widened to 1.045 at most. A part of the bar itself, such as 5 %, would be more than the
/// effect that a narrow bar must show. Without this bound, a sufficiently noisy machine would pass any bar.
pub const NOISE_ALLOWED: f64 = 0.5;

/// The receive buffer requested for a socket of a [link](crate::link): an upper bound on the bytes queued before the
/// bottleneck. The kernel doubles the value and uses half of that for its own bookkeeping.
pub const LINK_QUEUE: usize = 128 * 1024;

/// A piece on a [link](crate::link) that is late by at most this much does not lower the rate: a sleep is never exact,
/// and a thread may wait for a core. An idle link lets a burst of this length through at once.
pub const LINK_SLACK: Duration = Duration::from_millis(2);
