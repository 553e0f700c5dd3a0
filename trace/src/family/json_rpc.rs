//! Finds the first well-formed message of JSON-RPC 2.0, in both framings: on a line of its own (Model Context Protocol,
//! transport "stdio"), and after a header with `Content-Length` (Language Server Protocol, "base protocol").
//!
//! Other lines are skipped: a program may write a banner before its first message. A header that is no header, or whose
//! body is no message, is skipped too.

use memchr::memchr;

use super::bytes::line_feeds;
use super::candidate::{Candidate, Wanted};
use crate::limits::FAMILY_LINE_MAX;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct JsonRpc {
    line: Candidate,
    header: HeaderLine,
    /// The `Content-Length` of the header that is being read.
    announced: Option<u64>,
    body: Option<Body>,
    had_long_line: bool,
}

#[derive(Debug)]
struct Body {
    left: u64,
    /// `None`: too long to be one.
    message: Option<Candidate>,
}

impl JsonRpc {
    pub(super) fn new() -> Self {
        Self {
            line: Candidate::new(Wanted::Message),
            header: HeaderLine::Empty,
            announced: None,
            body: None,
            had_long_line: false,
        }
    }

    /// The end of the marker in `output`.
    pub(super) fn feed(&mut self, output: &[u8]) -> Option<usize> {
        let mut from = 0;
        while from < output.len() {
            let rest = &output[from..];
            let (taken, is_marker) = match &mut self.body {
                Some(body) => {
                    let part =
                        &rest[..usize::try_from(body.left).map_or(rest.len(), |left| left.min(rest.len()))];
                    (part.len(), self.in_body(part))
                }
                None => self.in_line(rest),
            };
            from += taken;
            if is_marker {
                return Some(from);
            }
        }
        None
    }

    /// Whether the unterminated last line is the marker.
    pub(super) fn ends_in_marker(&self) -> bool {
        self.body.is_none() && self.line.is_complete()
    }

    pub(super) fn is_in_long_line(&self) -> bool {
        match &self.body {
            Some(body) => body.message.is_none(),
            None => self.line.is_too_long(),
        }
    }

    pub(super) fn had_long_line(&self) -> bool {
        self.had_long_line || self.is_in_long_line()
    }

    /// Takes bytes of a body, at most to its end. Returns whether they complete a message.
    fn in_body(&mut self, part: &[u8]) -> bool {
        let Some(body) = &mut self.body else { return false };
        body.left -= part.len() as u64;
        if let Some(message) = &mut body.message {
            message.take(part);
        }
        if body.left > 0 {
            return false;
        }
        let message = body.message.take();
        self.body = None;
        message.is_some_and(|message| message.is_complete())
    }

    /// Takes bytes up to the end of the line. Returns their number, and whether they complete a message.
    fn in_line(&mut self, rest: &[u8]) -> (usize, bool) {
        // At the beginning of a line, what `self.header` has is of an earlier line.
        let header = match self.line.is_empty() {
            true if self.announced.is_none() && rest[0] == b'\n' => return (line_feeds(rest), false),
            true => HeaderLine::Empty,
            false => self.header,
        };
        match memchr(b'\n', rest) {
            Some(end) => {
                let part = &rest[..end];
                self.line.take_last(part);
                let is_marker = self.line.is_complete();
                self.had_long_line |= self.line.is_too_long();
                self.line.reset();
                self.end_of_line(header.with(part));
                (end + 1, is_marker)
            }
            None => {
                self.line.take(rest);
                self.header = header.with(rest);
                (rest.len(), false)
            }
        }
    }

    fn end_of_line(&mut self, line: HeaderLine) {
        match line {
            HeaderLine::Empty | HeaderLine::CarriageReturn => match self.announced.take() {
                None | Some(0) => {}
                Some(length) => self.begin_body(length),
            },
            HeaderLine::Digits(length) | HeaderLine::AfterDigits(length) => self.announced = Some(length),
            HeaderLine::Field => {}
            HeaderLine::Name(_) | HeaderLine::BeforeDigits | HeaderLine::NoField => self.announced = None,
        }
    }

    fn begin_body(&mut self, length: u64) {
        let is_too_long = length > FAMILY_LINE_MAX as u64;
        self.had_long_line |= is_too_long;
        self.body = Some(Body {
            left: length,
            message: (!is_too_long).then(|| Candidate::new(Wanted::Message)),
        });
    }
}

/// The field name that announces a body, in lower case. Field names are compared without case (RFC 9110 section 5.1).
const CONTENT_LENGTH: &[u8] = b"content-length";

/// A line as a field of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum HeaderLine {
    #[default]
    Empty,
    /// One carriage return.
    CarriageReturn,
    /// The first bytes of a name: how many bytes of [`CONTENT_LENGTH`] they are, unless they differ.
    Name(Option<usize>),
    /// `Content-Length:` and white space.
    BeforeDigits,
    Digits(u64),
    /// Digits and white space.
    AfterDigits(u64),
    /// Another field.
    Field,
    NoField,
}

impl HeaderLine {
    fn with(self, bytes: &[u8]) -> Self {
        let mut line = self;
        let mut rest = bytes.iter();
        while let Some(byte) = rest.next() {
            line = match line {
                Self::Field | Self::NoField => break,
                // Any other name: no byte of it matters, only the byte after it.
                Self::Name(None) if is_name(*byte) => match rest.find(|byte| !is_name(**byte)) {
                    Some(byte) => line.next(*byte),
                    None => break,
                },
                line => line.next(*byte),
            };
        }
        line
    }

    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Empty, b'\r') => Self::CarriageReturn,
            (Self::Empty, _) => Self::name(Some(0), byte),
            (Self::Name(Some(length)), b':') if length == CONTENT_LENGTH.len() => Self::BeforeDigits,
            (Self::Name(_), b':') => Self::Field,
            (Self::Name(matched), _) => Self::name(matched, byte),
            (Self::BeforeDigits, b' ' | b'\t') => Self::BeforeDigits,
            (Self::BeforeDigits, b'0'..=b'9') => Self::Digits(u64::from(byte - b'0')),
            // A length beyond 64 bits is too long, whatever it is.
            (Self::Digits(length), b'0'..=b'9') => {
                Self::Digits(length.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            (Self::Digits(length) | Self::AfterDigits(length), b' ' | b'\t' | b'\r') => {
                Self::AfterDigits(length)
            }
            (Self::Field, _) => Self::Field,
            _ => Self::NoField,
        }
    }

    fn name(matched: Option<usize>, byte: u8) -> Self {
        if !is_name(byte) {
            return Self::NoField;
        }
        let is_next = |at: &usize| CONTENT_LENGTH.get(*at) == Some(&byte.to_ascii_lowercase());
        Self::Name(matched.filter(is_next).map(|at| at + 1))
    }
}

/// Whether a field name may have this byte.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
