//! Splits a file into JSON documents.
//!
//! Most files have one document a line, which is parsed in one piece. A document of several lines, or of a very long
//! one, is parsed as a stream. After a fault reading continues with the next line, so that one torn line costs no
//! other.

use std::io::{self, BufRead, Read};

use serde::de::DeserializeSeed as _;
use serde_json::Deserializer;

use super::assembler::Assembler;
use super::otlp::Document;
use crate::limits::LINE_BYTES;

/// A fault in a text.
pub(super) struct TextFault {
    /// The line, from 1.
    pub line: u64,
    /// The byte, from 0.
    pub offset: u64,
    pub what: String,
    /// Spans of the same document that were read before the fault.
    pub spans_before: u64,
}

/// Reads all documents of `input`. Faults go to `on_fault`.
pub(super) fn read(
    mut input: impl BufRead,
    out: &mut Assembler<'_>,
    mut on_fault: impl FnMut(TextFault),
) -> io::Result<()> {
    let mut line = Vec::new();
    let (mut line_number, mut offset) = (1, 0);
    loop {
        line.clear();
        input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let before = out.summary.spans;
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES;
        let parsed = match is_whole {
            // Without its end, so that a string that is cut off is at the end of the text.
            true => parse_line(line.strip_suffix(b"\n").unwrap_or(&line), out),
            false => Ok(()),
        };
        let is_stream = match &parsed {
            Ok(()) => !is_whole,
            Err(error) => error.is_eof() && continues(&line, input.fill_buf()?),
        };
        if is_stream {
            // From the beginning of the document again, without the spans that are already known.
            out.skip = out.summary.spans - before;
            let mut stream = Stream {
                input: line.chain(&mut input),
                line: line_number,
                offset,
                is_line_start: true,
            };
            let parsed = parse(&mut Deserializer::from_reader(&mut stream), out);
            if let Err(error) = parsed {
                if error.is_io() {
                    return Err(error.into());
                }
                on_fault(TextFault {
                    line: line_number + (error.line() as u64).saturating_sub(1),
                    offset: stream.offset.saturating_sub(1),
                    what: without_position(&error),
                    spans_before: out.summary.spans - before,
                });
                stream.skip_line()?;
            }
            (line_number, offset) = (stream.line, stream.offset);
            line = Vec::new();
            continue;
        }
        if let Err(error) = parsed {
            on_fault(TextFault {
                line: line_number,
                offset: offset + (error.column() as u64).saturating_sub(1),
                what: without_position(&error),
                spans_before: out.summary.spans - before,
            });
        }
        line_number += 1;
        offset += line.len() as u64;
    }
}

/// Checks that the line is UTF-8 as a whole, which is faster than the parser's check of each string. A line that is not
/// is left to the parser, which tells where.
fn parse_line(line: &[u8], out: &mut Assembler<'_>) -> serde_json::Result<()> {
    match str::from_utf8(line) {
        Ok(line) => parse(&mut Deserializer::from_str(line), out),
        Err(_) => parse(&mut Deserializer::from_slice(line), out),
    }
}

/// Parses documents until nothing follows.
fn parse<'de, R: serde_json::de::Read<'de>>(
    json: &mut Deserializer<R>,
    out: &mut Assembler<'_>,
) -> serde_json::Result<()> {
    while json.end().is_err() {
        let parsed = Document(out).deserialize(&mut *json);
        out.end_document();
        parsed?;
    }
    Ok(())
}

/// Whether a document that ends in the middle goes on in the next line. One that a crash cut off is followed by
/// another document, or by nothing.
fn continues(line: &[u8], next: &[u8]) -> bool {
    let is_object = line.trim_ascii_start().starts_with(b"{");
    !(next.is_empty() || is_object && next.starts_with(b"{"))
}

/// The message without "at line 1 column 2", which counts from the beginning of the document.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message,
    }
}

/// Counts what the parser reads, a byte at a time.
struct Stream<R> {
    input: R,
    line: u64,
    offset: u64,
    is_line_start: bool,
}

impl<R: Read> Stream<R> {
    /// Reads the rest of the line in which the parser stopped.
    fn skip_line(&mut self) -> io::Result<()> {
        while !self.is_line_start && self.read(&mut [0])? > 0 {}
        Ok(())
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.offset += len as u64;
        for byte in &buffer[..len] {
            self.is_line_start = *byte == b'\n';
            self.line += u64::from(self.is_line_start);
        }
        Ok(len)
    }
}
