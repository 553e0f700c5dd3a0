//! The tokio runtime of a command.

use crate::error::CliError;

/// A single-threaded runtime, because a wake-up of another core costs more time than that core would save.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// A runtime of this many threads, which take tasks from one another when they are idle. For the relay alone: it moves
/// the data of many sessions, and the other commands have one. docs/decisions/relay-threads.md has the measurements.
pub(crate) fn runtime_of(threads: usize) -> Result<tokio::runtime::Runtime, CliError> {
    if threads <= 1 {
        return runtime();
    }
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?)
}
