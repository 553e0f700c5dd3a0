//! The options of the command line.

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Result;

pub(crate) const USAGE: &str = "\
Runs an agent against a scripted model: two turns, tools through Baton, a warm in between.

Usage: agent [OPTIONS]

Options:
      --trace-json FILE  Write every span to FILE, as OTLP/JSON
  -h, --help             Print this help

With OTEL_EXPORTER_OTLP_ENDPOINT set, every span is also sent to that collector (OTLP over gRPC).
";

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where to write every span.
    pub(crate) trace_json: Option<PathBuf>,
}

impl Options {
    /// `None`: the help was asked for.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy();
            let file = match text.split_once('=') {
                _ if text == "-h" || text == "--help" => return Ok(None),
                _ if text == "--trace-json" => arguments.next(),
                Some(("--trace-json", file)) => Some(file.into()),
                _ => return Err(format!("unknown argument `{}`", text.escape_debug())),
            };
            match file.filter(|file| !file.is_empty()) {
                Some(file) => options.trace_json = Some(file.into()),
                None => return Err("`--trace-json` needs a file".to_owned()),
            }
        }
        Ok(Some(options))
    }

    /// Creates the file, or empties it.
    pub(crate) fn create_trace_file(&self) -> Result<Option<TraceFile>> {
        self.trace_json.clone().map(TraceFile::create).transpose()
    }
}

/// The file of `--trace-json`.
pub(crate) struct TraceFile {
    path: PathBuf,
    file: File,
}

impl TraceFile {
    fn create(path: PathBuf) -> Result<Self> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(cannot_write(&path, &error)),
        }
    }

    pub(crate) fn write(mut self, content: &[u8]) -> Result<()> {
        self.file
            .write_all(content)
            .map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Box<dyn Error + Send + Sync> {
    format!("cannot write {}: {error}; pass another file", path.display()).into()
}
