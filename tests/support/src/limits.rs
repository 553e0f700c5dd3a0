//! Every limit of this crate: its value and what it protects from.

use std::time::Duration;

/// The last bytes of a process's stderr that are kept. A process that logs in a loop must not grow the test's memory.
pub const STDERR_KEPT: usize = 16 * 1024;

/// How long the stderr of an exited process is still read. A descendant may hold it open for ever.
pub const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// How long a process may take to report that it is ready. The exec-server's own deadlines towards a relay are 5 s.
pub const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long a process may take to exit after SIGTERM: it exports waiting spans within 2 s and kills its commands.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long a test waits for what must happen: far longer than anything takes, so that a loaded machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two tests of a condition.
pub const LOOK_AGAIN: Duration = Duration::from_millis(2);
