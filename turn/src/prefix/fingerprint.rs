//! Fingerprints of sections and of prefixes.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::prefix::section::{Content, Section};

/// Public, so that a fingerprint is the same in every process and release. Another layout of the input needs another
/// key.
const KEY: &[u8; 16] = b"baton.prefix.v1\0";

/// What is hashed. The first byte of the input, so that no section is taken for a prefix or for a list.
#[derive(Clone, Copy)]
enum Domain {
    Bytes = 1,
    List = 2,
    Prefix = 3,
}

/// SipHash-2-4-128 of a prefix, which `Display` shows as 32 hexadecimal digits. Equal prefixes have equal fingerprints
/// on every machine. Not cryptographic.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of one section: its name and its content. Every variable part has its length in front, so that bytes which move
    /// from one to the next change the input.
    pub(super) fn of_section(section: &Section<'_>) -> Self {
        match section.content() {
            Content::Bytes(bytes) => {
                let mut hash = Sip::new(Domain::Bytes);
                hash.part(section.name().as_bytes());
                hash.part(bytes);
                hash.finish()
            }
            Content::List(items) => {
                let mut hash = Sip::new(Domain::List);
                hash.part(section.name().as_bytes());
                hash.length(items.len());
                for item in items {
                    hash.part(item.as_bytes());
                }
                hash.finish()
            }
        }
    }

    /// Of the sections in this order.
    pub(super) fn of_prefix(sections: impl ExactSizeIterator<Item = Self>) -> Self {
        let mut hash = Sip::new(Domain::Prefix);
        hash.length(sections.len());
        for section in sections {
            hash.0.write(&section.0);
        }
        hash.finish()
    }

    /// The bytes, in the order in which they are shown.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Sip(SipHasher24);

impl Sip {
    fn new(domain: Domain) -> Self {
        let mut hasher = SipHasher24::new_with_key(KEY);
        hasher.write(&[domain as u8]);
        Self(hasher)
    }

    /// Little-endian on every machine, which `Hasher::write_u64` is not.
    fn length(&mut self, length: usize) {
        self.0.write(&(length as u64).to_le_bytes());
    }

    fn part(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.write(bytes);
    }

    fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finish128().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sections: &[Section<'_>]) -> String {
        Fingerprint::of_prefix(sections.iter().map(Fingerprint::of_section)).to_string()
    }

    /// A change here changes every fingerprint in every trace, and needs another [`KEY`].
    #[test]
    fn fingerprints_are_the_same_in_every_release() {
        assert_eq!(of(&[]), "d986512f6cd9a102e8129e7d1f3c5e8e");
        assert_eq!(
            of(&[
                Section::list("tools", ["read", "run"]),
                Section::text("system", "Be terse.")
            ]),
            "2ab3e190246ebed8a13163c4872a104b"
        );
    }

    #[test]
    fn bytes_that_move_between_name_content_and_items_change_the_fingerprint() {
        let all = [
            of(&[Section::text("ab", "c")]),
            of(&[Section::text("a", "bc")]),
            of(&[Section::text("a", "b"), Section::text("", "c")]),
            of(&[Section::list("a", ["bc"])]),
            of(&[Section::list("a", ["b", "c"])]),
            of(&[Section::list("a", ["", "bc"])]),
            of(&[Section::list("a", ["bc", ""])]),
            of(&[Section::text("a", "bc"), Section::text("a", "bc")]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one), "{i} of {all:?}");
        }
    }

    #[test]
    fn the_debug_text_of_a_section_has_no_content() {
        let shown = format!("{:?}", Section::text("system", "hunter2"));
        assert!(
            shown.contains("system") && shown.contains('7') && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
