//! Who may call: the allow-list, one `key name trust` a line, and what a client's trace context is trusted with.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::OFlags;

use crate::key::PublicKey;
use crate::limits::ALLOW_LIST_MAX;

mod peer;
mod watch;

use peer::Buckets;
pub use peer::Peer;
pub(crate) use watch::{Standing, Watch};

/// What a client's inbound trace context is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Taken as it is, sampling decision included.
    Continue,
    /// Ids are kept; how much is recorded is this server's decision, by a token bucket.
    #[default]
    Clamp,
    /// A new trace with a link to the caller's; its baggage is dropped.
    Restart,
}

impl FromStr for Trust {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "continue" => Ok(Self::Continue),
            "clamp" => Ok(Self::Clamp),
            "restart" => Ok(Self::Restart),
            _ => Err(()),
        }
    }
}

/// Which clients may call.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    clients: HashMap<PublicKey, Client>,
    source: Option<PathBuf>,
    buckets: Buckets,
}

#[derive(Debug, Clone)]
struct Client {
    name: String,
    trust: Trust,
}

/// An allow-list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    /// The operating system refused.
    #[error("cannot read the allow-list {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory, a FIFO, a device.
    #[error(
        "the allow-list {path} is not a regular file: it is read again for every client, so name a file on disk"
    )]
    NotAFile {
        /// Which one.
        path: PathBuf,
    },
    /// Not an allow-list.
    #[error("the allow-list {path} is larger than {ALLOW_LIST_MAX} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// A line that is no entry.
    #[error("{path}:{line}: {reason}; a line is `key name trust`, trust being continue, clamp or restart")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl AllowList {
    /// Exactly one client.
    pub fn only(key: PublicKey, name: &str, trust: Trust) -> Self {
        let client = Client {
            name: name.into(),
            trust,
        };
        Self {
            clients: HashMap::from([(key, client)]),
            ..Self::default()
        }
    }

    /// An allow-list in a file, read anew for every handshake, so that an edit needs no restart. A missing file allows
    /// nobody.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, AllowError> {
        let path = path.into();
        let mut list = Self::read(&path)?;
        list.source = Some(path);
        Ok(list)
    }

    fn read(path: &Path) -> Result<Self, AllowError> {
        let (clients, problem) = parse(path, &read_file(path)?);
        match problem {
            None => Ok(Self {
                clients,
                ..Self::default()
            }),
            Some(problem) => Err(problem),
        }
    }

    /// The client of this key, if it may call now.
    pub fn find(&self, key: &PublicKey) -> Result<Option<Peer>, AllowError> {
        let reread = self.source.as_deref().map(Self::read).transpose()?;
        let clients = reread.as_ref().map_or(&self.clients, |list| &list.clients);
        Ok(clients
            .get(key)
            .map(|client| Peer::new(*key, client.name.clone(), client.trust, &self.buckets)))
    }

    /// Whether a client that was let in may stay. Unlike [`find`](Self::find) this holds on to what can be told: in a
    /// file with a bad line the others still count, and one that cannot be read sends nobody away.
    pub(crate) fn still_names(&self, key: &PublicKey) -> bool {
        let Some(path) = &self.source else {
            return self.clients.contains_key(key);
        };
        read_file(path).map_or(true, |text| parse(path, &text).0.contains_key(key))
    }

    /// Follows the file; `None` without one.
    pub(crate) fn watch(&self) -> Option<Watch> {
        self.source.clone().map(Watch::new)
    }

    /// Whether nobody may call.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}

/// The bytes of an allow-list; none for a missing one.
fn read_file(path: &Path) -> Result<Vec<u8>, AllowError> {
    let failed = |source| AllowError::Read {
        path: path.into(),
        source,
    };
    // A FIFO would make whoever opens it wait: the handshake of a client, or a session under its lock.
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(without_waiting)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(failed)?,
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(AllowError::NotAFile { path: path.into() });
    }
    let mut text = Vec::new();
    file.take(ALLOW_LIST_MAX + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > ALLOW_LIST_MAX {
        return Err(AllowError::TooLarge { path: path.into() });
    }
    Ok(text)
}

/// The clients of all good lines, and the first bad one. A client whose last line is bad is not among them.
fn parse(path: &Path, text: &[u8]) -> (HashMap<PublicKey, Client>, Option<AllowError>) {
    let mut clients = HashMap::new();
    let mut problem = None;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        match parse_line(line) {
            Line::Blank => {}
            Line::Client(key, client) => {
                clients.insert(key, client);
            }
            Line::Bad(key, reason) => {
                if let Some(key) = key {
                    clients.remove(&key);
                }
                problem.get_or_insert(AllowError::Line {
                    path: path.into(),
                    line: number + 1,
                    reason,
                });
            }
        }
    }
    (clients, problem)
}

/// What a line says.
enum Line {
    Blank,
    Client(PublicKey, Client),
    /// What is wrong with it, and whose it is as far as that can be told.
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
    let name = name.to_owned();
    Line::Client(key, Client { name, trust })
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[test]
    fn an_allow_list_is_read_anew_for_every_client() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let list = AllowList::file(&path).unwrap();
        assert!(list.is_empty());
        assert!(list.find(&key(1)).unwrap().is_none());
        std::fs::write(
            &path,
            format!("# me\n\n{} laptop continue # mine\n{} ci\n", key(1), key(2)),
        )
        .unwrap();
        let peer = list.find(&key(1)).unwrap().unwrap();
        assert_eq!((peer.name.as_str(), peer.trust()), ("laptop", Trust::Continue));
        assert_eq!(list.find(&key(2)).unwrap().unwrap().trust(), Trust::Clamp);
        assert!(list.find(&key(3)).unwrap().is_none());
    }

    #[test]
    fn a_bad_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        for bad in [
            "x laptop",
            &key(1).to_string(),
            &format!("{} a b", key(1)),
            &format!("{} a clamp x", key(1)),
        ] {
            std::fs::write(&path, format!("\n{bad}\n")).unwrap();
            assert!(
                matches!(AllowList::file(&path), Err(AllowError::Line { line: 2, .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_bad_line_keeps_newcomers_out_and_sends_away_nobody_but_its_own_client() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let list = AllowList::file(&path).unwrap();
        let lines = [
            format!("{} laptop", key(1)),
            "nonsense".into(),
            format!("{} ci", key(2)),
            format!("{} ci everything", key(2)),
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let problem = list.find(&key(1)).unwrap_err();
        assert!(matches!(problem, AllowError::Line { line: 2, .. }), "{problem}");
        assert!(list.still_names(&key(1)));
        assert!(!list.still_names(&key(2)), "its last line is the one that counts");
        assert!(!list.still_names(&key(3)));
    }

    #[test]
    fn a_list_that_cannot_be_read_lets_nobody_in_and_sends_nobody_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let list = AllowList::file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(list.find(&key(1)), Err(AllowError::NotAFile { .. })));
        assert!(list.still_names(&key(1)));
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, vec![b'#'; ALLOW_LIST_MAX as usize + 1]).unwrap();
        assert!(matches!(list.find(&key(1)), Err(AllowError::TooLarge { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(!list.still_names(&key(1)), "one that is gone names nobody");
    }

    /// Opening a FIFO waits for whoever writes to it, and everybody else with it; reading it twice finds nothing.
    #[test]
    fn a_list_that_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let list = AllowList {
                source: Some(path.clone()),
                ..AllowList::default()
            };
            let problem = list.find(&key(1)).map(|_| ()).unwrap_err();
            let _ = sender.send((problem.to_string(), list.still_names(&key(1))));
        });
        let (problem, still_names) = told.recv_timeout(Duration::from_secs(5)).expect("does not wait");
        assert!(problem.contains("not a regular file"), "{problem}");
        assert!(still_names, "what cannot be read sends nobody away");
    }
}
