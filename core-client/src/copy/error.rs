//! Why something was not copied.

use std::io;

use baton_proto::limits::PATH_MAX;
use rustix::io::Errno;

use crate::files::FilesError;
use crate::limits::COPY_DIRECTORIES_MAX;

/// Why a file, directory or tree was not copied. The message names no path, because the caller knows it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The exec-server's side, or the connection to it.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// This machine's side.
    #[error("cannot {action} on this machine: {source}")]
    Local {
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The source does not exist, or is a link that leads nowhere.
    #[error("the source does not exist: check its path")]
    NoSource,
    /// The source is a directory, and [`CopyOptions::recursive`](crate::CopyOptions::recursive) is off.
    #[error("the source is a directory")]
    IsDirectory,
    /// The source is a FIFO, a socket or a device.
    #[error("not a regular file: links, devices, FIFOs and sockets are not copied")]
    NotRegular,
    /// The destination of a tree is a file, or something else that is no directory.
    #[error("the destination exists and is not a directory: name another, or remove it first")]
    TargetIsNoDirectory,
    /// The destination of a file ends in `/` or has no name, and is not a directory.
    #[error("the destination is not a directory: make it first, or name a file")]
    TargetNeedsName,
    /// Something else than a regular file has the name of the copy. It is neither replaced nor followed.
    #[error(
        "its name at the destination is taken by a directory, a link, a device, a FIFO or a socket, which is not \
         replaced: remove it first"
    )]
    TargetNotRegular,
    /// The exec-server's user may not look at it.
    #[error("the exec-server's user may not look at it: check the permissions of its directories")]
    NotPermitted,
    /// The exec-server does not tell its default directory.
    #[error("the exec-server has no default directory: name an absolute path")]
    NoDefaultDirectory,
    /// The path below the source.
    #[error("its path below the source has more than {PATH_MAX} bytes: copy a part of the tree")]
    PathTooLong,
    /// More than [`COPY_DIRECTORIES_MAX`](crate::limits::COPY_DIRECTORIES_MAX).
    #[error("more than {COPY_DIRECTORIES_MAX} directories wait to be copied: copy parts of the tree")]
    TooManyDirectories,
    /// A name with `/` or NUL, an empty one, `.` or `..`.
    #[error("the exec-server sent a name that is none, which would lead the copy elsewhere")]
    NotAName,
    /// What has the name of a part that is to be kept is none, or another copy writes to it.
    #[error(
        "the file of its part (`.NAME.baton-part`) is in use by another copy, or is not a plain file of yours: remove \
         it, or copy without resuming"
    )]
    PartNotUsable,
}

impl CopyError {
    /// Whether the copy ends with it: the exec-server was not reached, the session is lost, the exec-server does not
    /// serve files, or it violates the protocol.
    pub fn is_of_connection(&self) -> bool {
        matches!(
            self,
            Self::Files(
                FilesError::Connect(_)
                    | FilesError::Session(_)
                    | FilesError::NotServed
                    | FilesError::Protocol(_)
            ) | Self::NotAName
        )
    }

    /// Of a system call of this machine.
    pub(super) fn local(action: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Local {
            action,
            source: errno.into(),
        }
    }
}
