//! Which entries a search is about, by their paths.

use baton_proto::files;
use baton_proto::limits::{GLOB_DEPTH_MAX, GLOB_MAX, GLOBS_MAX};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::files::error::InvalidSearch;

/// Globs of bounded number, length and depth.
#[derive(Debug)]
pub(super) struct Selection {
    globs: Vec<String>,
    excludes: Vec<String>,
    pub(super) hidden: bool,
    pub(super) gitignore: bool,
}

impl TryFrom<files::Selection> for Selection {
    type Error = InvalidSearch;

    fn try_from(selection: files::Selection) -> Result<Self, InvalidSearch> {
        let files::Selection {
            globs,
            excludes,
            hidden,
            gitignore,
        } = selection;
        if globs.len().max(excludes.len()) > GLOBS_MAX {
            return Err(InvalidSearch::GlobCount);
        }
        let is_bounded =
            |glob: &String| (1..=GLOB_MAX).contains(&glob.len()) && brace_depth(glob) <= GLOB_DEPTH_MAX;
        match globs.iter().chain(&excludes).all(is_bounded) {
            true => Ok(Self {
                globs,
                excludes,
                hidden,
                gitignore,
            }),
            false => Err(InvalidSearch::GlobSize),
        }
    }
}

/// At least the depth to which the library's parser nests. It recurses, so a glob of braces alone would use up its stack.
fn brace_depth(glob: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = glob.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl Selection {
    /// # Errors
    /// A glob is none, or all together are too large.
    pub(super) fn compile(&self) -> Result<Filter, InvalidSearch> {
        Ok(Filter {
            globs: match self.globs.is_empty() {
                true => None,
                false => Some(Globs::new(&self.globs)?),
            },
            excludes: Globs::new(&self.excludes)?,
        })
    }
}

/// A selection, compiled.
pub(super) struct Filter {
    /// `None`: all.
    globs: Option<Globs>,
    excludes: Globs,
}

impl Filter {
    /// Whether an entry is a result. `path` is relative to the search's place.
    pub(super) fn is_selected(&self, path: &[u8], is_directory: bool) -> bool {
        let globs = self.globs.as_ref();
        globs.is_none_or(|globs| globs.has(path, is_directory))
    }

    /// Whether an entry is left out, with all that it holds.
    pub(super) fn is_excluded(&self, path: &[u8], is_directory: bool) -> bool {
        self.excludes.has(path, is_directory)
    }
}

struct Globs {
    any: GlobSet,
    /// Those with a `/` at their end.
    directories: GlobSet,
}

impl Globs {
    fn new(globs: &[String]) -> Result<Self, InvalidSearch> {
        let (mut any, mut directories) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for (number, text) in (1..).zip(globs) {
            let (text, set) = match text.strip_suffix('/') {
                Some(text) => (text, &mut directories),
                None => (&**text, &mut any),
            };
            let text = match text.strip_prefix('/') {
                Some(text) => text.to_owned(),
                None if text.contains('/') => text.to_owned(),
                None => format!("**/{text}"),
            };
            let glob = GlobBuilder::new(&text)
                .literal_separator(true)
                .backslash_escape(true)
                .empty_alternates(true)
                .build();
            let reason = |error: globset::Error| error.kind().to_string();
            set.add(glob.map_err(|error| InvalidSearch::Glob {
                number,
                reason: reason(error),
            })?);
        }
        let build = |set: GlobSetBuilder| set.build().map_err(|_| InvalidSearch::GlobsTooLarge);
        Ok(Self {
            any: build(any)?,
            directories: build(directories)?,
        })
    }

    fn has(&self, path: &[u8], is_directory: bool) -> bool {
        let path = Candidate::from_bytes(path);
        self.any.is_match_candidate(&path) || is_directory && self.directories.is_match_candidate(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(globs: &[&str], excludes: &[&str]) -> Result<Filter, InvalidSearch> {
        let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        let selection = files::Selection {
            globs: owned(globs),
            excludes: owned(excludes),
            ..files::Selection::default()
        };
        Selection::try_from(selection)?.compile()
    }

    #[test]
    fn a_glob_without_a_slash_is_a_name_and_one_with_a_slash_a_path() {
        for (glob, path, is_directory, expected) in [
            ("*.rs", &b"a.rs"[..], false, true),
            ("*.rs", b"a/b.rs", false, true),
            ("/*.rs", b"a/b.rs", false, false),
            ("/*.rs", b"b.rs", false, true),
            ("a/*.rs", b"a/b.rs", false, true),
            ("a/*.rs", b"a/b/c.rs", false, false),
            ("a/**/c", b"a/c", false, true),
            ("a/**/c", b"a/b/b/c", false, true),
            ("a/**", b"a/b/c", false, true),
            ("**", b"a/b", false, true),
            ("b/", b"a/b", true, true),
            ("b/", b"a/b", false, false),
            ("a/b/", b"a/b", true, true),
            ("{a,b}.{x,y{1,2}}", b"c/b.y2", false, true),
            ("[!a]?", b"bc", false, true),
            ("[!a]?", b"ac", false, false),
            ("\\*", b"*", false, true),
            ("\\*", b"a", false, false),
            ("*", b"\xff\n", false, true),
        ] {
            let filter = filter(&[glob], &[]).unwrap();
            let found = filter.is_selected(path, is_directory);
            assert_eq!(found, expected, "{glob} {path:?}");
            assert!(!filter.is_excluded(path, is_directory));
        }
        assert!(filter(&[], &["x"]).unwrap().is_excluded(b"a/x", false));
    }

    #[test]
    fn what_is_no_glob_or_too_large_is_a_typed_error() {
        let nested = "{".repeat(GLOB_DEPTH_MAX + 1);
        let long = "a".repeat(GLOB_MAX + 1);
        for glob in ["", &nested, &long] {
            let refused = filter(&[], &[glob]).err().unwrap();
            assert!(matches!(refused, InvalidSearch::GlobSize), "{refused:?}");
        }
        for glob in ["[a", "{a", "[z-a]", "a\\"] {
            let refused = filter(&["fine", glob], &[]).err().unwrap();
            assert!(
                matches!(refused, InvalidSearch::Glob { number: 2, .. }),
                "{refused:?}"
            );
        }
        let many = vec!["a"; GLOBS_MAX + 1];
        assert!(matches!(filter(&many, &[]), Err(InvalidSearch::GlobCount)));
        assert!(filter(&many[1..], &many[1..]).is_ok());
    }
}
