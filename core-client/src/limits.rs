//! Limits of the client, each with what it protects.

use std::time::Duration;

/// Default limit of the output that [`crate::Client::run`] collects, in bytes. Protects the caller's memory; use
/// [`crate::Client::start`] for more output.
pub const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// Messages of one run that wait to be sent. With [`STDIN_CHUNK`] it bounds the buffered standard input of a run.
pub const OUTBOX: usize = 8;

/// Largest chunk of standard input in one message: one write to the command's pipe.
pub const STDIN_CHUNK: usize = 128 * 1024;

/// Bytes of consumed output after which the client acknowledges it, so that the exec-server can free its log.
pub const ACK_BATCH: usize = 512 * 1024;

/// Shortest interval between two warms: ten round trips a second. Protects the exec-server from a client that does
/// nothing else.
pub const WARM_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Longest interval between two warms. Nothing that must be warmed stays warm for a week; a longer interval is a mistake
/// in its unit, and this one can be added to any clock.
pub const WARM_INTERVAL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Longest duration of one warm, which then counts as failed. Longer than a session takes to notice that its peer is
/// gone. Protects the timer from a warm that never ends.
pub const WARM_TIMEOUT: Duration = Duration::from_secs(30);
