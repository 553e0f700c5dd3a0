//! Looks at, reads and writes the exec-server's file system: the status of a path, the nearest ancestor that holds a
//! marker, the entries of a directory, the bytes of a file, what is below a directory and matches a pattern.

mod list;
mod place;
mod read;
mod read_many;
mod search;
mod write;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_channel::{Channel, ConnectError, SessionError};
use baton_proto::files::files_error::Kind as ErrorKind;
use baton_proto::files::stat_response::Answer;
use baton_proto::files::{
    FilesError as Detail, FindUpRequest, FindUpResponse, StatRequest, absence, file_status,
    unreadable_directory,
};
use baton_proto::limits::{ANSWER_MAX, PATH_MAX};
use baton_rpc::files::files_client::FilesClient;
use baton_trace::text::printable;
use bytes::Bytes;
use tonic::{Code, Status};

use crate::error::{TransportFailure, status_text};

pub use list::{DirectoryEntry, Listing};
pub use place::FilePlace;
pub use read::{FileEnd, FileHash, FilePart, FileReader};
pub(crate) use read_many::SmallFile;
pub use search::{
    FileSelection, FoundEntry, FoundLine, GlobEnd, GlobOptions, GlobResults, GrepEnd, GrepOptions,
    GrepResults, PassedOver, SearchTruncation,
};
pub(crate) use write::PartOf;
pub use write::{FileWriter, WriteCondition, WriteOptions, Written};

/// Looks at, reads and writes the exec-server's file system, with the permissions of the exec-server's user. Cheap to clone.
///
/// A path is absolute, or empty for the exec-server's default directory. [`FilePlace::beneath`] is a path that stays below
/// a root. Methods are cancellation safe unless they say otherwise.
///
/// An exec-server's slots for listing, reading, hashing and writing are shared by client key (64, of which one key alone
/// gets 48). A [`Listing`], a [`FileReader`] and a [`FileWriter`] hold one until their end or their drop.
#[derive(Clone)]
pub struct Files {
    pub(crate) channel: Channel,
    client: FilesClient<Channel>,
}

/// The answer of [`Files::stat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stat {
    /// The path exists.
    Found(FileStatus),
    /// Nothing has this name, a component of the path is no directory, or a symbolic link leads nowhere.
    NotFound,
    /// The exec-server's user may not search a directory of the path.
    NotPermitted,
}

/// The status of a file, directory or other node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStatus {
    /// What it is.
    pub kind: FileKind,
    /// Bytes. Of a symbolic link: of the path it holds.
    pub size: u64,
    /// The permission bits, with set-user-ID, set-group-ID and sticky bit: `0o7777`.
    pub mode: u32,
    /// When it was last modified, by the exec-server's file system.
    pub modified: SystemTime,
    /// The path without symbolic links, `.` and `..`. Only if links were followed.
    pub canonical: Option<PathBuf>,
}

/// The kind of a node in a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link. Only if links are not followed.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A kind that this version does not know.
    Other,
}

/// The result of a search upward from a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpwardSearch {
    /// The nearest ancestor that holds a marker. `None`: none of those that could be read does.
    pub root: Option<ProjectRoot>,
    /// The directory at which the search began, without symbolic links, `.` and `..`.
    pub start: PathBuf,
    /// The number of nearer directories in which a marker could not be looked up. If it is not 0, one of them may be
    /// the real root.
    pub unreadable: u32,
    /// The nearest of them.
    pub first_unreadable: Option<Unreadable>,
}

/// A directory that holds a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectRoot {
    /// The directory, without symbolic links, `.` and `..`.
    pub directory: PathBuf,
    /// The first of the requested markers that it holds.
    pub marker: OsString,
    /// The number of directories between: 0 is the start directory itself.
    pub depth: u32,
}

/// A directory in which a marker could not be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The directory.
    pub directory: PathBuf,
    /// Why.
    pub reason: UnreadableReason,
}

/// Why a marker could not be looked up in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnreadableReason {
    /// The exec-server's user may not search the directory, or one on the way to the target of a marker's link.
    NotPermitted,
    /// The file system failed, or a reason that this version does not know.
    Failed,
}

/// Why the exec-server's file system could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// No session with the exec-server could be established.
    #[error(transparent)]
    Connect(ConnectError),
    /// The session ended during the call.
    #[error("{0}")]
    Session(SessionError),
    /// The exec-server does not have this method, or no service for files.
    #[error(
        "this exec-server does not answer questions about files because its version is too old; update it"
    )]
    NotServed,
    /// The exec-server could not answer.
    #[error("{message}")]
    Failed {
        /// Why.
        failure: FilesFailure,
        /// The exec-server's message. It holds no path.
        message: String,
    },
    /// An answer that violates the protocol.
    #[error("the exec-server sent {0}; if client and exec-server have the same version, report it")]
    Protocol(&'static str),
    /// Any other error, with the exec-server's message.
    #[error("{}", status_text(.0))]
    Rpc(Status),
}

/// Why an exec-server could not answer a question about files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilesFailure {
    /// The path is relative, has a NUL, or is too long.
    InvalidPath,
    /// No marker, too many, or one that is not a name in a directory.
    InvalidMarkers,
    /// The file or directory does not exist, or was removed or replaced during a search.
    NotFound,
    /// The start of a search, or what is to be listed, is not a directory.
    NotADirectory,
    /// The exec-server's user may not do that, or not search a directory on the way.
    NotPermitted,
    /// Too many lookups or transfers of this client's key are open or wait.
    Busy,
    /// The file system did not answer in time.
    TimedOut,
    /// The file system or the operating system failed.
    Io,
    /// What is to be read is a directory, a FIFO, a socket or a device. What is to be replaced is one, or a symbolic link.
    NotRegular,
    /// The path leads out of its root.
    OutsideRoot,
    /// The exec-server's machine cannot keep a path below a root: its kernel or sandbox has no openat2.
    NoRoots,
    /// Something has the name of a file that must be absent, or of a directory that is to be made.
    Exists,
    /// What has the name is not the file of [`WriteCondition::Sha256`].
    Changed,
    /// The requests of a write were out of order.
    InvalidWrite,
    /// The disk is full, or a quota is used up. Nothing was replaced.
    NoSpace,
    /// A glob or a pattern is none, or too large; or a number is beyond its limit.
    InvalidSearch,
    /// The exec-server's allow-list has a forced command for this client's key, which may do nothing else.
    Restricted,
}

impl Files {
    pub(crate) fn over(channel: Channel) -> Self {
        let client = FilesClient::new(channel.clone()).max_decoding_message_size(ANSWER_MAX);
        Self { channel, client }
    }

    /// The status of a path. With `follow`, of the target of a symbolic link, and with the canonical path.
    ///
    /// # Errors
    /// [`FilesError`]. That nothing has this name is no error.
    pub async fn stat(&self, path: impl AsRef<Path>, follow: bool) -> Result<Stat, FilesError> {
        let path = bytes(path.as_ref().as_os_str());
        let request = StatRequest { path, follow };
        let answer = self.client.clone().stat(request).await?.into_inner().answer;
        match answer.ok_or(FilesError::Protocol("an empty answer about a path"))? {
            Answer::Found(found) => Ok(Stat::Found(found.try_into()?)),
            Answer::Absence(absence) => match absence.reason() {
                absence::Reason::NotFound => Ok(Stat::NotFound),
                absence::Reason::NotPermitted => Ok(Stat::NotPermitted),
                absence::Reason::Unspecified => {
                    Err(FilesError::Protocol("no reason why a path has no status"))
                }
            },
        }
    }

    /// The nearest ancestor of `start`, `start` included, that holds one of the markers (1 to 16 names): one round
    /// trip. The symbolic links of `start` are resolved first, as git does. A marker may be a file or directory of any
    /// kind; a symbolic link counts if its target exists. File system boundaries are crossed.
    ///
    /// [`Workspace::project_root`](crate::Workspace::project_root) also works with an exec-server that has only
    /// [`stat`](Self::stat).
    ///
    /// # Errors
    /// [`FilesError`]. That no ancestor holds a marker is no error.
    pub async fn find_up<M: AsRef<OsStr>>(
        &self,
        start: impl AsRef<Path>,
        markers: impl IntoIterator<Item = M>,
    ) -> Result<UpwardSearch, FilesError> {
        let markers: Vec<OsString> = markers.into_iter().map(|name| name.as_ref().to_owned()).collect();
        self.find_up_any(start.as_ref(), &markers).await
    }

    pub(crate) async fn find_up_any(
        &self,
        start: &Path,
        markers: &[OsString],
    ) -> Result<UpwardSearch, FilesError> {
        let request = FindUpRequest {
            start: bytes(start.as_os_str()),
            markers: markers.iter().map(|name| bytes(name)).collect(),
        };
        let answer = self.client.clone().find_up(request).await?.into_inner();
        let search = UpwardSearch::try_from(answer)?;
        match &search.root {
            Some(root) if !markers.contains(&root.marker) => {
                Err(FilesError::Protocol("a marker that was not requested"))
            }
            Some(root) if search.start.ancestors().nth(root.depth as usize) != Some(&root.directory) => Err(
                FilesError::Protocol("a root that is not that ancestor of its start"),
            ),
            _ => Ok(search),
        }
    }
}

impl TryFrom<FindUpResponse> for UpwardSearch {
    type Error = FilesError;

    fn try_from(answer: FindUpResponse) -> Result<Self, FilesError> {
        let root = answer.found.map(|found| {
            Ok::<_, FilesError>(ProjectRoot {
                directory: absolute(&found.directory)?,
                marker: OsStr::from_bytes(&found.marker).to_owned(),
                depth: found.depth,
            })
        });
        let first = answer.first_unreadable.map(|first| {
            Ok::<_, FilesError>(Unreadable {
                directory: absolute(&first.directory)?,
                reason: match first.reason() {
                    unreadable_directory::Reason::NotPermitted => UnreadableReason::NotPermitted,
                    unreadable_directory::Reason::IoFailed | unreadable_directory::Reason::Unspecified => {
                        UnreadableReason::Failed
                    }
                },
            })
        });
        Ok(Self {
            root: root.transpose()?,
            start: absolute(&answer.start)?,
            unreadable: answer.unreadable,
            first_unreadable: first.transpose()?,
        })
    }
}

impl TryFrom<baton_proto::files::FileStatus> for FileStatus {
    type Error = FilesError;

    fn try_from(found: baton_proto::files::FileStatus) -> Result<Self, FilesError> {
        let kind = match found.kind() {
            file_status::Kind::RegularFile => FileKind::File,
            file_status::Kind::Directory => FileKind::Directory,
            file_status::Kind::SymbolicLink => FileKind::Symlink,
            file_status::Kind::Fifo => FileKind::Fifo,
            file_status::Kind::Socket => FileKind::Socket,
            file_status::Kind::CharacterDevice => FileKind::CharacterDevice,
            file_status::Kind::BlockDevice => FileKind::BlockDevice,
            file_status::Kind::Unspecified => FileKind::Other,
        };
        let seconds = Duration::from_secs(found.modified_unix_s.unsigned_abs());
        let modified = match found.modified_unix_s {
            0.. => UNIX_EPOCH.checked_add(seconds),
            _ => UNIX_EPOCH.checked_sub(seconds),
        };
        let modified = modified.and_then(|at| at.checked_add(Duration::from_nanos(found.modified_ns.into())));
        let canonical = Some(&found.canonical_path).filter(|path| !path.is_empty());
        Ok(Self {
            kind,
            size: found.size,
            mode: found.mode,
            modified: modified.ok_or(FilesError::Protocol("a time that does not exist"))?,
            canonical: canonical.map(|path| absolute(path)).transpose()?,
        })
    }
}

/// A path of the exec-server.
fn absolute(path: &[u8]) -> Result<PathBuf, FilesError> {
    let is_path = path.len() <= PATH_MAX && path.starts_with(b"/") && !path.contains(&0);
    match is_path {
        true => Ok(PathBuf::from(OsString::from_vec(path.to_vec()))),
        false => Err(FilesError::Protocol("a path that is not absolute")),
    }
}

fn bytes(text: &OsStr) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl FilesFailure {
    fn from_wire(kind: ErrorKind) -> Option<Self> {
        Some(match kind {
            ErrorKind::InvalidPath => Self::InvalidPath,
            ErrorKind::InvalidMarkers => Self::InvalidMarkers,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::NotADirectory => Self::NotADirectory,
            ErrorKind::NotPermitted => Self::NotPermitted,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::IoFailed => Self::Io,
            ErrorKind::NotRegular => Self::NotRegular,
            ErrorKind::OutsideRoot => Self::OutsideRoot,
            ErrorKind::NoRoots => Self::NoRoots,
            ErrorKind::Exists => Self::Exists,
            ErrorKind::Changed => Self::Changed,
            ErrorKind::InvalidWrite => Self::InvalidWrite,
            ErrorKind::NoSpace => Self::NoSpace,
            ErrorKind::Restricted => Self::Restricted,
            ErrorKind::InvalidSearch => Self::InvalidSearch,
            ErrorKind::Unspecified => return None,
        })
    }
}

impl From<Status> for FilesError {
    fn from(status: Status) -> Self {
        match TransportFailure::from_status(&status) {
            Some(TransportFailure::Connect(error)) => return Self::Connect(error),
            Some(TransportFailure::Session(error)) => return Self::Session(error),
            None => {}
        }
        if let Some(detail) = Detail::from_details(status.details())
            && let Some(failure) = FilesFailure::from_wire(detail.kind())
        {
            return Self::Failed {
                failure,
                message: printable(&detail.message).into_owned(),
            };
        }
        match status.code() {
            Code::Unimplemented => Self::NotServed,
            _ => Self::Rpc(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_proto::files::FoundDirectory;

    #[test]
    fn an_answer_with_a_path_that_is_none_is_refused() {
        let found = |directory: &'static [u8], start: &'static [u8]| FindUpResponse {
            found: Some(FoundDirectory {
                directory: directory.into(),
                marker: Bytes::from_static(b".git"),
                depth: 1,
            }),
            start: start.into(),
            ..FindUpResponse::default()
        };
        assert!(UpwardSearch::try_from(found(b"/a", b"/a/b")).is_ok());
        for (directory, start) in [
            (&b"a"[..], &b"/a/b"[..]),
            (b"/a\0", b"/a/b"),
            (b"/a", b""),
            (b"", b"/a"),
        ] {
            let refused = UpwardSearch::try_from(found(directory, start)).unwrap_err();
            assert!(matches!(refused, FilesError::Protocol(_)), "{refused:?}");
        }
    }

    #[test]
    fn a_time_before_the_epoch_is_a_time_and_one_beyond_the_clock_is_refused() {
        let at = |modified_unix_s, modified_ns| {
            FileStatus::try_from(baton_proto::files::FileStatus {
                modified_unix_s,
                modified_ns,
                ..Default::default()
            })
        };
        let before = at(-2, 500_000_000).unwrap().modified;
        assert_eq!(
            UNIX_EPOCH.duration_since(before).unwrap(),
            Duration::from_millis(1500)
        );
        assert!(matches!(at(i64::MAX, u32::MAX), Err(FilesError::Protocol(_))));
        assert!(at(i64::MIN, 0).is_ok() || matches!(at(i64::MIN, 0), Err(FilesError::Protocol(_))));
    }
}
