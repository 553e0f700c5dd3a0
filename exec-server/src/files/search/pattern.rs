//! What a `Grep` looks for.

use baton_proto::limits::PATTERN_MAX;
use grep_regex::{ErrorKind, RegexMatcher, RegexMatcherBuilder};
use regex_syntax::ParserBuilder;

use crate::files::error::InvalidSearch;
use crate::limits::{PATTERN_COMPILED_MAX, PATTERN_NEST_MAX};

/// A pattern of bounded length.
#[derive(Debug)]
pub(super) struct Pattern {
    text: String,
    fixed_strings: bool,
    ignore_case: bool,
}

impl Pattern {
    pub(super) fn new(text: String, fixed_strings: bool, ignore_case: bool) -> Result<Self, InvalidSearch> {
        if !(1..=PATTERN_MAX).contains(&text.len()) {
            return Err(InvalidSearch::PatternSize);
        }
        if text.contains('\n') {
            return Err(InvalidSearch::LineFeed);
        }
        Ok(Self {
            text,
            fixed_strings,
            ignore_case,
        })
    }

    /// # Errors
    /// It is no regular expression, or too large.
    pub(super) fn compile(&self) -> Result<RegexMatcher, InvalidSearch> {
        if !self.fixed_strings {
            self.parse()?;
        }
        let compiled = RegexMatcherBuilder::new()
            .fixed_strings(self.fixed_strings)
            .case_insensitive(self.ignore_case)
            .multi_line(true)
            .line_terminator(Some(b'\n'))
            .size_limit(PATTERN_COMPILED_MAX)
            .dfa_size_limit(PATTERN_COMPILED_MAX)
            // It encloses the pattern in groups of its own.
            .nest_limit(PATTERN_NEST_MAX + 4)
            .build(&self.text);
        compiled.map_err(|error| match error.kind() {
            ErrorKind::NotAllowed(_) | ErrorKind::Banned(_) | ErrorKind::InvalidLineTerminator(_) => {
                InvalidSearch::LineFeed
            }
            // It was parsed before.
            _ => InvalidSearch::PatternTooLarge,
        })
    }

    /// Finds what is wrong with a pattern: the message of the compiler repeats the pattern.
    fn parse(&self) -> Result<(), InvalidSearch> {
        let parsed = ParserBuilder::new()
            .utf8(false)
            .multi_line(true)
            .case_insensitive(self.ignore_case)
            .nest_limit(PATTERN_NEST_MAX)
            .build()
            .parse(&self.text);
        let (reason, offset) = match parsed {
            Ok(_) => return Ok(()),
            Err(regex_syntax::Error::Parse(error)) => (error.kind().to_string(), error.span().start.offset),
            Err(regex_syntax::Error::Translate(error)) => {
                (error.kind().to_string(), error.span().start.offset)
            }
            Err(_) => ("it does not parse".to_owned(), 0),
        };
        Err(InvalidSearch::Pattern { reason, offset })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::limits::SEARCH_STACK;

    /// On a stack as that of a search.
    fn compile(text: &str, fixed_strings: bool) -> Result<(), InvalidSearch> {
        let pattern = Pattern::new(text.to_owned(), fixed_strings, false)?;
        let thread = thread::Builder::new().stack_size(SEARCH_STACK);
        let compiled = thread.spawn(move || pattern.compile().map(drop)).unwrap();
        compiled.join().unwrap()
    }

    #[test]
    fn a_pattern_that_is_none_is_a_typed_error_that_says_where_and_does_not_repeat_it() {
        for (text, at) in [
            ("secret(", 6),
            ("secret[z-a]", 7),
            ("*secret", 0),
            (r"secret\p{None}", 6),
        ] {
            let refused = compile(text, false).unwrap_err();
            assert!(!refused.to_string().contains("secret"), "{refused}");
            let is_there = matches!(refused, InvalidSearch::Pattern { offset, .. } if offset == at);
            assert!(is_there, "{refused:?}");
            assert_eq!(compile(text, true), Ok(()));
        }
        for text in ["a\nb", r"a\nb", r"a\x0Ab"] {
            assert_eq!(compile(text, false), Err(InvalidSearch::LineFeed), "{text:?}");
        }
        assert_eq!(compile(r"a\nb", true), Ok(()));
    }

    #[test]
    fn a_pattern_that_would_take_too_much_memory_or_stack_is_a_typed_error() {
        for text in ["", &"a".repeat(PATTERN_MAX + 1)] {
            assert_eq!(compile(text, false), Err(InvalidSearch::PatternSize));
        }
        assert_eq!(compile(&"a".repeat(PATTERN_MAX), false), Ok(()));
        for text in [r"\w{500}{500}", &r"\w".repeat(PATTERN_MAX / 2)] {
            assert_eq!(
                compile(text, false),
                Err(InvalidSearch::PatternTooLarge),
                "{text}"
            );
        }
        let nested = |depth: u32| {
            let depth = depth as usize;
            ["(".repeat(depth), "a".to_owned(), ")*".repeat(depth)].concat()
        };
        assert_eq!(compile(&nested(PATTERN_NEST_MAX / 2), false), Ok(()));
        for depth in [PATTERN_NEST_MAX + 1, 1000] {
            let refused = compile(&nested(depth), false).unwrap_err();
            assert!(matches!(refused, InvalidSearch::Pattern { .. }), "{refused:?}");
        }
    }
}
