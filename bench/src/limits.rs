//! Every limit of this crate: its value and what it protects from.

use std::time::Duration;

/// The pause between two checks of a process that does not report when it is ready.
pub const START_POLL: Duration = Duration::from_millis(10);

/// How long a worker may take for one request. A visit takes less than a second on an idle machine.
pub const VISIT_PATIENCE: Duration = Duration::from_secs(120);

/// How far noise may move a bar, as a part of the bar. Without it a machine that is noisy enough would pass anything.
pub const NOISE_ALLOWED: f64 = 0.05;

/// Bytes that wait before the narrow place of a [link](crate::link) at most: the receive buffer asked of the kernel,
/// which takes half of what it makes of it for its own accounts.
pub const LINK_QUEUE: usize = 128 * 1024;

/// What a piece on a [link](crate::link) may be late without loss of rate: a sleep is never exact, and a thread may
/// have to wait for a core. A link that was idle lets as much through at once.
pub const LINK_SLACK: Duration = Duration::from_millis(2);
