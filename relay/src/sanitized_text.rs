//! Text from a peer, made safe for a log line or a terminal.

use std::fmt;

use crate::limits::SANITIZED_CHARS;

/// Displays at most [`SANITIZED_CHARS`] characters; control characters (terminal escapes, forged log lines) become `·`.
pub(crate) struct SanitizedText<'a>(pub(crate) &'a str);

impl fmt::Display for SanitizedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars().take(SANITIZED_CHARS) {
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
        assert_eq!(SanitizedText("a\x1b[31m\nb\u{9b}").to_string(), "a·[31m·b·");
        assert_eq!(SanitizedText(&"x".repeat(999)).to_string().len(), SANITIZED_CHARS);
    }
}
