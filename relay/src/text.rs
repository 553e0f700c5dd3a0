//! Text from a peer, made fit for a log line or a terminal.

use std::fmt;

use crate::limits::SHOWN_CHARS;

/// Shows at most 256 characters; control characters (terminal escapes, forged log lines) become `·`.
pub(crate) struct Clean<'a>(pub(crate) &'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars().take(SHOWN_CHARS) {
            f.write_char(if c.is_control() { '·' } else { c })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_length_do_not_pass() {
        assert_eq!(Clean("a\x1b[31m\nb\u{9b}").to_string(), "a·[31m·b·");
        assert_eq!(Clean(&"x".repeat(999)).to_string().len(), SHOWN_CHARS);
    }
}
