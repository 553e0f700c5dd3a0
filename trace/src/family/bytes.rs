//! Finds bytes that matter in long runs of bytes that do not, eight at a time.

const LOW_BITS: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);

/// The number of bytes before the first one that a string of JSON treats specially: a quote, a backslash or a control
/// character (RFC 8259 section 7).
pub(super) fn until_special(bytes: &[u8]) -> usize {
    until(
        bytes,
        |byte| matches!(byte, b'"' | b'\\' | 0..0x20),
        |word| below(word, 0x20) | equal(word, b'"') | equal(word, b'\\'),
    )
}

/// The number of bytes before the first control character of ASCII.
pub(super) fn until_control(bytes: &[u8]) -> usize {
    until(
        bytes,
        |byte| matches!(byte, 0..0x20 | 0x7f),
        |word| below(word, 0x20) | equal(word, 0x7f),
    )
}

/// The number of bytes before the first one that is no white space of JSON.
pub(super) fn until_text(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| !is_white_space(*byte))
        .unwrap_or(bytes.len())
}

/// The number of line feeds at the beginning.
pub(super) fn line_feeds(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| *byte != b'\n')
        .unwrap_or(bytes.len())
}

/// The number of bytes before the first one that is `wanted`. `in_word` has the high bit of the first wanted byte of a
/// word set, and none before.
#[inline]
fn until(bytes: &[u8], wanted: impl Fn(u8) -> bool, in_word: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks();
    for (nth, word) in words.iter().enumerate() {
        let found = in_word(u64::from_le_bytes(*word));
        if found != 0 {
            return nth * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let before = bytes.len() - rest.len();
    before + rest.iter().position(|byte| wanted(*byte)).unwrap_or(rest.len())
}

/// The high bit of each byte of `word` that is below `bound`, which is 0x80 at most. A borrow may set further bits
/// above the first one.
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(LOW_BITS * u64::from(bound)) & !word & HIGH_BITS
}

/// The same for the bytes that are `byte`.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (LOW_BITS * u64::from(byte)), 1)
}

/// White space of JSON (RFC 8259 section 2).
pub(super) fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_byte_is_found_wherever_it_is(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'x'), Just(0x80)], 0..40)
        ) {
            let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            let first = bytes.iter().position(special).unwrap_or(bytes.len());
            prop_assert_eq!(until_special(&bytes), first);
            let control = |byte: &u8| byte.is_ascii_control();
            let first = bytes.iter().position(control).unwrap_or(bytes.len());
            prop_assert_eq!(until_control(&bytes), first);
        }
    }
}
