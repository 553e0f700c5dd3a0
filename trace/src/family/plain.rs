//! The answers of a [`Detector`](super::Detector) by the definition of each family, for tests: all output is kept,
//! lines are divided first, and each byte is taken alone. Slow and short.

mod json;
mod rpc_message;

use json::{JsonScanner, Token};
use rpc_message::RpcMessage;

use super::json::ValueKind;
use super::{Family, Unavailable};
use crate::limits::{FAMILY_LINE_MAX, FAMILY_OUTPUT_MAX};

/// The search through all output of a family whose marker does not depend on reads.
#[derive(Default)]
struct Search {
    /// The end of the marker.
    marker: Option<usize>,
    /// Some line, or message, was too long.
    had_long_line: bool,
    /// The last one, which has no end, is too long.
    is_in_long_line: bool,
}

/// Where the marker ends in `output`, all of which was read, or why there is none. Of an event stream, the marker ends
/// after the line feed of its last line end.
pub(super) fn detect(family: Family, output: &[u8]) -> Result<usize, Unavailable> {
    let looked_at = &output[..output.len().min(FAMILY_OUTPUT_MAX)];
    let mark = match looked_at.starts_with("\u{feff}".as_bytes()) {
        true => "\u{feff}".len(),
        false => 0,
    };
    let text = &looked_at[mark..];
    // The end of output ends the last line, unless output is cut.
    let has_end = output.len() < FAMILY_OUTPUT_MAX;
    let search = match family {
        Family::JsonLines => json_lines(text, has_end),
        Family::JsonRpc => json_rpc(text, has_end),
        Family::EventStream => event_stream(text),
        Family::Text | Family::Prompt => unreachable!("it depends on reads"),
    };
    match search.marker {
        Some(end) => Ok(mark + end),
        None if output.is_empty() => Err(Unavailable::NotSeen),
        None if !has_end && search.is_in_long_line => Err(Unavailable::LineTooLong),
        None if !has_end => Err(Unavailable::LookedAtLimit),
        None if search.had_long_line => Err(Unavailable::LineTooLong),
        None => Err(Unavailable::NotRecognised),
    }
}

fn json_lines(output: &[u8], has_end: bool) -> Search {
    let mut search = Search::default();
    let mut end = 0;
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        let (line, is_terminated) = without_line_feed(line);
        if (is_terminated || has_end) && line.len() <= FAMILY_LINE_MAX && is_object(line) {
            search.marker = Some(end);
            return search;
        }
        search.line(line.len(), is_terminated);
    }
    search
}

fn json_rpc(output: &[u8], has_end: bool) -> Search {
    let mut search = Search::default();
    let mut announced = None;
    let mut rest = output;
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let (line, is_terminated) = without_line_feed(&rest[..length.unwrap_or(rest.len())]);
        rest = &rest[length.unwrap_or(rest.len())..];
        if (is_terminated || has_end) && line.len() <= FAMILY_LINE_MAX && is_message(line) {
            search.marker = Some(output.len() - rest.len());
            return search;
        }
        search.line(line.len(), is_terminated);
        announced = match (header(line), announced) {
            (Header::End, Some(length @ 1..)) if is_terminated => {
                let is_too_long = length > FAMILY_LINE_MAX as u64;
                let here = rest.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                let (body, after) = rest.split_at(here);
                let is_whole = here as u64 == length;
                rest = after;
                if is_whole && !is_too_long && is_message(body) {
                    search.marker = Some(output.len() - rest.len());
                    return search;
                }
                search.had_long_line |= is_too_long;
                search.is_in_long_line = is_too_long && !is_whole;
                None
            }
            (Header::Length(length), _) => Some(length),
            (Header::Other, announced) => announced,
            (Header::End | Header::None, _) => None,
        };
    }
    search
}

fn event_stream(output: &[u8]) -> Search {
    let mut search = Search::default();
    let mut has_data = false;
    let mut rest = output;
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let line = &rest[..length.unwrap_or(rest.len())];
        rest = &rest[line.len()..];
        let line_end = match rest {
            [b'\r', b'\n', ..] => 2,
            rest => rest.len().min(1),
        };
        rest = &rest[line_end..];
        search.line(line.len(), length.is_some());
        if length.is_some() && line.is_empty() && has_data {
            search.marker = Some(output.len() - rest.len());
            return search;
        }
        has_data |= line.len() <= FAMILY_LINE_MAX && (line == b"data" || line.starts_with(b"data:"));
    }
    search
}

impl Search {
    fn line(&mut self, length: usize, is_terminated: bool) {
        let is_too_long = length > FAMILY_LINE_MAX;
        self.had_long_line |= is_too_long;
        self.is_in_long_line = is_too_long && !is_terminated;
    }
}

fn without_line_feed(line: &[u8]) -> (&[u8], bool) {
    match line {
        [line @ .., b'\n'] => (line, true),
        line => (line, false),
    }
}

fn is_object(line: &[u8]) -> bool {
    let mut json = JsonScanner::new();
    let all = line.iter().all(|byte| {
        let is_outermost = json.depth() == 0;
        match json.next(*byte) {
            Ok(Token::Begin(kind)) => !is_outermost || kind == ValueKind::Object,
            Ok(_) => true,
            Err(_) => false,
        }
    });
    all && json.is_complete()
}

fn is_message(bytes: &[u8]) -> bool {
    let mut message = RpcMessage::new();
    bytes.iter().all(|byte| message.next(*byte).is_ok()) && message.is_complete()
}

enum Header {
    /// The empty line that ends a header.
    End,
    /// `Content-Length`.
    Length(u64),
    /// Another field.
    Other,
    None,
}

fn header(line: &[u8]) -> Header {
    if line.is_empty() || line == b"\r" {
        return Header::End;
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Header::None;
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || !name.iter().all(is_name) {
        return Header::None;
    }
    if !name.eq_ignore_ascii_case(b"Content-Length") {
        return Header::Other;
    }
    let value = String::from_utf8_lossy(value);
    let digits = value.trim_start_matches([' ', '\t']);
    let after = digits.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let digits = &digits[..digits.len() - after.len()];
    if digits.is_empty() || !after.trim_matches([' ', '\t', '\r']).is_empty() {
        return Header::None;
    }
    // Longer than 64 bits is too long, whatever it is.
    Header::Length(digits.parse().unwrap_or(u64::MAX))
}
