//! The tokio runtime of a command.

use crate::error::CliError;

/// A single-threaded runtime, because a wake-up of another core costs more time than that core would save.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
