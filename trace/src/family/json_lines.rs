//! Finds the first complete line that is a JSON object.

use memchr::memchr;

use super::bytes::line_feeds;
use super::candidate::{Candidate, Wanted};

/// A line ends at a line feed. A carriage return before it is white space of JSON.
#[derive(Debug)]
pub(super) struct JsonLines {
    line: Candidate,
    had_long_line: bool,
}

impl JsonLines {
    pub(super) fn new() -> Self {
        Self {
            line: Candidate::new(Wanted::Object),
            had_long_line: false,
        }
    }

    /// The end of the marker in `output`.
    pub(super) fn feed(&mut self, output: &[u8]) -> Option<usize> {
        let mut from = 0;
        loop {
            if self.line.is_empty() {
                from += line_feeds(&output[from..]);
            }
            let Some(length) = memchr(b'\n', &output[from..]) else {
                break;
            };
            let end = from + length;
            self.line.take_last(&output[from..end]);
            if self.line.is_complete() {
                return Some(end + 1);
            }
            self.had_long_line |= self.line.is_too_long();
            self.line.reset();
            from = end + 1;
        }
        self.line.take(&output[from..]);
        None
    }

    /// Whether the unterminated last line is the marker.
    pub(super) fn ends_in_marker(&self) -> bool {
        self.line.is_complete()
    }

    pub(super) fn is_in_long_line(&self) -> bool {
        self.line.is_too_long()
    }

    pub(super) fn had_long_line(&self) -> bool {
        self.had_long_line || self.line.is_too_long()
    }
}
