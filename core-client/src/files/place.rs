//! What a call about files names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use baton_proto::part_name;

use super::bytes;

/// A path on the exec-server's machine, or a path that stays below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    root: Option<PathBuf>,
    path: PathBuf,
}

impl FilePlace {
    /// A path: absolute, or empty for the exec-server's default directory. Its symbolic links are followed wherever they
    /// lead.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            root: None,
            path: path.into(),
        }
    }

    /// A path below a directory, relative to it; an empty one is the directory itself. A symbolic link or `..` that leads
    /// out of the directory is an error ([`FilesFailure::OutsideRoot`](crate::FilesFailure::OutsideRoot)), also if it is
    /// made while the call runs. So is every absolute symbolic link.
    ///
    /// For trees whose links are not to be trusted, such as a repository of strangers. The directory is trusted: its own
    /// path is followed as by [`new`](Self::new). Needs Linux 5.6 on the exec-server's machine
    /// ([`FilesFailure::NoRoots`](crate::FilesFailure::NoRoots)).
    pub fn beneath(root: impl Into<PathBuf>, path: impl Into<PathBuf>) -> Self {
        Self {
            root: Some(root.into()),
            path: path.into(),
        }
    }

    /// The place of the part that a write of this file leaves: see `WriteStart.resume`. `None`: its name is too long.
    pub(crate) fn part(&self) -> Option<Self> {
        let name = part_name(self.path.file_name()?.as_bytes())?;
        Some(Self {
            root: self.root.clone(),
            path: self.path.with_file_name(OsStr::from_bytes(&name)),
        })
    }

    pub(super) fn into_wire(self) -> baton_proto::files::Place {
        baton_proto::files::Place {
            root: self.root.map(|root| bytes(root.as_os_str())),
            path: bytes(self.path.as_os_str()),
        }
    }
}

impl From<&Path> for FilePlace {
    fn from(path: &Path) -> Self {
        Self::new(path)
    }
}

impl From<&PathBuf> for FilePlace {
    fn from(path: &PathBuf) -> Self {
        Self::new(path)
    }
}

impl From<PathBuf> for FilePlace {
    fn from(path: PathBuf) -> Self {
        Self::new(path)
    }
}

impl From<&str> for FilePlace {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl From<String> for FilePlace {
    fn from(path: String) -> Self {
        Self::new(path)
    }
}
