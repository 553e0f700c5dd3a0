//! Who may call: the allow-list, one `key name trust` a line, and what a client's trace context is trusted with.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Instant;

use baton_trace::TraceFlags;
use baton_trace::clock;
use baton_trace::w3c::{Extracted, TraceContext};

use crate::key::PublicKey;
use crate::limits::{ALLOW_LIST_MAX, CLAMP_BURST, CLAMP_PER_SECOND};

mod watch;

pub(crate) use watch::Watch;

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
}

#[derive(Debug, Clone)]
struct Client {
    name: String,
    trust: Trust,
}

/// The client at the other end of a session; in the extensions of every request.
pub struct Peer {
    /// Its static key: its identity.
    pub key: PublicKey,
    /// Its name on the allow-list.
    pub name: String,
    trust: Trust,
    bucket: Mutex<Bucket>,
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
            source: None,
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
                source: None,
            }),
            Some(problem) => Err(problem),
        }
    }

    /// The client of this key, if it may call now.
    pub fn find(&self, key: &PublicKey) -> Result<Option<Peer>, AllowError> {
        let reread = self.source.as_deref().map(Self::read).transpose()?;
        let clients = reread.as_ref().map_or(&self.clients, |list| &list.clients);
        Ok(clients.get(key).map(|client| Peer {
            key: *key,
            name: client.name.clone(),
            trust: client.trust,
            bucket: Mutex::new(Bucket::full(clock::now())),
        }))
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
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(failed)?,
    };
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

impl Peer {
    /// Whether this client may learn the ids of the spans that its calls make here. One whose trace is not continued has no use
    /// for them.
    pub fn sees_ids(&self) -> bool {
        self.trust != Trust::Restart
    }

    /// Applies the trust of this client to an inbound context: the context to go on with, and a link to one that was
    /// not continued. Without an inbound context a new, unsampled trace starts.
    pub(crate) fn admit(&self, inbound: Extracted) -> (TraceContext, Option<TraceContext>) {
        let known = inbound.context.is_some();
        let sampled = inbound.context.as_ref().is_some_and(TraceContext::is_sampled);
        match self.trust {
            Trust::Restart if known => {
                let link = inbound.context;
                (TraceContext::new_root(sampled && self.take_token()), link)
            }
            Trust::Restart => (TraceContext::new_root(false), None),
            Trust::Clamp if sampled && !self.take_token() => {
                let mut context = inbound.continue_or_start(false);
                context.flags = TraceFlags::new(context.flags.to_u8() & !TraceFlags::SAMPLED.to_u8());
                (context, None)
            }
            Trust::Clamp | Trust::Continue => (inbound.continue_or_start(false), None),
        }
    }

    fn take_token(&self) -> bool {
        let mut bucket = self
            .bucket
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        bucket.take(clock::now())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("key", &self.key)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A token bucket: [`CLAMP_PER_SECOND`] traces a second, [`CLAMP_BURST`] at once.
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            tokens: CLAMP_BURST,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() * CLAMP_PER_SECOND;
        self.tokens = (self.tokens + refill).min(CLAMP_BURST);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
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

    fn inbound(sampled: bool) -> Extracted {
        Extracted {
            context: Some(TraceContext::new_root(sampled)),
            ..Extracted::default()
        }
    }

    fn peer(trust: Trust) -> Peer {
        AllowList::only(key(1), "laptop", trust)
            .find(&key(1))
            .unwrap()
            .unwrap()
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
        assert_eq!((peer.name.as_str(), peer.trust), ("laptop", Trust::Continue));
        assert_eq!(list.find(&key(2)).unwrap().unwrap().trust, Trust::Clamp);
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
        assert!(matches!(list.find(&key(1)), Err(AllowError::Read { .. })));
        assert!(list.still_names(&key(1)));
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, vec![b'#'; ALLOW_LIST_MAX as usize + 1]).unwrap();
        assert!(matches!(list.find(&key(1)), Err(AllowError::TooLarge { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(!list.still_names(&key(1)), "one that is gone names nobody");
    }

    #[test]
    fn continue_keeps_everything() {
        for sampled in [false, true] {
            let inbound = inbound(sampled);
            let (context, link) = peer(Trust::Continue).admit(inbound.clone());
            assert_eq!((Some(context), link), (inbound.context, None));
        }
    }

    #[test]
    fn clamp_keeps_the_ids_and_bounds_what_is_recorded() {
        let peer = peer(Trust::Clamp);
        let inbound = inbound(true);
        let admitted: Vec<_> = (0..CLAMP_BURST as usize + 50)
            .map(|_| peer.admit(inbound.clone()).0)
            .collect();
        let trace_id = inbound.context.unwrap().trace_id;
        assert!(admitted.iter().all(|context| context.trace_id == trace_id));
        assert!(admitted[0].is_sampled());
        assert!(!admitted.last().unwrap().is_sampled());
    }

    #[test]
    fn restart_starts_a_new_trace_with_a_link() {
        let inbound = inbound(true);
        let (context, link) = peer(Trust::Restart).admit(inbound.clone());
        assert_ne!(context.trace_id, inbound.context.as_ref().unwrap().trace_id);
        assert_eq!(link, inbound.context);
    }

    #[test]
    fn a_bucket_refills() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        while bucket.take(start) {}
        assert!(!bucket.take(start + Duration::from_millis(1)));
        assert!(bucket.take(start + Duration::from_secs(1)));
    }
}
