//! The character classes of both specifications, as one table, and optional white space.

/// The grammar rules that admit a byte; a set of the bits below.
#[derive(Clone, Copy)]
pub(super) struct CharacterClass(u8);

/// `lcalpha / DIGIT`: the first character of a tracestate key (Level 2, section 3.3.2.2.1).
pub(super) const KEY_START: CharacterClass = CharacterClass(1);
/// `keychar` (Level 2, section 3.3.2.2.1).
pub(super) const KEY: CharacterClass = CharacterClass(1 << 1);
/// `chr`: printable, with the space, without `,` and `=` (Level 2, section 3.3.2.2.2).
pub(super) const VALUE: CharacterClass = CharacterClass(1 << 2);
/// `tchar` (RFC 7230, section 3.2.6): a baggage key.
pub(super) const TOKEN: CharacterClass = CharacterClass(1 << 3);
/// `baggage-octet` (Baggage, section 3.3.1).
pub(super) const BAGGAGE: CharacterClass = CharacterClass(1 << 4);

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0x20;
    while byte <= 0x7e {
        let b = byte as u8;
        let key_start = b.is_ascii_lowercase() || b.is_ascii_digit();
        let key = key_start || matches!(b, b'_' | b'-' | b'*' | b'/' | b'@');
        let value = !matches!(b, b',' | b'=');
        let token = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        let baggage = !matches!(b, b' ' | b'"' | b',' | b';' | b'\\');
        table[byte] = (key_start as u8 * KEY_START.0)
            | (key as u8 * KEY.0)
            | (value as u8 * VALUE.0)
            | (token as u8 * TOKEN.0)
            | (baggage as u8 * BAGGAGE.0);
        byte += 1;
    }
    table
}

impl CharacterClass {
    /// Whether one byte belongs to the class.
    pub(super) fn has(self, byte: u8) -> bool {
        CLASSES[usize::from(byte)] & self.0 != 0
    }

    /// Whether every byte does; true of nothing at all.
    pub(super) fn has_all(self, bytes: &[u8]) -> bool {
        // No early return: values are nearly always valid, and this loop has no branch.
        bytes
            .iter()
            .fold(self.0, |kept, byte| kept & CLASSES[usize::from(*byte)])
            != 0
    }
}

/// Trims spaces and tabs at both ends: `OWS` (RFC 7230, section 3.2.3), a subset of Rust's white space.
pub(super) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Several headers of one name as one, joined by commas in order (RFC 7230, section 3.2.2). `first` is what came before
/// `rest`.
pub(super) fn join_headers<'a>(first: &[u8], rest: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined = first.to_vec();
    for value in rest {
        joined.push(b',');
        joined.extend_from_slice(value);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_spaces_and_tabs_only() {
        assert_eq!(trim_ows(b" \t a b \t"), b"a b");
        assert_eq!(trim_ows(b"\na\r"), b"\na\r");
        assert_eq!(trim_ows(b" \t "), b"");
    }

    #[test]
    fn nothing_outside_printable_ascii_has_a_class() {
        for byte in (0..0x20).chain(0x7f..=0xff) {
            assert_eq!(CLASSES[byte], 0, "{byte:#x}");
        }
    }

    #[test]
    fn one_bad_byte_spoils_a_run() {
        assert!(KEY.has_all(b"abc@1"));
        assert!(!KEY.has_all(b"ab.c"));
        assert!(KEY.has_all(b""));
    }
}
