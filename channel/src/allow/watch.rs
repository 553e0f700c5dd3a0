//! Follows an allow-list file, for the sessions that are open while it is edited.
//!
//! Read whole at every look and compared with the last: cheaper than it sounds for a list of clients, and unlike time
//! stamps it misses no edit.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::{AllowError, parse, read_file};
use crate::key::PublicKey;

/// See the [module](self).
pub(crate) struct Watch {
    path: PathBuf,
    seen: Seen,
}

/// The last look.
enum Seen {
    Nothing,
    List {
        text: Vec<u8>,
        names: HashSet<PublicKey>,
    },
    /// It could not be read, and that has been told.
    Unreadable,
}

impl Watch {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: Seen::Nothing,
        }
    }

    /// Looks again. `Some`: something is wrong with the list that was not wrong the last time, or not in this way.
    pub(crate) fn look(&mut self) -> Option<Arc<AllowError>> {
        let text = match read_file(&self.path) {
            Ok(text) => text,
            Err(problem) => {
                let is_told = matches!(self.seen, Seen::Unreadable);
                self.seen = Seen::Unreadable;
                return (!is_told).then(|| Arc::new(problem));
            }
        };
        if matches!(&self.seen, Seen::List { text: seen, .. } if *seen == text) {
            return None;
        }
        let (clients, problem) = parse(&self.path, &text);
        self.seen = Seen::List {
            text,
            names: clients.into_keys().collect(),
        };
        problem.map(Arc::new)
    }

    /// Whether this client may stay, as far as the last look told: see [`super::AllowList::still_names`].
    pub(crate) fn names(&self, key: &PublicKey) -> bool {
        match &self.seen {
            Seen::List { names, .. } => names.contains(key),
            Seen::Nothing | Seen::Unreadable => true,
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
        let names = |watch: &Watch| [1, 2].map(|byte| watch.names(&key(byte)));
        assert_eq!(names(&watch), [true, true], "nothing is known yet");

        let good = format!("{} one\n{} two\n", key(1), key(2));
        std::fs::write(&path, &good).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(names(&watch), [true, true]);

        // Of the same length, as soon as can be.
        std::fs::write(&path, good.replace(&key(2).to_string(), &key(3).to_string())).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(names(&watch), [true, false]);

        std::fs::write(&path, format!("{good}nonsense\n")).unwrap();
        let problem = watch.look().unwrap();
        assert!(matches!(*problem, AllowError::Line { line: 3, .. }), "{problem}");
        assert!(watch.look().is_none(), "told already");
        assert_eq!(names(&watch), [true, true]);

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(*watch.look().unwrap(), AllowError::Read { .. }));
        assert!(watch.look().is_none(), "told already");
        assert_eq!(
            names(&watch),
            [true, true],
            "what cannot be read sends nobody away"
        );

        std::fs::remove_dir(&path).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(names(&watch), [false, false], "a missing list names nobody");
    }
}
