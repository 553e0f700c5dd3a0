//! Checks that bytes are UTF-8 (The Unicode Standard, table 3-7), wherever they are divided.

use std::str;

/// The position in a sequence of UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Utf8 {
    /// Bytes that the sequence still needs.
    needed: u8,
    /// The bounds of the next byte of the sequence.
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Whether the last byte ended a character.
    pub(super) fn is_between_characters(&self) -> bool {
        self.needed == 0
    }

    /// Takes the next bytes; `false` if they cannot follow.
    #[inline]
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        self.needed == 0 && bytes.is_ascii() || self.take_any(bytes)
    }

    fn take_any(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&byte, rest)) = bytes.split_first()
            && self.needed > 0
        {
            if !self.accepts(byte) {
                return false;
            }
            bytes = rest;
        }
        match str::from_utf8(bytes) {
            Ok(_) => true,
            Err(invalid) if invalid.error_len().is_some() => false,
            // The last character is divided.
            Err(divided) => bytes[divided.valid_up_to()..]
                .iter()
                .all(|byte| self.accepts(*byte)),
        }
    }

    /// Takes the next byte; `false` if it cannot follow.
    pub(super) fn accepts(&mut self, byte: u8) -> bool {
        if self.needed > 0 {
            let is_next = (self.low..=self.high).contains(&byte);
            *self = Self::expecting(self.needed - 1, 0x80, 0xbf);
            return is_next;
        }
        let (needed, low, high) = match byte {
            0..=0x7f => return true,
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            // U+D800 to U+DFFF are surrogates.
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            // U+10FFFF is the last code point.
            0xf4 => (3, 0x80, 0x8f),
            _ => return false,
        };
        *self = Self::expecting(needed, low, high);
        true
    }

    const fn expecting(needed: u8, low: u8, high: u8) -> Self {
        Self { needed, low, high }
    }
}
