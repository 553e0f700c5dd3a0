//! Why a call fails, and its encoding: a gRPC code, a message, and a `FilesError` in the status details.
//!
//! No message holds a path, because a status message may be exported as telemetry.

use std::io;

use baton_proto::files::FilesError as Detail;
use baton_proto::files::files_error::Kind;
use baton_proto::limits::{
    CONTEXT_LINES_MAX, FILE_PIECE_MAX, GLOB_DEPTH_MAX, GLOB_MAX, GLOBS_MAX, MARKERS_MAX, NAME_MAX, PATH_MAX,
    PATTERN_MAX, READ_MANY_MAX,
};
use rustix::io::Errno;
use tonic::{Code, Status};

use crate::limits::{LOOKUP_TIMEOUT, PATTERN_COMPILED_MAX, START_TIMEOUT, WRITE_TIMEOUT};
use crate::refusal::{OTHER_USER, RESTRICTED};

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Server's fault: the request's extensions have no `Peer`.
    #[error("the caller of this request is not known")]
    Unauthenticated,
    /// Client's fault: its line on the allow-list has a forced command.
    #[error("{RESTRICTED}")]
    Restricted,
    /// Client's fault: its commands run as another user than the exec-server's.
    #[error("{OTHER_USER}")]
    OtherUser,
    /// Client's fault.
    #[error("{0}")]
    Path(#[from] InvalidPath),
    /// Client's fault.
    #[error("{0}")]
    Markers(#[from] InvalidMarkers),
    /// Client's fault.
    #[error("the start directory does not exist: check its path on the exec-server's machine")]
    NotFound,
    /// Neither's fault.
    #[error("the start directory was removed or replaced during the search: search again")]
    Vanished,
    /// Client's fault.
    #[error("the start is not a directory: search from the directory that holds it")]
    StartNotADirectory,
    /// Fault of the client, or of the exec-server's owner.
    #[error(
        "the exec-server's user may not search a directory on the way to the start: check its permissions"
    )]
    NotPermitted,
    /// Client's fault.
    #[error(
        "nothing on the exec-server's machine has this path, or a link of it leads nowhere: check the path"
    )]
    Absent,
    /// Client's fault.
    #[error("not a directory: name the directory that holds it")]
    NotADirectory,
    /// Client's fault.
    #[error(
        "not a regular file: directories, links, devices, FIFOs and sockets are neither read nor written"
    )]
    NotRegular,
    /// Fault of the client, or of the exec-server's owner.
    #[error(
        "the exec-server's user may not do this: check the permissions of the path and of its directories"
    )]
    Forbidden,
    /// Client's fault, or an attack by whoever may write below the root.
    #[error("the path leads out of its root, by `..` or by a symbolic link: name a path below the root")]
    OutsideRoot,
    /// Fault of the server's machine.
    #[error(
        "the exec-server's machine cannot keep a path below a root, because its kernel or sandbox has no openat2: \
        send an absolute path without a root"
    )]
    NoRoots,
    /// Client's fault.
    #[error("something has this name already, and it must be absent")]
    Exists,
    /// Neither's fault.
    #[error(
        "the file is not the one that the request expects: read it again, and decide again what to write"
    )]
    Changed,
    /// Client's fault.
    #[error("{0}")]
    Write(#[from] InvalidWrite),
    /// Client's fault.
    #[error("{0}")]
    Search(#[from] InvalidSearch),
    /// Fault of the server's machine.
    #[error(
        "no space is left on the disk of the exec-server's machine, or a quota is used up; nothing was replaced"
    )]
    NoSpace,
    /// Client's fault.
    #[error(
        "another write goes on with the part of this file (`.NAME.baton-part`): wait for its end, or write without it"
    )]
    PartInUse,
    /// Client's fault: see [`LOOKUPS_QUEUE`](crate::limits::LOOKUPS_QUEUE) and
    /// [`TRANSFERS_AT_ONCE`](crate::limits::TRANSFERS_AT_ONCE).
    #[error(
        "too many lookups or transfers of files of this client's key are open: try again when some have ended"
    )]
    Busy,
    /// Fault of the server's machine.
    #[error(
        "the file system did not answer within {} s: check the mounts of the exec-server's machine, or try again",
        LOOKUP_TIMEOUT.as_secs()
    )]
    TimedOut,
    /// Fault of the server's machine.
    #[error(
        "the file system did not take the file within {} s: look whether it was written, and check the mounts of the \
        exec-server's machine",
        WRITE_TIMEOUT.as_secs()
    )]
    WriteTimedOut,
    /// Fault of the server's machine.
    #[error("the file system or the operating system failed: {0}")]
    Io(#[source] io::Error),
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The operating system ends a path there.
    #[error("the path contains a NUL byte")]
    Nul,
    /// Of a file or directory that is to be made.
    #[error("the path must end in a name, and not in `/`, `.` or `..`")]
    NoName,
    /// A path below a root.
    #[error("a path below a root must be relative to it, without a `/` at its beginning")]
    NotRelative,
    /// Relative to what would depend on the exec-server.
    #[error("the path must be absolute, or empty for the exec-server's default directory")]
    Relative,
    /// Of files that are to be read together: none or too many.
    #[error("files that are read together have 1 to {READ_MANY_MAX} names")]
    NamesCount,
    /// Of files that are to be read together.
    #[error(
        "a file that is read with others has one name of 1 to {NAME_MAX} bytes, without `/` and NUL, and not `.` or `..`"
    )]
    NotAName,
    /// The path, or one of its names.
    #[error("the path is too long: it has at most {PATH_MAX} bytes, and each name in it {NAME_MAX}")]
    TooLong,
}

/// What is wrong with the markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMarkers {
    /// None or too many.
    #[error("a search has 1 to {MARKERS_MAX} markers")]
    Count,
    /// Not a name in a directory.
    #[error("a marker is one name of 1 to {NAME_MAX} bytes, without `/` and NUL, and not `.` or `..`")]
    Name,
}

/// What is wrong with the requests of a `Write`. The target is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWrite {
    /// The first request is of another kind, or there is none in time.
    #[error("the first request of Write must be WriteStart, within {} s", START_TIMEOUT.as_secs())]
    NotFirst,
    /// Of a hash.
    #[error("a hash is 32 bytes of SHA-256, or empty")]
    Hash,
    /// Conditions that exclude each other.
    #[error("a file cannot be absent and have a hash: state one condition")]
    Conditions,
    /// An offset without a hash, or a hash without an offset.
    #[error(
        "a write goes on at an offset with the SHA-256 of the bytes before it, or begins at 0 without one"
    )]
    Resume,
    /// A second start, or a kind that this version does not know.
    #[error("a request of Write is out of order or of no known kind")]
    OutOfOrder,
    /// A gap or a repetition.
    #[error("the bytes continue at {expected}, not at {received}")]
    Offset {
        /// Bytes received so far.
        expected: u64,
        /// The value in the request.
        received: u64,
    },
    /// More than [`FILE_PIECE_MAX`](baton_proto::limits::FILE_PIECE_MAX).
    #[error("a piece of a file has at most {FILE_PIECE_MAX} bytes")]
    Piece,
    /// The requests ended before `WriteEnd`, so the file may be incomplete.
    #[error("the requests ended before WriteEnd")]
    Cut,
    /// The bytes do not have the hash of `WriteEnd`.
    #[error("the bytes that arrived do not have the hash of WriteEnd")]
    OtherBytes,
}

/// What is wrong with a `Glob` or a `Grep`. No message repeats a glob or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSearch {
    /// Too many that select, or that exclude.
    #[error("a search has at most {GLOBS_MAX} globs, and as many excludes")]
    GlobCount,
    /// Empty, too long, or nested too deep.
    #[error("a glob has 1 to {GLOB_MAX} bytes, and at most {GLOB_DEPTH_MAX} levels of braces")]
    GlobSize,
    /// Not a glob.
    #[error("glob {number} is not a glob: {reason}")]
    Glob {
        /// Its place among the globs, or among the excludes, counted from 1.
        number: usize,
        /// Of the library.
        reason: String,
    },
    /// Together they take too much.
    #[error("the globs are too large together: use fewer or simpler ones")]
    GlobsTooLarge,
    /// Empty or too long.
    #[error("a pattern has 1 to {PATTERN_MAX} bytes")]
    PatternSize,
    /// Not a regular expression.
    #[error(
        "the pattern is not a regular expression: {reason}, at byte {offset}; set fixed_strings to search for it as text"
    )]
    Pattern {
        /// Of the library.
        reason: String,
        /// In the pattern, counted from 0.
        offset: usize,
    },
    /// Beyond [`PATTERN_COMPILED_MAX`].
    #[error(
        "the pattern is too large: compiled it has more than {} MiB; use smaller repetitions, or (?-u)",
        PATTERN_COMPILED_MAX >> 20
    )]
    PatternTooLarge,
    /// A line feed in the pattern.
    #[error("a pattern matches within a line, so it cannot hold a line feed")]
    LineFeed,
    /// Too many lines before or after a match.
    #[error("a match has at most {CONTEXT_LINES_MAX} lines before it and after it")]
    Context,
}

impl FilesError {
    /// What an error of the operating system says about a start directory.
    pub(super) fn of_start(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Self::NotFound,
            Some(Errno::ACCESS | Errno::PERM) => Self::NotPermitted,
            Some(Errno::NAMETOOLONG) => InvalidPath::TooLong.into(),
            _ => Self::Io(error),
        }
    }

    /// Whether a search cannot go on after it, because it is not about the one file or directory.
    pub(super) fn is_of_the_machine(&self) -> bool {
        let errno = match self {
            Self::NoRoots => return true,
            Self::Io(error) => Errno::from_io_error(error),
            _ => None,
        };
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
    }

    /// What an error of the operating system says about a file or directory that is to be used.
    pub(super) fn of_place(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Self::Absent,
            Errno::ACCESS | Errno::PERM => Self::Forbidden,
            Errno::NAMETOOLONG => InvalidPath::TooLong.into(),
            // A socket, or a device without a driver.
            Errno::NXIO => Self::NotRegular,
            Errno::ROFS => Self::Forbidden,
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace,
            errno => Self::Io(errno.into()),
        }
    }
}

impl FilesError {
    fn code_and_kind(&self) -> (Code, Kind) {
        match self {
            Self::Unauthenticated => (Code::Unauthenticated, Kind::Unspecified),
            Self::Restricted | Self::OtherUser => (Code::PermissionDenied, Kind::Restricted),
            Self::Path(_) => (Code::InvalidArgument, Kind::InvalidPath),
            Self::Markers(_) => (Code::InvalidArgument, Kind::InvalidMarkers),
            Self::NotFound | Self::Vanished | Self::Absent => (Code::NotFound, Kind::NotFound),
            Self::StartNotADirectory | Self::NotADirectory => (Code::FailedPrecondition, Kind::NotADirectory),
            Self::NotPermitted | Self::Forbidden => (Code::PermissionDenied, Kind::NotPermitted),
            Self::NotRegular => (Code::FailedPrecondition, Kind::NotRegular),
            Self::OutsideRoot => (Code::PermissionDenied, Kind::OutsideRoot),
            Self::NoRoots => (Code::FailedPrecondition, Kind::NoRoots),
            Self::Exists => (Code::AlreadyExists, Kind::Exists),
            Self::Changed => (Code::Aborted, Kind::Changed),
            Self::Write(_) => (Code::InvalidArgument, Kind::InvalidWrite),
            Self::Search(_) => (Code::InvalidArgument, Kind::InvalidSearch),
            Self::NoSpace => (Code::ResourceExhausted, Kind::NoSpace),
            Self::Busy => (Code::ResourceExhausted, Kind::Busy),
            Self::PartInUse => (Code::ResourceExhausted, Kind::Busy),
            Self::TimedOut | Self::WriteTimedOut => (Code::DeadlineExceeded, Kind::TimedOut),
            Self::Io(_) => (Code::Unavailable, Kind::IoFailed),
        }
    }

    /// Of one of several files.
    pub(super) fn detail(&self) -> Detail {
        Detail {
            kind: self.code_and_kind().1.into(),
            message: self.to_string(),
        }
    }
}

impl From<FilesError> for Status {
    fn from(error: FilesError) -> Self {
        let (code, detail) = (error.code_and_kind().0, error.detail());
        if let FilesError::Unauthenticated = error {
            return Status::unauthenticated(detail.message);
        }
        let details = detail.to_details(code.into());
        Status::with_details(code, detail.message, details)
    }
}

impl From<InvalidPath> for Status {
    fn from(error: InvalidPath) -> Self {
        FilesError::from(error).into()
    }
}

impl From<InvalidWrite> for Status {
    fn from(error: InvalidWrite) -> Self {
        FilesError::from(error).into()
    }
}

impl From<InvalidSearch> for Status {
    fn from(error: InvalidSearch) -> Self {
        FilesError::from(error).into()
    }
}

impl From<InvalidMarkers> for Status {
    fn from(error: InvalidMarkers) -> Self {
        FilesError::from(error).into()
    }
}
