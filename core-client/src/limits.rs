//! Limits of the client, each with what it protects.

/// Bytes of output that [`crate::Client::run`] collects unless told otherwise. Protects the caller's memory; a command
/// that prints more is for [`crate::Client::start`].
pub const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// Messages of one run waiting to be sent. With [`STDIN_CHUNK`] it bounds what a run holds of its standard input.
pub const OUTBOX: usize = 8;

/// Largest chunk of standard input in one message: one write to the command's pipe.
pub const STDIN_CHUNK: usize = 128 * 1024;

/// Consumed output after which the server is told that it may forget it.
pub const ACK_BATCH: usize = 512 * 1024;
