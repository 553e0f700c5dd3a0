//! Every limit of this crate: its value and what it protects from.

use std::time::Duration;

/// Number of bytes that are kept of the end of a process's stderr. A process that logs in a loop must not exhaust the
/// test's memory.
pub const STDERR_KEPT: usize = 16 * 1024;

/// The time for which the stderr of an exited process is still read. A descendant may keep it open forever.
pub const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// The time that a process has to report that it is ready. The exec-server's own deadlines for a relay are 5 s.
pub const START_PATIENCE: Duration = Duration::from_secs(20);

/// The time that a process has to exit after SIGTERM. It exports queued spans within 2 s and kills its commands.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The time that a test waits for an expected event: much longer than any event takes, so that no test fails because
/// the machine is loaded.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two checks of a condition.
pub const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Bytes that a [`FaultProxy`](crate::fault_proxy::FaultProxy) reads at once. Each direction of a connection holds one such buffer.
pub const PROXY_CHUNK: usize = 16 * 1024;

/// Pieces of a direction that a [`FaultProxy`](crate::fault_proxy::FaultProxy) holds: with [`PROXY_CHUNK`] 1 MiB, after
/// which a stalled link stops its sender. A delayed link passes at most so much in one delay.
pub const PROXY_QUEUE: usize = 64;
