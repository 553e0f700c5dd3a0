//! Finds the first prompt: the last line, unterminated, ends in `$ `, `# `, `% ` or `> `, once escape sequences are
//! removed. Python's `>>> ` ends so too.
//!
//! A prompt is known only where a read ends: a program writes it and then waits. Text that is printed in two writes,
//! and whose first part ends like a prompt, is taken for one.
//!
//! Removed are the escape sequences of ECMA-48: control sequences (`ESC [ …`), control strings (`ESC ] …` to BEL or
//! `ESC \`) and short escapes; and other control characters. A carriage return begins the line anew.

use memchr::memchr;

use crate::limits::FAMILY_LINE_MAX;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Prompt {
    escape: Escape,
    /// The last two visible bytes of the line.
    last: [u8; 2],
    /// The bytes of the line.
    length: usize,
    had_long_line: bool,
}

/// The position in an escape sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Escape {
    #[default]
    Outside,
    /// After ESC, and its intermediate bytes.
    Begun,
    /// After `ESC [`.
    Control,
    /// In a control string.
    Text,
    /// After ESC in a control string.
    StringEnding,
}

impl Prompt {
    /// The end of the marker in `output`. `is_whole` is false if the read did not end here.
    pub(super) fn feed(&mut self, output: &[u8], is_whole: bool) -> Option<usize> {
        let mut rest = output;
        while let Some(length) = memchr(b'\n', rest) {
            self.length = self.length.saturating_add(length);
            let had_long_line = self.had_long_line();
            *self = Self {
                had_long_line,
                ..Self::default()
            };
            rest = &rest[length + 1..];
        }
        self.length = self.length.saturating_add(rest.len());
        for &byte in rest {
            self.take(byte);
        }
        let is_prompt = matches!(self.last, [b'$' | b'#' | b'%' | b'>', b' ']);
        (is_whole && is_prompt && self.escape == Escape::Outside && !self.is_in_long_line())
            .then_some(output.len())
    }

    pub(super) fn is_in_long_line(&self) -> bool {
        self.length > FAMILY_LINE_MAX
    }

    pub(super) fn had_long_line(&self) -> bool {
        self.had_long_line || self.is_in_long_line()
    }

    fn take(&mut self, byte: u8) {
        const ESC: u8 = 0x1b;
        const BEL: u8 = 0x07;
        self.escape = match (self.escape, byte) {
            (Escape::Text, BEL) | (Escape::StringEnding, b'\\') => Escape::Outside,
            (Escape::Text | Escape::StringEnding, ESC) => Escape::StringEnding,
            (Escape::Text | Escape::StringEnding, _) => Escape::Text,
            (_, ESC) => Escape::Begun,
            (Escape::Begun, b'[') => Escape::Control,
            // OSC, DCS, SOS, PM, APC.
            (Escape::Begun, b']' | b'P' | b'X' | b'^' | b'_') => Escape::Text,
            (Escape::Begun, b' '..=b'/') => Escape::Begun,
            (Escape::Begun, _) => Escape::Outside,
            (Escape::Control, b'@'..=b'~') => Escape::Outside,
            (Escape::Control, _) => Escape::Control,
            (Escape::Outside, b'\r') => {
                self.last = [0; 2];
                Escape::Outside
            }
            (Escape::Outside, 0..b' ' | 0x7f) => Escape::Outside,
            (Escape::Outside, _) => {
                self.last = [self.last[1], byte];
                Escape::Outside
            }
        };
    }
}
