//! Finds the first event of a stream of server-sent events (WHATWG HTML, "Server-sent events", "Interpreting an event
//! stream"): the blank line after at least one line of data.
//!
//! A line ends at CR LF, LF or CR. Comments, and events without data, are no events.

use memchr::memchr2;

use crate::limits::FAMILY_LINE_MAX;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct EventStream {
    field: Field,
    /// The bytes of the line.
    length: usize,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// The event has a line of data.
    has_data: bool,
    had_long_line: bool,
}

/// The field name whose value is data.
const DATA: &[u8] = b"data";

/// The field of the line.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// This many first bytes of [`DATA`].
    Name(usize),
    Data,
    Other,
}

impl Default for Field {
    fn default() -> Self {
        Self::Name(0)
    }
}

/// The number of line ends at the beginning.
fn until_line(bytes: &[u8]) -> usize {
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    bytes
        .iter()
        .position(|byte| !is_line_end(byte))
        .unwrap_or(bytes.len())
}

impl EventStream {
    /// The end of the marker in `output`.
    pub(super) fn feed(&mut self, output: &[u8]) -> Option<usize> {
        let mut from = 0;
        while from < output.len() {
            if std::mem::take(&mut self.after_cr) && output[from] == b'\n' {
                from += 1;
                continue;
            }
            if self.length == 0 && !self.has_data && matches!(output[from], b'\r' | b'\n') {
                // Blank lines that end no event.
                from += until_line(&output[from..]);
                self.after_cr = output[from - 1] == b'\r';
                continue;
            }
            let rest = &output[from..];
            let Some(length) = memchr2(b'\r', b'\n', rest) else {
                self.take(rest);
                return None;
            };
            self.take(&rest[..length]);
            from += length + 1;
            self.after_cr = rest[length] == b'\r';
            if self.end_of_line() {
                let is_pair = self.after_cr && output.get(from) == Some(&b'\n');
                return Some(from + usize::from(is_pair));
            }
        }
        None
    }

    pub(super) fn is_in_long_line(&self) -> bool {
        self.length > FAMILY_LINE_MAX
    }

    pub(super) fn had_long_line(&self) -> bool {
        self.had_long_line || self.is_in_long_line()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len());
        for &byte in bytes {
            self.field = match self.field {
                Field::Name(matched) if DATA.get(matched) == Some(&byte) => Field::Name(matched + 1),
                Field::Name(matched) if matched == DATA.len() && byte == b':' => Field::Data,
                Field::Name(_) => Field::Other,
                Field::Data | Field::Other => break,
            };
        }
    }

    /// Whether the line dispatches an event.
    fn end_of_line(&mut self) -> bool {
        let is_too_long = self.is_in_long_line();
        let length = std::mem::take(&mut self.length);
        match std::mem::take(&mut self.field) {
            _ if length == 0 => return std::mem::take(&mut self.has_data),
            _ if is_too_long => self.had_long_line = true,
            Field::Data => self.has_data = true,
            // A line without a colon is a field with an empty value.
            Field::Name(matched) => self.has_data |= matched == DATA.len(),
            Field::Other => {}
        }
        false
    }
}
