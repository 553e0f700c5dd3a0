//! Limits of the client, each with what it protects.

/// Default limit of the output that [`crate::Client::run`] collects, in bytes. Protects the caller's memory; use
/// [`crate::Client::start`] for more output.
pub const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// Messages of one run that wait to be sent. With [`STDIN_CHUNK`] it bounds the buffered standard input of a run.
pub const OUTBOX: usize = 8;

/// Largest chunk of standard input in one message: one write to the command's pipe.
pub const STDIN_CHUNK: usize = 128 * 1024;

/// Bytes of consumed output after which the client acknowledges it, so that the exec-server can free its log.
pub const ACK_BATCH: usize = 512 * 1024;
