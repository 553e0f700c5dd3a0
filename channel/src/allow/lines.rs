//! Parses the text of an allow-list. Lines are independent: a bad line refuses its own client only.

use std::collections::HashMap;
use std::path::Path;

use baton_noise::key::PublicKey;

use super::{AllowError, Standing, Trust};
use crate::limits::ALLOW_LIST_PROBLEMS;

/// The parsed lines. The last line of a key counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    entries: HashMap<PublicKey, Result<Client, BadLine>>,
    /// The first bad lines, including those without a readable key.
    bad: Vec<BadLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) trust: Trust,
}

/// A malformed line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLine {
    /// The line's number, from 1.
    pub(super) number: usize,
    reason: &'static str,
}

impl Client {
    pub(super) fn new(name: &str, trust: Trust) -> Self {
        Self {
            name: name.into(),
            trust,
        }
    }
}

impl BadLine {
    pub(super) fn error(self, path: &Path) -> AllowError {
        AllowError::Line {
            path: path.into(),
            line: self.number,
            reason: self.reason,
        }
    }
}

impl Lines {
    pub(super) fn only(key: PublicKey, client: Client) -> Self {
        Self {
            entries: HashMap::from([(key, Ok(client))]),
            bad: Vec::new(),
        }
    }

    pub(super) fn parse(text: &[u8]) -> Self {
        let mut lines = Self::default();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            match parse_line(line) {
                Line::Blank => {}
                Line::Client(key, client) => {
                    lines.entries.insert(key, Ok(client));
                }
                Line::Bad(key, reason) => {
                    let bad = BadLine {
                        number: index + 1,
                        reason,
                    };
                    lines.entries.extend(key.map(|key| (key, Err(bad))));
                    if lines.bad.len() < ALLOW_LIST_PROBLEMS {
                        lines.bad.push(bad);
                    }
                }
            }
        }
        lines
    }

    /// The client with this key.
    pub(super) fn client(&self, key: &PublicKey) -> Option<&Client> {
        self.entries.get(key)?.as_ref().ok()
    }

    /// The bad line that refuses this key.
    pub(super) fn bad_line(&self, key: &PublicKey) -> Option<BadLine> {
        self.entries.get(key)?.as_ref().err().copied()
    }

    /// The entry of a client with an open session. A client whose line is bad counts as missing.
    pub(super) fn standing(&self, key: &PublicKey) -> Standing {
        self.client(key)
            .map_or(Standing::Missing, |client| Standing::Named(client.trust))
    }

    pub(super) fn allows_nobody(&self) -> bool {
        !self.entries.values().any(Result::is_ok)
    }

    /// The first bad lines, at most [`ALLOW_LIST_PROBLEMS`].
    pub(super) fn errors(&self, path: &Path) -> Vec<AllowError> {
        self.bad.iter().map(|bad| bad.error(path)).collect()
    }
}

/// The content of a line.
enum Line {
    Blank,
    Client(PublicKey, Client),
    /// The line's key, if it is readable, and the problem.
    Bad(Option<PublicKey>, &'static str),
}

fn parse_line(line: &[u8]) -> Line {
    let Ok(line) = std::str::from_utf8(line) else {
        return Line::Bad(None, "not UTF-8 text");
    };
    let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
    let Some(key) = words.next() else {
        return Line::Blank;
    };
    let Ok(key) = key.parse::<PublicKey>() else {
        return Line::Bad(None, "not a public key");
    };
    let bad = |reason| Line::Bad(Some(key), reason);
    let Some(name) = words.next() else {
        return bad("the name is missing");
    };
    let trust = match words.next().map(str::parse) {
        None => Trust::default(),
        Some(Ok(trust)) => trust,
        Some(Err(())) => return bad("unknown trust"),
    };
    if words.next().is_some() {
        return bad("too many words");
    }
    Line::Client(key, Client::new(name, trust))
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
