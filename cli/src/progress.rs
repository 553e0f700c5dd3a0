//! Long reads, and the line on standard error that shows how far they are.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use baton_analyze::model::Trace;
use baton_analyze::read::{Progress, ReadSummary, Reader};

use crate::error::CliError;

/// Replaces the line. A closed reader is ignored.
pub(crate) fn show(text: &str) {
    let _ = write!(io::stderr(), "\r\x1b[K{text}");
}

/// Removes the line.
pub(crate) fn clear() {
    show("");
}

/// Reads trace files, with progress on a terminal.
pub(crate) fn read_files(files: &[PathBuf], deliver: &mut dyn FnMut(Trace)) -> Result<ReadSummary, CliError> {
    let all: u64 = files
        .iter()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum();
    let mut progress = |progress: Progress| {
        let percent = progress.bytes.saturating_mul(100) / all.max(1);
        show(&format!(
            "reading: {} MB, {} %",
            progress.bytes / 1_000_000,
            percent.min(100)
        ));
    };
    let is_shown = io::stderr().is_terminal();
    let mut reader = Reader::new(deliver);
    if is_shown {
        reader = reader.with_progress(&mut progress);
    }
    for file in files {
        reader.file(file)?;
    }
    let summary = reader.finish()?;
    if is_shown {
        clear();
    }
    Ok(summary)
}
