//! The tokio runtime of a command.

use crate::error::CliError;

/// A runtime on this thread. One thread, because a wake-up across cores costs more than the work it would share.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
