//! The name of a file in the spool. It has enough information to bound the spool without opening files.

use std::fmt;

/// `MILLISECONDS-DESTINATION-SPANS-BYTES-RANDOM.otlp`: destination and random number in hexadecimal, the others in
/// decimal. Names sort by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SpoolFileName {
    /// When it was written, since 1970.
    pub(crate) at_ms: u64,
    /// Hash of the collector's endpoint and headers.
    pub(crate) destination: u64,
    pub(crate) spans: u64,
    pub(crate) bytes: u64,
    /// A random number, which distinguishes files of runs that end at the same time.
    pub(crate) random: u32,
}

/// The suffix of every name.
const EXTENSION: &str = ".otlp";

impl SpoolFileName {
    /// `None` if the name is not in the format that runs write.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(EXTENSION)?.split('-');
        let mut next = |radix| u64::from_str_radix(parts.next()?, radix).ok();
        let parsed = Self {
            at_ms: next(10)?,
            destination: next(16)?,
            spans: next(10)?,
            bytes: next(10)?,
            random: u32::try_from(next(16)?).ok()?,
        };
        // Also checks that nothing follows, and that formatting yields the same name.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SpoolFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at_ms,
            destination,
            spans,
            bytes,
            random,
        } = self;
        write!(
            f,
            "{at_ms:013}-{destination:016x}-{spans}-{bytes}-{random:08x}{EXTENSION}"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(parts: (u64, u64, u64, u64, u32)) {
            let (at_ms, destination, spans, bytes, random) = parts;
            let name = SpoolFileName { at_ms, destination, spans, bytes, random };
            prop_assert_eq!(SpoolFileName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn no_other_text_is_a_name(text: String) {
            prop_assert!(SpoolFileName::parse(&text).is_none_or(|name| name.to_string() == text));
        }
    }

    #[test]
    fn a_name_says_when_where_how_many_and_how_much() {
        let text = "1764000000000-00000000000000ff-12-5120-9f3c2a1b.otlp";
        let name = SpoolFileName::parse(text).unwrap();
        assert_eq!((name.at_ms, name.destination), (1_764_000_000_000, 255));
        assert_eq!((name.spans, name.bytes, name.random), (12, 5120, 0x9f3c_2a1b));
        for bad in [
            "",
            ".otlp",
            "1-1-1-1-1.otlp",
            "write.lock",
            &text.replace("-12-", "-+2-"),
            &text.replace("otlp", "part"),
        ] {
            assert_eq!(SpoolFileName::parse(bad), None, "{bad}");
        }
    }
}
