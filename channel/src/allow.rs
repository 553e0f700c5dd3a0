//! The allow-list: the clients that an exec-server serves, one `key name trust` a line, with the trust in their trace
//! context, and with options before the key that limit what they may do ([`ClientOptions`]).
//!
//! * here: looks up a key in the list;
//! * `allow/lines.rs`: parses its text;
//! * `allow/options.rs`: the options of a line;
//! * `allow/file.rs`: reads the file, and checks that only its owner can change it;
//! * `allow/watch.rs`: reads the file again while sessions are open;
//! * `allow/peer.rs`: a client with its current trust and options;
//! * `allow/revocable.rs`: what ends when its client's key is removed.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use baton_noise::access::Exposure;
use baton_noise::key::PublicKey;

use crate::limits::ALLOW_LIST_MAX;

mod file;
mod lines;
mod options;
mod peer;
mod revocable;
mod watch;

pub use lines::LineError;
use lines::{Client, Lines};
pub use options::{ClientOptions, OptionsError};
use peer::Buckets;
pub use peer::Peer;
pub use revocable::Revocable;
pub(crate) use watch::{Standing, Watch};

/// How the exec-server treats a client's inbound trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Continues the trace, with the client's sampling decision.
    Continue,
    /// Continues the trace, but a token bucket limits how many traces are recorded.
    #[default]
    Clamp,
    /// Starts a new trace with a link to the client's, and drops its baggage.
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

/// What a line of the list grants its client, beside its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Grant {
    pub(crate) trust: Trust,
    pub(crate) options: Arc<ClientOptions>,
}

/// The result of a lookup.
#[derive(Debug)]
pub(crate) enum Lookup {
    Allowed(Peer),
    /// The client with this name is on the list, and its `expires` has passed.
    Expired(String),
    Unlisted,
}

/// The clients that may call.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    lines: Lines,
    source: Option<PathBuf>,
    buckets: Buckets,
}

/// Why an allow-list, or a line of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    /// The operating system failed to read it.
    #[error("cannot read the allow-list {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The path is a directory, a FIFO or a device.
    #[error(
        "the allow-list {path} is not a regular file: it is read again for every client, so name a file on disk"
    )]
    NotAFile {
        /// Which one.
        path: PathBuf,
    },
    /// Other users can change the file, and so allow themselves.
    #[error("the allow-list {path} is not used, because {exposure}: check its lines, then run `{} {path}`", .exposure.command())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// By what.
        exposure: Exposure,
    },
    /// Other users can change the directory, and so replace the file.
    #[error(
        "the allow-list {path} is not used, because of its directory {folder}: {exposure}; check the list's lines, then run `{} {folder}`",
        .exposure.command()
    )]
    FolderExposed {
        /// Which file.
        path: PathBuf,
        /// Its directory, or the directory of the file that it links to.
        folder: PathBuf,
        /// By what.
        exposure: Exposure,
    },
    /// The file is too large for an allow-list.
    #[error("the allow-list {path} is larger than {ALLOW_LIST_MAX} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// A line is malformed.
    #[error(
        "{path}:{line}: {reason}; a line is `key name trust`, trust being continue, clamp or restart, with options \
        such as expires=\"20271231Z\",command=\"date\" before the key"
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// The problem.
        reason: LineError,
    },
}

impl AllowError {
    /// Whether the problem affects only the client of one line, rather than all clients.
    pub fn is_of_one_line(&self) -> bool {
        matches!(self, Self::Line { .. })
    }
}

impl AllowList {
    /// An allow-list with exactly one client, without a file.
    pub fn only(key: PublicKey, name: &str, trust: Trust) -> Self {
        Self {
            lines: Lines::only(
                key,
                Client {
                    name: name.into(),
                    grant: Grant {
                        trust,
                        ..Grant::default()
                    },
                },
            ),
            ..Self::default()
        }
    }

    /// An allow-list in a file, which is read again for every handshake, so that an edit needs no restart. A missing
    /// file allows no client. A bad line refuses its own client only: see [`problems`](Self::problems).
    ///
    /// # Errors
    /// The file cannot be read, or other users can change it: the file or its directory belongs to another user, or its
    /// permission bits let others write.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, AllowError> {
        let path = path.into();
        Ok(Self {
            lines: Lines::parse(&file::read(&path)?),
            source: Some(path),
            ..Self::default()
        })
    }

    /// The client with this key; `None` if it is not on the list, or has expired.
    ///
    /// # Errors
    /// The list cannot be used, or this client's last line is bad.
    pub fn find(&self, key: &PublicKey) -> Result<Option<Peer>, AllowError> {
        Ok(match self.look_up(key, SystemTime::now())? {
            Lookup::Allowed(peer) => Some(peer),
            Lookup::Expired(_) | Lookup::Unlisted => None,
        })
    }

    /// As [`find`](Self::find), at this time.
    pub(crate) fn look_up(&self, key: &PublicKey, now: SystemTime) -> Result<Lookup, AllowError> {
        let found = |client: Option<&Client>| match client {
            None => Lookup::Unlisted,
            Some(client) if client.grant.options.has_expired(now) => Lookup::Expired(client.name.clone()),
            Some(Client { name, grant }) => {
                Lookup::Allowed(Peer::new(*key, name.clone(), grant.clone(), &self.buckets))
            }
        };
        let Some(path) = &self.source else {
            return Ok(found(self.lines.client(key)));
        };
        let lines = Lines::parse(&file::read(path)?);
        match lines.bad_line(key) {
            Some(bad) => Err(bad.error(path)),
            None => Ok(found(lines.client(key))),
        }
    }

    /// The list's current problems: one for an unusable list, or one for each of the first bad lines.
    pub fn problems(&self) -> Vec<AllowError> {
        let Some(path) = &self.source else {
            return Vec::new();
        };
        match file::read(path) {
            Ok(text) => Lines::parse(&text).errors(path),
            Err(problem) => vec![problem],
        }
    }

    /// The entry of a client with an open session, read at a rekey.
    pub(crate) fn standing(&self, key: &PublicKey, now: SystemTime) -> Standing {
        match &self.source {
            None => self.lines.standing(key, now),
            Some(path) => {
                file::read(path).map_or(Standing::Unknown, |text| Lines::parse(&text).standing(key, now))
            }
        }
    }

    /// The users that the lines name for commands, each once, for a check of them. Of an unusable list, none.
    pub fn users(&self) -> Vec<String> {
        match &self.source {
            None => self.lines.users(),
            Some(path) => file::read(path).map_or_else(|_| Vec::new(), |text| Lines::parse(&text).users()),
        }
    }

    /// A watch on the file; `None` without a file.
    pub(crate) fn watch(&self) -> Option<Watch> {
        self.source.clone().map(Watch::new)
    }

    /// Whether the list allows no client. Clients that have expired count.
    pub fn is_empty(&self) -> bool {
        self.lines.allows_nobody()
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use lines::fuzz;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    fn standing(list: &AllowList, byte: u8) -> Standing {
        list.standing(&key(byte), SystemTime::now())
    }

    #[test]
    fn an_allow_list_is_read_again_for_every_client() {
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
    fn a_bad_line_is_reported_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        for bad in [
            "x laptop",
            &key(1).to_string(),
            &format!("{} a b", key(1)),
            &format!("{} a clamp x", key(1)),
        ] {
            std::fs::write(&path, format!("\n{bad}\n")).unwrap();
            let problems = AllowList::file(&path).unwrap().problems();
            assert!(
                matches!(problems[..], [AllowError::Line { line: 2, .. }]),
                "{bad}: {problems:?}"
            );
        }
    }

    #[test]
    fn a_bad_line_refuses_its_own_client_only() {
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
        assert!(list.find(&key(1)).unwrap().is_some());
        let problem = list.find(&key(2)).map(|_| ()).unwrap_err();
        assert!(matches!(problem, AllowError::Line { line: 4, .. }), "{problem}");
        assert!(list.find(&key(3)).unwrap().is_none());
        assert_eq!(standing(&list, 1), Standing::Named(Grant::default()));
        assert_eq!(standing(&list, 2), Standing::Missing, "its last line counts");
        assert_eq!(standing(&list, 3), Standing::Missing);
        let told: Vec<_> = list.problems().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
    }

    #[test]
    fn a_client_that_has_expired_is_as_one_that_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let list = AllowList::file(&path).unwrap();
        let line = format!("expires=\"19700101000100Z\",command=\"true\" {} old", key(1));
        std::fs::write(&path, &line).unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let Ok(Lookup::Allowed(peer)) = list.look_up(&key(1), at(59)) else {
            panic!("it has not expired");
        };
        assert_eq!(peer.options().command(), Some("true"));
        assert_eq!(peer.options().expires(), Some(at(60)));
        let expired = list.look_up(&key(1), at(60));
        assert!(
            matches!(&expired, Ok(Lookup::Expired(name)) if name == "old"),
            "{expired:?}"
        );
        assert!(list.find(&key(1)).unwrap().is_none());
        assert_eq!(standing(&list, 1), Standing::Expired);
        assert!(list.problems().is_empty() && !AllowList::file(&path).unwrap().is_empty());
    }

    #[test]
    fn an_option_that_is_not_understood_refuses_its_client_and_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let list = AllowList::file(&path).unwrap();
        let lines = format!("{0} laptop\n\nfrom=\"host\" {0} laptop\n", key(1));
        std::fs::write(&path, lines).unwrap();
        let problem = list.find(&key(1)).unwrap_err();
        assert!(problem.is_of_one_line());
        let problem = problem.to_string();
        let expected = format!("{}:3: unknown option `from` ", path.display());
        assert!(problem.starts_with(&expected), "{problem}");
        assert_eq!(standing(&list, 1), Standing::Missing);
    }

    #[test]
    fn an_unreadable_list_allows_no_client_and_leaves_open_sessions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        let list = AllowList::file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(list.find(&key(1)), Err(AllowError::NotAFile { .. })));
        assert_eq!(standing(&list, 1), Standing::Unknown);
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, vec![b'#'; ALLOW_LIST_MAX as usize + 1]).unwrap();
        assert!(matches!(list.find(&key(1)), Err(AllowError::TooLarge { .. })));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            standing(&list, 1),
            Standing::Missing,
            "a missing file contains no client"
        );
    }

    #[test]
    fn a_list_that_others_can_change_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, path) = (dir.path(), dir.path().join("allowed"));
        std::fs::write(&path, format!("{} laptop\n", key(1))).unwrap();
        let list = AllowList::file(&path).unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let refused = |command: String| {
            let problem = list.find(&key(1)).map(|_| ()).unwrap_err().to_string();
            assert!(problem.contains(&format!("`{command}`")), "{problem}");
            assert_eq!(standing(&list, 1), Standing::Unknown);
            assert!(AllowList::file(&path).is_err());
        };
        for bits in [0o620, 0o602, 0o666] {
            mode(&path, bits);
            refused(format!("chmod go-w {}", path.display()));
        }
        mode(&path, 0o644);
        assert!(
            list.find(&key(1)).unwrap().is_some(),
            "read permission for others is allowed"
        );
        for bits in [0o770, 0o707, 0o777] {
            mode(folder, bits);
            refused(format!("chmod go-w {}", folder.display()));
        }
        // Also while the file is missing: another user could create it.
        std::fs::remove_file(&path).unwrap();
        refused(format!("chmod go-w {}", folder.display()));
        // The sticky bit, as on /tmp, prevents others from replacing the file.
        mode(folder, 0o1777);
        assert!(list.find(&key(1)).unwrap().is_none());
    }

    #[test]
    fn a_linked_list_in_an_exposed_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (open, path) = (dir.path().join("open"), dir.path().join("allowed"));
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(open.join("list"), "").unwrap();
        std::os::unix::fs::symlink(open.join("list"), &path).unwrap();
        let problem = AllowList::file(&path).map(|_| ()).unwrap_err();
        assert!(matches!(problem, AllowError::FolderExposed { .. }), "{problem}");
    }

    /// Opening a FIFO would block every handshake until a writer opens it.
    #[test]
    fn a_fifo_as_allow_list_is_refused_at_once() {
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
            let _ = sender.send((problem.to_string(), standing(&list, 1)));
        });
        let (problem, standing) = told.recv_timeout(Duration::from_secs(5)).expect("does not wait");
        assert!(problem.contains("not a regular file"), "{problem}");
        assert_eq!(standing, Standing::Unknown);
    }
}
