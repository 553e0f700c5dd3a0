//! Sanitizes text from a peer for a terminal.
//!
//! A hostile server or relay chooses its method names, status messages and reasons. Unsanitized, they could move the
//! cursor, rewrite the screen or the window title, or reorder the displayed characters of a line.

use std::borrow::Cow;

use crate::limits::HINT_CHARS;

/// `text` without characters that control a terminal: C0 and C1 controls and DEL, bidirectional marks, embeddings,
/// overrides and isolates, and the line and paragraph separators. Tab, line feed and carriage return become a space, so
/// that words stay apart.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let kept = text.chars().filter_map(|c| match c {
        '\t' | '\n' | '\r' => Some(' '),
        c if is_printable(c) => Some(c),
        _ => None,
    });
    Cow::Owned(kept.collect())
}

/// Text from a relay, a peer or the system, for display: [`printable`], truncated to [`HINT_CHARS`].
pub fn hint(text: &str) -> String {
    printable(text).chars().take(HINT_CHARS).collect()
}

/// A count with the singular or plural form: `1 record was`, `2 records were`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    let words = if count == 1 { one } else { many };
    format!("{count} {words}")
}

fn is_printable(c: char) -> bool {
    // `char::is_control` is exactly C0, DEL and C1 (Unicode category Cc).
    let steers = matches!(c,
        '\u{061C}' // Arabic letter mark
        | '\u{200E}' | '\u{200F}' // left-to-right and right-to-left mark
        | '\u{2028}' | '\u{2029}' // line and paragraph separator
        | '\u{202A}'..='\u{202E}' // embeddings and overrides
        | '\u{2066}'..='\u{2069}' // isolates
    );
    !c.is_control() && !steers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_is_counted_as_one() {
        let records = |count| counted(count, "record was", "records were");
        assert_eq!(
            [0, 1, 2].map(records),
            ["0 records were", "1 record was", "2 records were"]
        );
    }

    #[test]
    fn ordinary_text_is_borrowed_unchanged() {
        for text in ["", "baton.exec.v1.Exec/Run", "Grüße, 世界 🦀"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn escape_sequences_lose_their_escape() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}31mc\x07\x7f"), "a[2Jb31mc");
    }

    #[test]
    fn white_space_controls_keep_words_apart() {
        assert_eq!(
            printable("no such\nfile\tor\rdirectory"),
            "no such file or directory"
        );
    }

    #[test]
    fn bidirectional_overrides_are_removed() {
        assert_eq!(printable("safe\u{202E}exe.txt\u{2066}\u{200F}"), "safeexe.txt");
    }

    proptest! {
        #[test]
        fn the_result_holds_no_control_and_is_stable(text in any::<String>()) {
            let once = printable(&text);
            prop_assert!(once.chars().all(is_printable));
            prop_assert_eq!(printable(&once), once.clone());
        }
    }
}
