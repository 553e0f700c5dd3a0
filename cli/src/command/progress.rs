//! The line on standard error that shows how far a long read is.

use std::io::{self, Write as _};

/// Replaces the line. A closed reader is ignored.
pub(crate) fn show(text: &str) {
    let _ = write!(io::stderr(), "\r\x1b[K{text}");
}

/// Removes the line.
pub(crate) fn clear() {
    show("");
}
