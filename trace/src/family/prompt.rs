//! Finds the first prompt: the last line, unterminated, ends in `$ `, `# `, `% ` or `> `, once escape sequences are
//! removed. Python's `>>> ` ends so too.
//!
//! A prompt is known only where a read ends: a program writes it and then waits. Text that is printed in two writes,
//! and whose first part ends like a prompt, is taken for one.
//!
//! Removed are the escape sequences of ECMA-48: control sequences (`ESC [ …`), control strings (`ESC ] …` to BEL or
//! `ESC \`) and short escapes; and other control characters. A carriage return begins the line anew.

use memchr::{memchr, memchr2, memrchr};

use super::bytes::until_control;
use crate::limits::FAMILY_LINE_MAX;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

impl Prompt {
    /// The end of the marker in `output`. `is_whole` is false if the read did not end here.
    pub(super) fn feed(&mut self, output: &[u8], is_whole: bool) -> Option<usize> {
        let line = self.last_line(output);
        self.length = self.length.saturating_add(line.len());
        // A line that is too long is no prompt, whatever follows in it.
        if !self.is_in_long_line() {
            self.take_all(line);
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

    /// Ends the lines of `output`. Returns the unterminated rest.
    fn last_line<'a>(&mut self, output: &'a [u8]) -> &'a [u8] {
        let mut rest = output;
        // Unless a line can be too long, only the last line matters.
        while let Some(length) = match self.length.saturating_add(rest.len()) <= FAMILY_LINE_MAX {
            true => memrchr(b'\n', rest),
            false => memchr(b'\n', rest),
        } {
            self.length = self.length.saturating_add(length);
            let had_long_line = self.had_long_line();
            *self = Self {
                had_long_line,
                ..Self::default()
            };
            rest = &rest[length + 1..];
        }
        rest
    }

    fn take_all(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            let run = match self.escape {
                Escape::Outside => until_control(bytes),
                Escape::Text => memchr2(BEL, ESC, bytes).unwrap_or(bytes.len()),
                _ => 0,
            };
            if run == 0 {
                self.take(byte);
                bytes = rest;
                continue;
            }
            let (run, rest) = bytes.split_at(run);
            if self.escape == Escape::Outside {
                self.last = match run {
                    [.., a, b] => [*a, *b],
                    _ => [self.last[1], byte],
                };
            }
            bytes = rest;
        }
    }

    fn take(&mut self, byte: u8) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_is_taken_as_its_bytes_are(
            before in "[a\\x1b\\[\\]]{0,3}",
            text in "[a$ é\\r\\x1b\\[\\]\\x07\\x7fm0\\\\]{0,40}",
        ) {
            let mut prompt = Prompt::default();
            before.bytes().for_each(|byte| prompt.take(byte));
            let mut plain = prompt.clone();
            text.bytes().for_each(|byte| plain.take(byte));
            prompt.take_all(text.as_bytes());
            prop_assert_eq!(prompt, plain);
        }
    }
}
