//! The exec-servers that may register: a file of ids, which the relay reads again while it runs.
//!
//! A registration costs only a key pair, so without a list anyone can fill the table of registrations.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_proto::{ExecServerId, IdError};
use baton_regular_file::{OpenError, RegularFile};

use crate::limits::ALLOW_SERVERS_BYTES;

/// The ids that a file lists. Clones share them.
#[derive(Debug, Clone)]
pub struct AllowedServers(Arc<AllowListFile>);

#[derive(Debug)]
struct AllowListFile {
    path: PathBuf,
    state: Mutex<ListedIds>,
}

#[derive(Debug)]
struct ListedIds {
    ids: HashSet<ExecServerId>,
    text: String,
    /// The last reload failed, and the failure has been logged.
    is_unusable: bool,
}

/// The list cannot be used. The relay's operator must fix it.
#[derive(Debug, thiserror::Error)]
pub enum AllowedServersError {
    /// The operating system reported an error, or the file is too long.
    #[error("cannot read the list of exec-servers {path}: {source}; check the path and its permissions")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a FIFO or a device, which cannot be read a second time.
    #[error("{path} is not a regular file: list the ids of exec-servers in a regular file")]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// Another user could add an exec-server.
    #[error(
        "other users can write the list of exec-servers {path} (mode {mode:03o}): run `chmod go-w {path}`"
    )]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line that is not an id.
    #[error(
        "{path}, line {line}: {source}; expected the id that an exec-server prints on standard error when it starts, \
         or a comment after #"
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: IdError,
    },
}

impl AllowedServers {
    /// Reads a list: one id a line, `#` begins a comment. A relay reads the file again every
    /// [`ALLOW_SERVERS_CHECK_INTERVAL`](crate::limits::ALLOW_SERVERS_CHECK_INTERVAL).
    pub fn from_file(path: &Path) -> Result<Self, AllowedServersError> {
        let text = read(path)?;
        let state = ListedIds {
            ids: parse(path, &text)?,
            text,
            is_unusable: false,
        };
        Ok(Self(Arc::new(AllowListFile {
            path: path.into(),
            state: Mutex::new(state),
        })))
    }

    pub(crate) fn contains(&self, id: ExecServerId) -> bool {
        self.lock().ids.contains(&id)
    }

    /// Reads the file again; `true` if the ids changed. If the file cannot be used, the previous ids stay in use.
    pub(crate) fn reload(&self) -> bool {
        let path = &self.0.path;
        let reloaded = read(path).and_then(|text| {
            if text == self.lock().text {
                return Ok(None);
            }
            parse(path, &text).map(|ids| Some((ids, text)))
        });
        let state = &mut *self.lock();
        match reloaded {
            Ok(changed) => {
                state.is_unusable = false;
                let Some((ids, text)) = changed else {
                    return false;
                };
                (state.ids, state.text) = (ids, text);
                tracing::info!(
                    exec_servers = state.ids.len(),
                    "the list of exec-servers was read again"
                );
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut state.is_unusable, true) {
                    tracing::warn!("the previous list of exec-servers stays in use: {error}");
                }
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ListedIds> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<String, AllowedServersError> {
    let failed = |source| AllowedServersError::File {
        path: path.into(),
        source,
    };
    let file = RegularFile::open(path).map_err(|error| match error {
        OpenError::Io(source) => failed(source),
        OpenError::NotRegular => AllowedServersError::NotAFile { path: path.into() },
    })?;
    let mode = file.metadata().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(AllowedServersError::Permissions {
            path: path.into(),
            mode,
        });
    }
    file.read_to_string(ALLOW_SERVERS_BYTES).map_err(failed)
}

fn parse(path: &Path, text: &str) -> Result<HashSet<ExecServerId>, AllowedServersError> {
    let lines = text.lines().enumerate().filter_map(|(at, line)| {
        let id = line.split('#').next().unwrap_or("").trim();
        (!id.is_empty()).then_some((at, id))
    });
    let ids = lines.map(|(at, id)| {
        id.parse().map_err(|source| AllowedServersError::Line {
            path: path.into(),
            line: at + 1,
            source,
        })
    });
    ids.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn id(byte: u8) -> ExecServerId {
        ExecServerId([byte; 16])
    }

    #[test]
    fn a_list_is_followed_and_one_that_cannot_be_used_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("servers");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write(&format!("# ours\n\n {} # the build machine\n", id(1)), 0o644);
        let list = AllowedServers::from_file(&path).unwrap();
        let listed = || [1, 2].map(|byte| list.contains(id(byte)));
        assert_eq!(listed(), [true, false]);
        assert!(!list.reload(), "nothing has changed");

        write(&format!("{}\n{}\n", id(1), id(2)), 0o644);
        assert!(list.reload());
        assert_eq!(listed(), [true, true]);

        for (text, mode) in [("nonsense", 0o644), ("", 0o666), (" ", 0o620)] {
            write(text, mode);
            assert!(!list.reload(), "{text:?} {mode:o}");
            assert_eq!(listed(), [true, true]);
        }
        fs::remove_file(&path).unwrap();
        assert!(!list.reload());
        assert_eq!(listed(), [true, true]);

        write(&format!("{}\n", id(2)), 0o600);
        assert!(list.reload());
        assert_eq!(listed(), [false, true]);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_told_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("servers");
        fs::write(&path, format!("{}\nabc\n", id(1))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = AllowedServers::from_file(&path).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        let error = AllowedServers::from_file(dir.path()).unwrap_err();
        assert!(matches!(error, AllowedServersError::NotAFile { .. }), "{error}");
        let error = AllowedServers::from_file(&dir.path().join("none")).unwrap_err();
        assert!(matches!(error, AllowedServersError::File { .. }), "{error}");
    }
}
