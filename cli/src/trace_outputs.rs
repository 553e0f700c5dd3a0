//! Where the trace of a command is written: `--trace-json` and `--trace-dir`.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baton_corpus::{Corpus, record};
use baton_trace::record::CallRecord;

use crate::error::CliError;
use crate::trace_file::TraceFile;

/// Both, opened before the command runs, so that a wrong path is reported first.
pub(crate) struct TraceOutputs {
    file: Option<TraceFile>,
    corpus: Option<Corpus>,
}

impl TraceOutputs {
    pub(crate) fn open(file: Option<PathBuf>, directory: Option<PathBuf>) -> Result<Self, CliError> {
        // First: a file that was made is removed again if the directory is refused.
        let file = TraceFile::open(file)?;
        let corpus = directory.map(Corpus::open).transpose()?;
        Ok(Self { file, corpus })
    }

    /// No trace has to be recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.file.is_none() && self.corpus.is_none()
    }

    /// Appends a trace. A failure is only printed, because the command has already run.
    pub(crate) fn write(self, record: &CallRecord) {
        if let Some(file) = self.file {
            file.write(record);
        }
        let Some(corpus) = self.corpus else { return };
        match corpus.append(&record::part(record)) {
            Ok(appended) => {
                if appended.torn_bytes > 0 {
                    stderr_line!(
                        "baton: removed {} bytes of a trace whose writing was interrupted from {}",
                        appended.torn_bytes,
                        corpus.directory().display()
                    );
                }
                if appended.closed_a_segment {
                    compact_in_background(corpus.directory());
                }
            }
            Err(error) => stderr_line!(
                "baton: the trace is not in {}: {error}",
                corpus.directory().display()
            ),
        }
    }
}

/// Recompresses in a process of its own, for which no command waits.
fn compact_in_background(directory: &Path) {
    let spawned = Command::new("/proc/self/exe")
        .args(["trace", "compact", "--"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // An interruption of a later command of the terminal is not for it.
        .process_group(0)
        .spawn();
    // A later command that closes a segment recompresses this one too.
    drop(spawned);
}
