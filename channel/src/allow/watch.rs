//! Follows an allow-list file, for the sessions that are open while it is edited.
//!
//! Read whole at every look and compared with the last: cheaper than it sounds for a list of clients, and unlike time
//! stamps it misses no edit.

use std::path::PathBuf;

use baton_noise::key::PublicKey;

use super::lines::Lines;
use super::{AllowError, Trust, file};

/// See the [module](self).
pub(crate) struct Watch {
    path: PathBuf,
    last_read: LastRead,
}

/// The last look.
enum LastRead {
    None,
    List {
        text: Vec<u8>,
        lines: Lines,
    },
    /// It could not be used, and that has been told in these words.
    Unusable(String),
}

/// What the last look told of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: the list cannot be used, or was not looked at yet. A session goes on until its next rekey, so that a mistake of its owner
    /// does not cut every client at once; then it ends.
    Unknown,
    /// It is not on the list, or its line is bad.
    Missing,
    /// It is, and is trusted like this.
    Named(Trust),
}

impl Watch {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            last_read: LastRead::None,
        }
    }

    /// Looks again, and returns what is wrong with the list that was not wrong the last time, or not in this way.
    pub(crate) fn reread(&mut self) -> Vec<AllowError> {
        let text = match file::read(&self.path) {
            Ok(text) => text,
            Err(problem) => {
                let text = problem.to_string();
                let is_reported =
                    matches!(&self.last_read, LastRead::Unusable(reported) if *reported == text);
                self.last_read = LastRead::Unusable(text);
                return if is_reported { Vec::new() } else { vec![problem] };
            }
        };
        if matches!(&self.last_read, LastRead::List { text: seen, .. } if *seen == text) {
            return Vec::new();
        }
        let lines = Lines::parse(&text);
        let problems = lines.errors(&self.path);
        self.last_read = LastRead::List { text, lines };
        problems
    }

    /// What the last look told of this client.
    pub(crate) fn standing(&self, key: &PublicKey) -> Standing {
        match &self.last_read {
            LastRead::List { lines, .. } => lines.standing(key),
            LastRead::None | LastRead::Unusable(_) => Standing::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[test]
    fn every_edit_is_seen_and_every_problem_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let mut watch = Watch::new(path.clone());
        let standing = |watch: &Watch| [1, 2].map(|byte| watch.standing(&key(byte)));
        let named = Standing::Named(Trust::Clamp);
        assert_eq!(standing(&watch), [Standing::Unknown; 2], "nothing is known yet");

        let good = format!("{} one\n{} two\n", key(1), key(2));
        std::fs::write(&path, &good).unwrap();
        assert!(watch.reread().is_empty());
        assert_eq!(standing(&watch), [named; 2]);

        // Of the same length, as soon as can be.
        std::fs::write(&path, good.replace(&key(2).to_string(), &key(3).to_string())).unwrap();
        assert!(watch.reread().is_empty());
        assert_eq!(standing(&watch), [named, Standing::Missing]);

        std::fs::write(&path, good.replace("two", "two restart")).unwrap();
        assert!(watch.reread().is_empty());
        assert_eq!(standing(&watch), [named, Standing::Named(Trust::Restart)]);

        std::fs::write(&path, format!("{good}nonsense\n")).unwrap();
        let problems = watch.reread();
        assert!(
            matches!(problems[..], [AllowError::Line { line: 3, .. }]),
            "{problems:?}"
        );
        assert!(watch.reread().is_empty(), "told already");
        assert_eq!(standing(&watch), [named; 2]);

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(watch.reread()[..], [AllowError::NotAFile { .. }]));
        assert!(watch.reread().is_empty(), "told already");
        assert_eq!(
            standing(&watch),
            [Standing::Unknown; 2],
            "what cannot be read sends nobody away before the next rekey"
        );

        std::fs::remove_dir(&path).unwrap();
        assert!(watch.reread().is_empty());
        assert_eq!(
            standing(&watch),
            [Standing::Missing; 2],
            "a missing list names nobody"
        );
    }
}
