//! Reads traces from files: OTLP/JSON, Jaeger's JSON and segments of a corpus (`--trace-dir`), in any mixture.
//!
//! ```text
//! file ─┬► documents (lines, or a stream) ──► otlp, jaeger ─┬► assembler ──► complete traces
//!       └► corpus: a segment ──────────────────────────────┘      └──► spill: a temporary file
//! ```
//!
//! Files may be larger than memory, cut off, torn, mixed, or given twice. What could not be read is counted and
//! described in the [`ReadSummary`], and the rest is read.

mod assembler;
mod corpus;
mod documents;
mod faults;
mod jaeger;
mod json;
#[doc(hidden)]
pub mod otlp;
mod paths;
mod spill;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use baton_trace::TraceId;

use self::assembler::Assembler;
pub use self::faults::{FaultyFile, InputFaults};
pub use self::paths::{is_segment, trace_files};
use crate::limits::{FAULTS_DESCRIBED, PROGRESS_BYTES, READ_BYTES};
use crate::model::Trace;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file or directory could not be opened.
    #[error("cannot read the trace file {}: {source}", path.display())]
    Open {
        /// Its path, as given.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file could not be read to its end.
    #[error("cannot read {name} beyond byte {offset}: {source}")]
    Read {
        /// The name of the input.
        name: String,
        /// Bytes read before.
        offset: u64,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A directory has no trace files.
    #[error(
        "no traces in {}: names of trace files contain `.json` or end in `.traces.zst`; `--trace-json FILE` and \
         `--trace-dir DIR` write them",
        path.display()
    )]
    NoFiles {
        /// The directory.
        path: PathBuf,
    },
    /// The temporary file failed.
    #[error(
        "cannot use a temporary file for the traces that exceed memory: {0}; set TMPDIR to a directory with free space"
    )]
    Spill(#[source] io::Error),
}

/// Something in a file that is not a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name of the input.
    pub name: String,
    /// The line, from 1.
    pub line: u64,
    /// The byte in the file, from 0.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// Spans of the same document that were read before.
    pub spans_before: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            line,
            offset,
            what,
            spans_before,
        } = self;
        write!(f, "{name}:{line}: {what} (byte {offset}; ")?;
        match spans_before {
            0 => write!(f, "no span of this document was read)"),
            spans => write!(f, "only the first {spans} spans of this document were read)"),
        }
    }
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFile {
    /// Its name.
    pub name: String,
    /// Bytes read.
    pub bytes: u64,
    /// Spans read.
    pub spans: u64,
    /// Faults found.
    pub faults: u64,
    /// The line of the first of them, from 1.
    pub first_fault_line: Option<u64>,
}

/// What was read, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSummary {
    /// Each input, in order.
    pub files: Vec<ReadFile>,
    /// Spans read, with those counted below.
    pub spans: u64,
    /// Traces delivered.
    pub traces: u64,
    /// Spans that were in the input more than once; each was delivered once.
    pub duplicate_spans: u64,
    /// Spans of traces that had already been complete. They were not delivered: the input has the trace twice, or its
    /// spans far apart.
    pub late_spans: u64,
    /// Spans without a valid span id or trace id. They were not delivered.
    pub spans_without_id: u64,
    /// Faults found.
    pub fault_count: u64,
    /// The first [`FAULTS_DESCRIBED`] of them.
    pub faults: Vec<Fault>,
    /// Bytes of traces that went through a temporary file, because too many were open at once.
    pub spilled_bytes: u64,
}

impl ReadSummary {
    /// Whether everything in the input was read.
    pub fn is_whole(&self) -> bool {
        self.fault_count == 0 && self.spans_without_id == 0
    }
}

/// How far reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read of all inputs.
    pub bytes: u64,
}

/// Reads inputs one after the other. Spans of one trace may be in several.
pub struct Reader<'o> {
    assembler: Assembler<'o>,
    progress: Option<&'o mut dyn FnMut(Progress)>,
    bytes: u64,
}

impl<'o> Reader<'o> {
    /// Hands each trace to `deliver` as soon as it is complete.
    pub fn new(deliver: &'o mut dyn FnMut(Trace)) -> Self {
        Self {
            assembler: Assembler::new(deliver),
            progress: None,
            bytes: 0,
        }
    }

    /// Calls `progress` every [`PROGRESS_BYTES`].
    #[must_use]
    pub fn with_progress(mut self, progress: &'o mut dyn FnMut(Progress)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Keeps at most about `bytes` of open traces in memory, instead of
    /// [`OPEN_TRACES_BYTES`](crate::limits::OPEN_TRACES_BYTES).
    #[must_use]
    pub fn with_open_bytes(mut self, bytes: usize) -> Self {
        self.assembler.set_open_bytes_max(bytes);
        self
    }

    /// Delivers this trace only. Of a corpus, only the frames with parts of it are decompressed.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceId) -> Self {
        self.assembler.only = Some(u128::from_be_bytes(trace.to_bytes()));
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ReadError`]. Faults in the content are no error, but in the [summary](Self::finish).
    pub fn file(&mut self, path: impl AsRef<Path>) -> Result<(), ReadError> {
        let path = path.as_ref();
        let failed = |source| ReadError::Open {
            path: path.into(),
            source,
        };
        let name = path.display().to_string();
        if paths::is_segment(path) {
            let segment = baton_corpus::segment::open(path).map_err(failed)?;
            return self.input_as(&name, segment, true);
        }
        let opened = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Ok(file),
        });
        self.input(&name, opened.map_err(failed)?)
    }

    /// Reads an input that is called `name` in messages.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn input(&mut self, name: &str, input: impl Read) -> Result<(), ReadError> {
        self.input_as(name, input, false)
    }

    /// `is_segment`: also if it is empty.
    fn input_as(&mut self, name: &str, input: impl Read, is_segment: bool) -> Result<(), ReadError> {
        let counted = Counted {
            input,
            bytes: 0,
            before: self.bytes,
            progress: &mut self.progress,
        };
        let mut counted = BufReader::with_capacity(READ_BYTES, counted);
        let spans = self.assembler.summary.spans;
        let mut faults = Vec::new();
        let mut fault_count = 0;
        let on_fault = |fault| {
            fault_count += 1;
            if faults.len() < FAULTS_DESCRIBED {
                faults.push(fault);
            }
        };
        let read = counted.fill_buf().map(baton_corpus::segment::is_segment);
        let read = read.and_then(|begins_as_segment| match is_segment || begins_as_segment {
            true => corpus::read(&mut counted, &mut self.assembler, on_fault),
            false => documents::read(&mut counted, &mut self.assembler, on_fault),
        });
        let bytes = counted.get_ref().bytes;
        self.bytes += bytes;
        read.map_err(|source| ReadError::Read {
            name: name.to_owned(),
            offset: bytes,
            source,
        })?;
        let saw_traces = self.assembler.take_saw_traces();
        let summary = &mut self.assembler.summary;
        if !saw_traces && fault_count == 0 {
            fault_count = 1;
            let what = match bytes {
                0 => "the trace file is empty; write one with `--trace-json FILE`",
                _ => "no traces: neither OTLP/JSON nor Jaeger's JSON",
            };
            faults.push(documents::TextFault {
                line: 1,
                offset: 0,
                what: what.to_owned(),
                spans_before: 0,
            });
        }
        summary.files.push(ReadFile {
            name: name.to_owned(),
            bytes,
            spans: summary.spans - spans,
            faults: fault_count,
            first_fault_line: faults.first().map(|fault| fault.line),
        });
        summary.fault_count += fault_count;
        let room = FAULTS_DESCRIBED.saturating_sub(summary.faults.len());
        summary
            .faults
            .extend(faults.into_iter().take(room).map(|fault| Fault {
                name: name.to_owned(),
                line: fault.line,
                offset: fault.offset,
                what: fault.what,
                spans_before: fault.spans_before,
            }));
        self.assembler.failure.take().map_or(Ok(()), Err)
    }

    /// Delivers the remaining traces.
    ///
    /// # Errors
    /// [`ReadError::Spill`].
    pub fn finish(self) -> Result<ReadSummary, ReadError> {
        self.assembler.finish()
    }
}

/// Counts the bytes of an input and reports progress.
struct Counted<'p, 'o, R> {
    input: R,
    bytes: u64,
    before: u64,
    progress: &'p mut Option<&'o mut dyn FnMut(Progress)>,
}

impl<R: Read> Read for Counted<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        let before = self.before + self.bytes;
        self.bytes += len as u64;
        let bytes = self.before + self.bytes;
        if let Some(progress) = self.progress
            && before / PROGRESS_BYTES != bytes / PROGRESS_BYTES
        {
            progress(Progress { bytes });
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests;
