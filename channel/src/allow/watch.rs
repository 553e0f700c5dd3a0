//! Follows an allow-list file, for the sessions that are open while it is edited.
//!
//! Read whole at every look and compared with the last: cheaper than it sounds for a list of clients, and unlike time
//! stamps it misses no edit.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{AllowError, Client, Trust, parse, read_file};
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
        clients: HashMap<PublicKey, Client>,
    },
    /// It could not be read, and that has been told.
    Unreadable,
}

/// What the last look told of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: it stays what it was. See [`super::AllowList::still_names`].
    Unknown,
    /// It is not on the list.
    Missing,
    /// It is, and is trusted like this.
    Named(Trust),
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
        self.seen = Seen::List { text, clients };
        problem.map(Arc::new)
    }

    /// What the last look told of this client.
    pub(crate) fn standing(&self, key: &PublicKey) -> Standing {
        match &self.seen {
            Seen::List { clients, .. } => clients
                .get(key)
                .map_or(Standing::Missing, |client| Standing::Named(client.trust)),
            Seen::Nothing | Seen::Unreadable => Standing::Unknown,
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
        assert!(watch.look().is_none());
        assert_eq!(standing(&watch), [named; 2]);

        // Of the same length, as soon as can be.
        std::fs::write(&path, good.replace(&key(2).to_string(), &key(3).to_string())).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(standing(&watch), [named, Standing::Missing]);

        std::fs::write(&path, good.replace("two", "two restart")).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(standing(&watch), [named, Standing::Named(Trust::Restart)]);

        std::fs::write(&path, format!("{good}nonsense\n")).unwrap();
        let problem = watch.look().unwrap();
        assert!(matches!(*problem, AllowError::Line { line: 3, .. }), "{problem}");
        assert!(watch.look().is_none(), "told already");
        assert_eq!(standing(&watch), [named; 2]);

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(*watch.look().unwrap(), AllowError::NotAFile { .. }));
        assert!(watch.look().is_none(), "told already");
        assert_eq!(
            standing(&watch),
            [Standing::Unknown; 2],
            "what cannot be read sends nobody away"
        );

        std::fs::remove_dir(&path).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(
            standing(&watch),
            [Standing::Missing; 2],
            "a missing list names nobody"
        );
    }
}
