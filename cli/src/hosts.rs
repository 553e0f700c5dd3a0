//! Names for exec-servers: `hosts.toml` in Baton's configuration directory, one ticket per name.
//!
//! ```toml
//! [hosts]
//! "worker" = "baton1:..."
//! ```
//!
//! A ticket is a secret, so a file that is open to others is refused, as a ticket file is. Writers hold a lock beside the
//! file and replace it atomically: a reader never sees a part of it, and no change is lost.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use baton_core_client::{Ticket, TicketError};
use baton_noise::access::Exposure;
use baton_regular_file::{OpenError, RegularFile};
use baton_trace::text::printable;
use rustix::fs::FlockOperation;
use toml::de::{DeTable, DeValue};

use crate::limits::{HOST_NAME_MAX, HOSTS_FILE_MAX};

/// Its name in Baton's configuration directory.
pub(crate) const FILE: &str = "hosts.toml";
const TABLE: &str = "hosts";

/// Why the file of hosts cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostsError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("refused {path}, because {exposure}: run `{} {path}`, and `baton ticket rotate` on the exec-servers if \
        others have read it", .exposure.command())]
    Exposed { path: PathBuf, exposure: Exposure },
    #[error("{path}:{line}: {message}")]
    Content {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error(
        "the ticket of {name} in {path}: {source}; with its current ticket, `baton host remove {name}` and add it anew"
    )]
    Ticket {
        name: String,
        path: PathBuf,
        source: TicketError,
    },
    #[error(
        "no host {name}: `baton host add {name} TICKET` adds it, `baton host list` lists those there are"
    )]
    Unknown { name: String },
    #[error(
        "{name} is another exec-server ({known}, not {given}), and a changed key is not replaced: if it was set up anew, \
         `baton host remove {name}` first"
    )]
    OtherKey {
        name: String,
        known: String,
        given: String,
    },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// What [`Hosts::add`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    New,
    /// The same exec-server with another ticket, as after `baton ticket rotate` or a move to another relay.
    Updated,
    Unchanged,
}

/// The names of one user.
#[derive(Debug)]
pub(crate) struct Hosts {
    path: PathBuf,
}

/// Whether a text can be a host's name: letters, digits, `.`, `_` and `-`, and no `-` at the beginning.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=HOST_NAME_MAX).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('-')
}

impl Hosts {
    /// The names in this file, which need not exist.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The ticket of a host.
    pub(crate) fn ticket(&self, name: &str) -> Result<Ticket, HostsError> {
        match self.read()?.get(name) {
            Some(text) => self.parsed(name, text),
            None => Err(HostsError::Unknown {
                name: name.to_owned(),
            }),
        }
    }

    fn parsed(&self, name: &str, text: &str) -> Result<Ticket, HostsError> {
        text.parse().map_err(|source| HostsError::Ticket {
            name: name.to_owned(),
            path: self.path.clone(),
            source,
        })
    }

    /// The text of every ticket, by its host's name. One that cannot be used, as of an earlier version, spoils no other.
    pub(crate) fn read(&self) -> Result<BTreeMap<String, String>, HostsError> {
        let path = || self.path.clone();
        let file = match RegularFile::open(&self.path) {
            Ok(file) => file,
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(BTreeMap::new());
            }
            Err(OpenError::Io(source)) => return Err(HostsError::Read { path: path(), source }),
            Err(OpenError::NotRegular) => return Err(HostsError::NotAFile { path: path() }),
        };
        if let Some(exposure) = Exposure::of_secret(file.metadata()) {
            return Err(HostsError::Exposed {
                path: path(),
                exposure,
            });
        }
        let text = file
            .read_to_string(HOSTS_FILE_MAX)
            .map_err(|source| HostsError::Read { path: path(), source })?;
        parse(&text).map_err(|(at, message)| HostsError::Content {
            path: path(),
            line: 1 + text.as_bytes()[..at.min(text.len())]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count(),
            message,
        })
    }

    /// Names an exec-server. A name that is another one's stays as it is.
    pub(crate) fn add(&self, name: &str, ticket: &Ticket) -> Result<Added, HostsError> {
        let text = ticket.to_string();
        self.change(|hosts| {
            let added = match hosts.get(name) {
                None => Added::New,
                Some(known) if *known == text => return Ok((Added::Unchanged, false)),
                Some(known) => {
                    let known = self.parsed(name, known)?.noise_key;
                    if known != ticket.noise_key {
                        return Err(HostsError::OtherKey {
                            name: name.to_owned(),
                            known: known.to_string(),
                            given: ticket.noise_key.to_string(),
                        });
                    }
                    Added::Updated
                }
            };
            hosts.insert(name.to_owned(), text);
            Ok((added, true))
        })
    }

    /// Forgets a host.
    pub(crate) fn remove(&self, name: &str) -> Result<(), HostsError> {
        self.change(|hosts| match hosts.remove(name) {
            Some(_) => Ok(((), true)),
            None => Err(HostsError::Unknown {
                name: name.to_owned(),
            }),
        })
    }

    /// Applies `change` to what is in the file, and writes the file if it says so.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(T, bool), HostsError>,
    ) -> Result<T, HostsError> {
        // Held until the end of this function.
        let _lock = self.lock().map_err(|source| self.unwritten(source))?;
        let mut hosts = self.read()?;
        let (result, is_changed) = change(&mut hosts)?;
        if is_changed {
            self.write(&hosts).map_err(|source| self.unwritten(source))?;
        }
        Ok(result)
    }

    fn unwritten(&self, source: io::Error) -> HostsError {
        HostsError::Write {
            path: self.path.clone(),
            source,
        }
    }

    /// A file of its own, because the other one is replaced.
    fn lock(&self) -> io::Result<File> {
        if let Some(directory) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.path.with_extension("toml.lock"))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        Ok(lock)
    }

    fn write(&self, hosts: &BTreeMap<String, String>) -> io::Result<()> {
        let mut text = format!("[{TABLE}]\n");
        for (name, ticket) in hosts {
            text += &format!("\"{name}\" = \"{ticket}\"\n");
        }
        if text.len() as u64 > HOSTS_FILE_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // A link to the file stays one.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let new = path.with_extension("toml.new");
        let write = || {
            let _ = fs::remove_file(&new);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }
}

/// The hosts in the text of a file; an error with its place in bytes.
fn parse(text: &str) -> Result<BTreeMap<String, String>, (usize, String)> {
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        (at, format!("no valid TOML: {}", printable(error.message())))
    })?;
    let mut hosts = BTreeMap::new();
    for (key, value) in document.get_ref() {
        let DeValue::Table(table) = value.get_ref() else {
            return Err((key.span().start, format!("expected the table [{TABLE}]")));
        };
        if key.get_ref() != TABLE {
            let found = printable(key.get_ref()).into_owned();
            return Err((
                key.span().start,
                format!("unknown table [{found}]; expected [{TABLE}]"),
            ));
        }
        for (name, ticket) in table {
            let at = name.span().start;
            let name = name.get_ref().as_ref();
            let shown = printable(name);
            if !is_name(name) {
                return Err((at, format!("`{shown}` is no name of a host: {NAME_RULE}")));
            }
            let DeValue::String(ticket) = ticket.get_ref() else {
                return Err((at, format!("the ticket of {shown} must be a text in quotes")));
            };
            // It is written again as it is.
            if !ticket
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte))
            {
                return Err((
                    at,
                    format!("the ticket of {shown} is none: copy the whole `baton1:` word"),
                ));
            }
            hosts.insert(name.to_owned(), ticket.clone().into_owned());
        }
    }
    Ok(hosts)
}

/// What a name consists of, for messages.
pub(crate) const NAME_RULE: &str =
    "expected at most 64 letters, digits, `.`, `_` or `-`, and no `-` at its beginning";

#[cfg(test)]
mod tests;
