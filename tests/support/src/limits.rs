//! Every limit of this crate: its value and what it protects from.

use std::time::Duration;

/// Bytes of a helper's stderr that are kept: the end of it. A helper that logs in a loop must not grow its starter.
pub const STDERR_KEPT: usize = 16 * 1024;

/// How long the stderr of a part that has ended is read on. A descendant may hold it open for ever.
pub const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// How long a part may take until it says that it is up: the exec-server's own deadlines towards a relay are 5 s.
pub const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long a part may take to end when asked to: it sends what waits to its collector, within 2 s, and kills what runs.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long a test waits for what must happen: far longer than anything takes, so that a loaded machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two tests of a condition.
pub const LOOK_AGAIN: Duration = Duration::from_millis(2);
