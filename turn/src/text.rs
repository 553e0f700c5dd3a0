//! Names from elsewhere, for attributes and names of spans.

use baton_trace::text::printable;

/// Whether the text has no character that controls a terminal.
pub(crate) fn is_printable(text: &str) -> bool {
    printable(text) == text
}

/// The name without characters that control a terminal, at most `bytes` long. It is cut before it is copied: a name
/// from elsewhere may have many megabytes.
pub(crate) fn shown_name(name: &str, bytes: usize) -> String {
    let cut = name.floor_char_boundary(bytes);
    match printable(&name[..cut]).trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}
