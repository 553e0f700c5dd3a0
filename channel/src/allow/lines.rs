//! Parses the text of an allow-list. Lines are independent: a bad line refuses its own client only.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use baton_noise::key::PublicKey;

use super::options::{ClientOptions, OptionsError, syntax};
use super::{AllowError, Grant, Standing, Trust};
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
    pub(super) grant: Grant,
}

/// A malformed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadLine {
    /// The line's number, from 1.
    pub(super) number: usize,
    reason: LineError,
}

/// What is wrong with a line of an allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Its bytes are not UTF-8.
    #[error("not UTF-8 text")]
    NotText,
    /// The first word, or the first word after the options, is not a key.
    #[error("not a public key")]
    NotAKey,
    /// Nothing is behind the key.
    #[error("the name is missing")]
    NoName,
    /// Not `continue`, `clamp` or `restart`.
    #[error("unknown trust")]
    UnknownTrust,
    /// Something is behind the trust.
    #[error("too many words")]
    TooManyWords,
    /// The name looks like an option, which would have no effect there.
    #[error("an option is behind the key (options come before it)")]
    OptionBehindKey,
    /// The options before the key.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

impl BadLine {
    pub(super) fn error(&self, path: &Path) -> AllowError {
        AllowError::Line {
            path: path.into(),
            line: self.number,
            reason: self.reason.clone(),
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
                Line::Bad(keys, reason) => {
                    let bad = BadLine {
                        number: index + 1,
                        reason,
                    };
                    lines
                        .entries
                        .extend(keys.into_iter().map(|key| (key, Err(bad.clone()))));
                    if lines.bad.len() < ALLOW_LIST_PROBLEMS {
                        lines.bad.push(bad);
                    }
                }
            }
        }
        lines
    }

    /// The client with this key, whether or not it has expired.
    pub(super) fn client(&self, key: &PublicKey) -> Option<&Client> {
        self.entries.get(key)?.as_ref().ok()
    }

    /// The bad line that refuses this key.
    pub(super) fn bad_line(&self, key: &PublicKey) -> Option<&BadLine> {
        self.entries.get(key)?.as_ref().err()
    }

    /// The entry of a client with an open session. A client whose line is bad counts as missing.
    pub(super) fn standing(&self, key: &PublicKey, now: SystemTime) -> Standing {
        match self.client(key) {
            None => Standing::Missing,
            Some(client) if client.grant.options.has_expired(now) => Standing::Expired,
            Some(client) => Standing::Named(client.grant.clone()),
        }
    }

    pub(super) fn allows_nobody(&self) -> bool {
        !self.entries.values().any(Result::is_ok)
    }

    /// The users that the lines name, each once.
    pub(super) fn users(&self) -> Vec<String> {
        let clients = self.entries.values().flatten();
        let users = clients.filter_map(|client| client.grant.options.user());
        users
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
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
    /// The keys that it refuses, and the problem.
    Bad(Vec<PublicKey>, LineError),
}

fn parse_line(line: &[u8]) -> Line {
    let Ok(text) = std::str::from_utf8(line) else {
        return Line::Bad(keys_in(&String::from_utf8_lossy(line)), LineError::NotText);
    };
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Line::Blank;
    }
    let first = text.find(|c: char| c == '#' || c.is_whitespace());
    let (first, rest) = text.split_at(first.unwrap_or(text.len()));
    if let Ok(key) = first.parse() {
        return parse_client(key, ClientOptions::default(), words(rest));
    }
    let (options, rest) = match syntax::read(text) {
        Ok((written, rest)) => (ClientOptions::of_line(written), rest),
        Err(error) => return Line::Bad(keys_in(text), error.into()),
    };
    let mut words = words(rest);
    let Some(Ok(key)) = words.next().map(str::parse::<PublicKey>) else {
        return Line::Bad(keys_in(text), LineError::NotAKey);
    };
    match options {
        Ok(options) => parse_client(key, options, words),
        Err(error) => Line::Bad(vec![key], error.into()),
    }
}

/// The words before a comment.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('#').next().unwrap_or_default().split_whitespace()
}

/// Parses what is behind the key.
fn parse_client<'a>(
    key: PublicKey,
    options: ClientOptions,
    mut words: impl Iterator<Item = &'a str>,
) -> Line {
    let bad = |error| Line::Bad(vec![key], error);
    let Some(name) = words.next() else {
        return bad(LineError::NoName);
    };
    if ClientOptions::looks_like_one(name) {
        return bad(LineError::OptionBehindKey);
    }
    let trust = match words.next().map(str::parse) {
        None => Trust::default(),
        Some(Ok(trust)) => trust,
        Some(Err(())) => return bad(LineError::UnknownTrust),
    };
    if words.next().is_some() {
        return bad(LineError::TooManyWords);
    }
    let options = Arc::new(options);
    Line::Client(
        key,
        Client {
            name: name.into(),
            grant: Grant { trust, options },
        },
    )
}

/// The keys of a line of which it is not clear where its key is, such as one with a quote that is not closed. All of
/// them are refused: the line may be meant to restrict a key that an earlier line allows.
fn keys_in(line: &str) -> Vec<PublicKey> {
    let line = match line {
        comment if comment.trim_start().starts_with('#') => "",
        // A `#` may be part of a value.
        quoted if quoted.contains('"') => quoted,
        plain => plain.split('#').next().unwrap_or_default(),
    };
    let is_of_a_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | ':');
    line.split(|c| !is_of_a_key(c))
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    fn parse(lines: &[String]) -> Lines {
        Lines::parse(lines.join("\n").as_bytes())
    }

    #[test]
    fn options_come_before_the_key_and_a_number_sign_in_a_value_is_no_comment() {
        let lines = parse(&[
            format!(
                "command=\"echo '#'\",expires=\"19700101000100Z\" {} a restart # b",
                key(1)
            ),
            format!("\t COMMAND=\"x\"\t{}  b\r", key(2)),
            format!("{} expires", key(3)),
        ]);
        assert_eq!(lines.errors(Path::new("")).len(), 0);
        let one = lines.client(&key(1)).unwrap();
        assert_eq!((&*one.name, one.grant.trust), ("a", Trust::Restart));
        assert_eq!(one.grant.options.command(), Some("echo '#'"));
        assert_eq!(
            one.grant.options.expires(),
            Some(UNIX_EPOCH + Duration::from_secs(60))
        );
        assert_eq!(lines.client(&key(2)).unwrap().grant.options.command(), Some("x"));
        let standing = |seconds| lines.standing(&key(1), UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(standing(59), Standing::Named(one.grant.clone()));
        assert_eq!(standing(60), Standing::Expired);
        assert_eq!(lines.client(&key(3)).unwrap().name, "expires");
    }

    /// The owner who adds a line restricts a key. A mistake in it must not leave the key with its earlier rights.
    #[test]
    fn a_line_whose_options_are_not_understood_refuses_its_key_whatever_an_earlier_line_allows() {
        let named = |error: OptionsError| LineError::from(error);
        for (bad, reason) in [
            (
                format!("from=\"host\" {} one", key(1)),
                named(OptionsError::Unknown("from".into())),
            ),
            (
                format!("restrict {} one", key(1)),
                named(OptionsError::Unknown("restrict".into())),
            ),
            (
                format!("command=\"true {} one", key(1)),
                named(OptionsError::Unclosed("command".into())),
            ),
            (format!("command = \"true\" {} one", key(1)), LineError::NotAKey),
            (
                format!("command=\"true\", {} one", key(1)),
                named(OptionsError::NoName),
            ),
            (
                format!("command=true {} one", key(1)),
                named(OptionsError::NoValue("command".into())),
            ),
            (
                format!("command=\"#\"x {} one", key(1)),
                named(OptionsError::NoSeparator("command".into())),
            ),
            (format!("{} command=\"true\"", key(1)), LineError::OptionBehindKey),
            (
                format!("{} Expires=20270101Z clamp", key(1)),
                LineError::OptionBehindKey,
            ),
            (
                format!("{} one command=\"true\"", key(1)),
                LineError::UnknownTrust,
            ),
            (
                format!("one {} restart", key(1)),
                named(OptionsError::Unknown("one".into())),
            ),
            (format!("command=\"true\" one {}", key(1)), LineError::NotAKey),
        ] {
            let lines = parse(&[format!("{} one", key(1)), format!("{} two", key(2)), bad.clone()]);
            assert!(lines.client(&key(1)).is_none(), "{bad}");
            assert_eq!(lines.bad_line(&key(1)).unwrap().number, 3);
            let reasons: Vec<_> = lines.bad.iter().map(|bad| &bad.reason).collect();
            assert_eq!(reasons, [&reason], "{bad}");
            assert!(lines.client(&key(2)).is_some());
        }
        let not_text = [
            format!("{} one\ncommand=\"", key(1)).as_bytes(),
            b"\xe9\" ",
            format!("{} one", key(1)).as_bytes(),
        ]
        .concat();
        assert!(Lines::parse(&not_text).client(&key(1)).is_none());
    }

    #[test]
    fn a_comment_that_names_a_key_refuses_nobody() {
        let lines = parse(&[
            format!("{} one", key(1)),
            format!("# command=\"x\" {} one", key(1)),
            format!("nonsense # instead of {}", key(1)),
        ]);
        assert!(lines.client(&key(1)).is_some());
        let comment = [format!("{0} one\n# {0} ", key(1)).as_bytes(), b"\xe9"].concat();
        assert!(Lines::parse(&comment).client(&key(1)).is_some());
    }
}
