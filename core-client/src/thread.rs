//! A thread (a conversation, a job) and what its present turn changed.
//!
//! ```text
//! changed(path) ──► recorded, no call
//! changes() ──► nothing recorded? no call
//!           └─► FindUp(.git) from the start directory ──► git status ──► git diff against the commit of that status
//! ```
//!
//! The repository is found with the first `changes` of a turn that has a recorded path, and is known until the turn
//! ends. The diff is git's.

mod git;
mod porcelain;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::Client;
use crate::command::Command;
use crate::error::RunError;
use crate::files::{FilesError, UpwardSearch};
use crate::limits::{CHANGED_BYTES_MAX, CHANGED_PATHS_MAX};

pub use porcelain::ChangedFile;

/// A handle for a thread of the caller on one exec-server. Clones share what was recorded.
#[derive(Clone)]
pub struct Thread {
    client: Client,
    id: String,
    start: PathBuf,
    turn: Arc<Mutex<TurnChanges>>,
}

/// What is known about the present turn.
#[derive(Default)]
struct TurnChanges {
    paths: BTreeSet<PathBuf>,
    bytes: usize,
    /// More paths than are recorded.
    is_beyond: bool,
    repository: Option<Repository>,
}

/// The repository around the start directory.
#[derive(Clone)]
struct Repository {
    /// The start directory, without symbolic links.
    start: PathBuf,
    root: PathBuf,
}

/// What a turn changed, as git tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changes {
    /// The turn has recorded no change. Nothing was looked up.
    NoneRecorded,
    /// The start directory is in no repository.
    NoRepository(UpwardSearch),
    /// There is no git in the exec-server's `PATH`.
    GitMissing {
        /// The repository.
        root: PathBuf,
    },
    /// Git sees no difference from the last commit: the changes were undone, committed, or are ignored.
    NotChanged {
        /// The repository.
        root: PathBuf,
    },
    /// Git sees differences.
    Changed(RepositoryChanges),
}

/// The differences of a repository from its last commit, in the paths that a turn recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepositoryChanges {
    /// The repository.
    pub root: PathBuf,
    /// The commit that is checked out, in hexadecimal; `None` before the first one.
    pub commit: Option<String>,
    /// The files, in git's order.
    pub files: Vec<ChangedFile>,
    /// The diff from that commit to the working tree. It has no untracked files.
    pub diff: Diff,
    /// Recorded paths that are outside the repository, sorted. Git was not asked about them.
    pub outside: Vec<PathBuf>,
    /// The turn recorded more than [`CHANGED_PATHS_MAX`] paths or [`CHANGED_BYTES_MAX`] bytes of them, so this has all
    /// changes of the repository.
    pub is_whole_repository: bool,
}

/// The text of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diff {
    /// As git wrote it, in no particular encoding.
    Text(Vec<u8>),
    /// It has more bytes than this limit, [`DIFF_BYTES_MAX`](crate::limits::DIFF_BYTES_MAX).
    TooLarge(usize),
}

/// Why it is not known what a turn changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// The repository could not be found.
    #[error("the repository of the thread's directory could not be found: {0}")]
    Files(#[from] FilesError),
    /// Git could not be run, did not end in time, or printed too much.
    #[error("git could not be run: {0}")]
    Run(#[from] RunError),
    /// Git failed. Of a directory `.git` that is no repository, or belongs to another user, its message says so.
    #[error("git failed in the thread's repository (exit status {status}): {message}")]
    Git {
        /// The exit code, or 128 + the signal's number.
        status: i32,
        /// The beginning of its standard error, safe to display.
        message: String,
    },
    /// A status that is not in git's documented format.
    #[error("git printed a status that cannot be read: {0}; report it with the output of `git version`")]
    Unreadable(&'static str),
}

impl Thread {
    /// The thread with this id, whose commands and changes begin in the directory `start`: absolute, or empty for the
    /// exec-server's default directory. Makes no call.
    pub fn new(client: &Client, id: impl Into<String>, start: impl Into<PathBuf>) -> Self {
        Self {
            client: client.clone(),
            id: id.into(),
            start: start.into(),
            turn: Arc::default(),
        }
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The start directory, as it was given.
    pub fn start(&self) -> &Path {
        &self.start
    }

    /// A command of this thread in its start directory.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command::new(program).thread(&self.id).current_dir(&self.start)
    }

    /// Ends the present turn: what it changed is forgotten, and its repository too.
    pub fn begin_turn(&self) {
        *self.turn() = TurnChanges::default();
    }

    /// Records that the turn created, changed or removed this file or directory: absolute, or relative to the start
    /// directory. An empty path is no change, and neither is one with a NUL, which no file has. Makes no call.
    pub fn changed(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let length = path.as_os_str().len();
        if length == 0 || path.as_os_str().as_bytes().contains(&0) {
            return;
        }
        let mut turn = self.turn();
        if turn.paths.contains(path) {
            return;
        }
        if turn.paths.len() >= CHANGED_PATHS_MAX || turn.bytes + length > CHANGED_BYTES_MAX {
            turn.is_beyond = true;
            return;
        }
        turn.bytes += length;
        turn.paths.insert(path.to_owned());
    }

    /// What the present turn changed. Without a recorded path this makes no call. Otherwise it finds the repository of
    /// the start directory, unless an earlier call in this turn did, and runs `git status` and `git diff` there.
    ///
    /// Git runs as the exec-server's user and is told to run no hook, file system monitor, external diff or text
    /// conversion, to take no optional lock and to fetch nothing. Clean filters that the repository's configuration
    /// names do run. It belongs to no thread, so that the thread's directory stays its own.
    ///
    /// Cancellation safe: nothing recorded is lost.
    ///
    /// # Errors
    /// [`ChangesError`].
    pub async fn changes(&self) -> Result<Changes, ChangesError> {
        let (paths, is_beyond, known) = {
            let turn = self.turn();
            (turn.paths.clone(), turn.is_beyond, turn.repository.clone())
        };
        if paths.is_empty() && !is_beyond {
            return Ok(Changes::NoneRecorded);
        }
        let repository = match known {
            Some(repository) => repository,
            None => {
                let search = self
                    .client
                    .roots()
                    .find(&self.start, &[OsString::from(".git")])
                    .await?;
                let Some(root) = &search.root else {
                    return Ok(Changes::NoRepository(search));
                };
                let repository = Repository {
                    start: search.start.clone(),
                    root: root.directory.clone(),
                };
                self.turn().repository = Some(repository.clone());
                repository
            }
        };
        let mut scope = repository.scope(&self.start, &paths);
        if is_beyond {
            scope.inside.clear();
        } else if scope.inside.is_empty() {
            // Without a path git would report the whole repository.
            return Ok(Changes::NotChanged {
                root: repository.root,
            });
        }
        git::changes(&self.client, repository.root, scope, is_beyond).await
    }

    fn turn(&self) -> MutexGuard<'_, TurnChanges> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The recorded paths of a turn, absolute.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    inside: BTreeSet<PathBuf>,
    outside: BTreeSet<PathBuf>,
}

impl Repository {
    /// Divides paths by whether they are in the repository, of which git would refuse the others. `given` is the start
    /// directory as the caller named it.
    fn scope(&self, given: &Path, paths: &BTreeSet<PathBuf>) -> Scope {
        let absolute = paths.iter().map(|path| {
            // A path below the start as it was given, which may have symbolic links.
            let below = match given.as_os_str().is_empty() {
                true => None,
                false => path.strip_prefix(given).ok(),
            };
            // `join` takes an absolute path as it is.
            normal(&self.start.join(below.unwrap_or(path)))
        });
        let (inside, outside) = absolute.partition(|path| path.starts_with(&self.root));
        Scope { inside, outside }
    }
}

/// An absolute path without `.` and `..`, by its text.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_divided_by_whether_they_are_in_the_repository() {
        let repository = Repository {
            start: "/srv/work/sub".into(),
            root: "/srv/work".into(),
        };
        let paths = [
            "a",
            "./b/../c",
            "../d",
            "../../e",
            "../../../../../f",
            "/srv/work/g",
            "/srv/worker/h",
            "/link/i",
            "/link/../j",
        ];
        let paths = paths.into_iter().map(PathBuf::from).collect();
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let expected = Scope {
            inside: set(&[
                "/srv/work/sub/a",
                "/srv/work/sub/c",
                "/srv/work/d",
                "/srv/work/g",
                "/srv/work/sub/i",
                "/srv/work/j",
            ]),
            outside: set(&["/srv/e", "/f", "/srv/worker/h"]),
        };
        assert_eq!(repository.scope("/link".as_ref(), &paths), expected);
    }
}
