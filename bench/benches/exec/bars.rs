//! The bars of this benchmark. Each bar is defined here only, so that no two definitions diverge.

use baton_bench::stats::Bar;

/// Warm `Run`, and `Start` with a pipe as stdin, over the floor, median.
pub(crate) const RUN_P50: Bar = Bar::AtMost(1.4);
/// The same, 99th percentile.
pub(crate) const RUN_P99: Bar = Bar::AtMost(1.6);
/// Executions per second over the better floor, many in flight on one session.
pub(crate) const IN_FLIGHT: Bar = Bar::AtLeast(0.85);
/// CPU seconds per execution of relay, exec-server and client, tracing every execution over tracing none.
pub(crate) const TRACING_CPU: Bar = Bar::AtMost(1.08);
/// Remainder in percent of the envelope, median.
pub(crate) const REMAINDER_P50: Bar = Bar::AtMost(4.0);
/// Remainder in percent of the envelope, 90th percentile.
pub(crate) const REMAINDER_P90: Bar = Bar::AtMost(8.0);
/// The envelope over the wall clock around the caller's await, median.
pub(crate) const ENVELOPE: Bar = Bar::AtLeast(0.97);
/// Milliseconds from the exec-server's observation of the exit to the caller's receipt, idle, median.
pub(crate) const EXIT_P50: Bar = Bar::AtMost(0.25);
/// Milliseconds from the exec-server's observation of the exit to the caller's receipt, idle, 99th percentile.
pub(crate) const EXIT_P99: Bar = Bar::AtMost(1.0);
/// Resident megabytes (10^6 bytes) of the relay.
pub(crate) const RELAY_MEMORY: Bar = Bar::AtMost(20.0);
/// Resident megabytes (10^6 bytes) of the exec-server.
pub(crate) const EXEC_SERVER_MEMORY: Bar = Bar::AtMost(25.0);
