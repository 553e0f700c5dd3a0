//! The file of `--trace-json`, which must not cost a command its exit code.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use baton_trace::export::json;
use baton_trace::record::CallRecord;

use crate::error::CliError;

/// A file that can be written, opened before there is anything to write: a path that is wrong is told before the command runs.
pub(crate) struct TraceFile {
    path: PathBuf,
    file: File,
}

impl TraceFile {
    /// Opens the file, made if need be, and leaves its content for now.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Option<Self>, CliError> {
        let Some(path) = path else { return Ok(None) };
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        match opened {
            Ok(file) => Ok(Some(Self { path, file })),
            Err(source) => Err(CliError::Write { path, source }),
        }
    }

    /// Replaces the content. The command has run: a failure is told, and that is all.
    pub(crate) fn write(self, record: &CallRecord) {
        let Self { path, file } = self;
        if let Err(error) = write(file, record) {
            tell!("baton: the trace is not in {}: {error}", path.display());
        }
    }
}

fn write(file: File, record: &CallRecord) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    let mut file = BufWriter::new(file);
    json::write(&mut file, std::slice::from_ref(record))?;
    file.flush()
}
