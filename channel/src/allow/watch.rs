//! Watches an allow-list file, so that edits apply to open sessions.
//!
//! Every read compares the whole file with the previous read. Unlike a comparison of time stamps, this misses no edit,
//! and the file is small.

use std::path::PathBuf;
use std::time::SystemTime;

use baton_noise::key::PublicKey;

use super::lines::Lines;
use super::{AllowError, Grant, file};

/// A watch on one allow-list file.
pub(crate) struct Watch {
    path: PathBuf,
    last_read: LastRead,
}

/// The result of the last read.
enum LastRead {
    None,
    List {
        text: Vec<u8>,
        lines: Lines,
    },
    /// The list could not be used.
    Unusable {
        /// The reported error.
        reported: String,
        /// The lines of the last list that could be used: keys expire by them, because time goes on.
        lines: Lines,
    },
}

/// A client's entry at the last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The list cannot be used, or was not read yet. A session goes on until its next rekey and ends then, so that a
    /// mistake in the list does not cut all sessions at once. It ends sooner if its key expires.
    Unknown,
    /// The client is not on the list, or its line is bad.
    Missing,
    /// The client is on the list, and its `expires` has passed.
    Expired,
    /// The client is on the list, with this trust and these options.
    Named(Grant),
}

impl Watch {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            last_read: LastRead::None,
        }
    }

    /// Reads the file again, and returns the problems that have changed since the last read.
    pub(crate) fn reread(&mut self) -> Vec<AllowError> {
        let text = match file::read(&self.path) {
            Ok(text) => text,
            Err(problem) => {
                let text = problem.to_string();
                let is_reported =
                    matches!(&self.last_read, LastRead::Unusable { reported, .. } if *reported == text);
                let lines = match std::mem::replace(&mut self.last_read, LastRead::None) {
                    LastRead::None => Lines::default(),
                    LastRead::List { lines, .. } | LastRead::Unusable { lines, .. } => lines,
                };
                self.last_read = LastRead::Unusable {
                    reported: text,
                    lines,
                };
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

    /// This client's entry at the last read. It may have expired since.
    pub(crate) fn standing(&self, key: &PublicKey, now: SystemTime) -> Standing {
        match &self.last_read {
            LastRead::List { lines, .. } => lines.standing(key, now),
            LastRead::Unusable { lines, .. } if lines.standing(key, now) == Standing::Expired => {
                Standing::Expired
            }
            LastRead::None | LastRead::Unusable { .. } => Standing::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Trust;
    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[test]
    fn every_edit_is_detected_and_every_problem_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let mut watch = Watch::new(path.clone());
        let standing = |watch: &Watch| [1, 2].map(|byte| watch.standing(&key(byte), SystemTime::now()));
        let named = || Standing::Named(Grant::default());
        assert_eq!(
            standing(&watch),
            [const { Standing::Unknown }; 2],
            "the file was not read yet"
        );

        let good = format!("{} one\n{} two\n", key(1), key(2));
        std::fs::write(&path, &good).unwrap();
        assert!(watch.reread().is_empty());
        assert_eq!(standing(&watch), [named(), named()]);

        // An edit that keeps the length and follows at once.
        std::fs::write(&path, good.replace(&key(2).to_string(), &key(3).to_string())).unwrap();
        assert!(watch.reread().is_empty());
        assert_eq!(standing(&watch), [named(), Standing::Missing]);

        std::fs::write(&path, good.replace("two", "two restart")).unwrap();
        assert!(watch.reread().is_empty());
        let restart = Grant {
            trust: Trust::Restart,
            ..Grant::default()
        };
        assert_eq!(standing(&watch), [named(), Standing::Named(restart)]);

        std::fs::write(&path, format!("command=\"true\" {good}")).unwrap();
        assert!(watch.reread().is_empty());
        let [Standing::Named(forced), second] = standing(&watch) else {
            panic!("both are named");
        };
        assert_eq!((forced.options.command(), second), (Some("true"), named()));

        std::fs::write(&path, format!("expires=\"20200101Z\" {good}")).unwrap();
        assert!(watch.reread().is_empty());
        assert_eq!(standing(&watch), [Standing::Expired, named()]);

        std::fs::write(&path, format!("{good}nonsense\n")).unwrap();
        let problems = watch.reread();
        assert!(
            matches!(problems[..], [AllowError::Line { line: 3, .. }]),
            "{problems:?}"
        );
        assert!(watch.reread().is_empty(), "already reported");
        assert_eq!(standing(&watch), [named(), named()]);

        let expiring = format!("expires=\"99991231Z\" {good}");
        std::fs::write(&path, &expiring).unwrap();
        assert!(watch.reread().is_empty());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(watch.reread()[..], [AllowError::NotAFile { .. }]));
        assert!(watch.reread().is_empty(), "already reported");
        assert_eq!(
            standing(&watch),
            [const { Standing::Unknown }; 2],
            "an unreadable list ends no session before its next rekey"
        );
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_214_400);
        let at_that_time = [1, 2].map(|byte| watch.standing(&key(byte), far));
        assert_eq!(at_that_time, [Standing::Expired, Standing::Unknown]);

        std::fs::remove_dir(&path).unwrap();
        assert!(watch.reread().is_empty());
        assert_eq!(
            standing(&watch),
            [const { Standing::Missing }; 2],
            "a missing list contains no client"
        );
    }
}
