//! Opens what a request names: a path as the kernel resolves it, or a path that stays below a root.
//!
//! Below a root the kernel itself resolves the path (openat2 with RESOLVE_BENEATH): no symbolic link and no `..` leads
//! out, and one that is made or moved during the call does not either.
//!
//! What is opened is first a location only (O_PATH), which neither waits for a FIFO's writer nor touches a device. Only
//! what proves to be a regular file or a directory is then opened for reading, by its descriptor and not by its name.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use baton_proto::files;
use baton_proto::limits::PATH_MAX;
use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::io::Errno;

use super::error::{FilesError, InvalidPath};
use super::request::RequestedPath;
use crate::limits::BENEATH_RETRIES;
use crate::settings::Directory;

/// What a request names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Wherever the path leads.
    Anywhere(RequestedPath),
    /// A path that stays below a root.
    Beneath {
        /// The root.
        root: RequestedPath,
        /// Relative to the root.
        path: PathBuf,
    },
}

impl TryFrom<Option<files::Place>> for Place {
    type Error = InvalidPath;

    fn try_from(place: Option<files::Place>) -> Result<Self, InvalidPath> {
        let files::Place { root, path } = place.unwrap_or_default();
        match root {
            None => Ok(Self::Anywhere(path.try_into()?)),
            Some(root) => Ok(Self::Beneath {
                root: root.try_into()?,
                path: relative(path)?,
            }),
        }
    }
}

fn relative(path: Bytes) -> Result<PathBuf, InvalidPath> {
    if path.contains(&0) {
        return Err(InvalidPath::Nul);
    }
    if path.len() > PATH_MAX {
        return Err(InvalidPath::TooLong);
    }
    if path.starts_with(b"/") {
        return Err(InvalidPath::NotRelative);
    }
    match path.is_empty() {
        true => Ok(PathBuf::from(".")),
        false => Ok(PathBuf::from(OsString::from_vec(path.into()))),
    }
}

impl Place {
    /// The location, after its links. Waits for the file system.
    pub(super) fn locate(&self, default: Directory) -> Result<OwnedFd, FilesError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match self {
            Self::Anywhere(path) => {
                open(path.or_default(default), flags, Mode::empty()).map_err(FilesError::of_place)
            }
            Self::Beneath { root, path } => {
                let root = open(root.or_default(default), flags | OFlags::DIRECTORY, Mode::empty());
                beneath(root.map_err(FilesError::of_place)?, path, flags)
            }
        }
    }
}

impl Place {
    /// The directories between a root and this place, from the root on, if the path has no `..`: the root, and the names
    /// that lead from it to the place.
    pub(super) fn way(&self, default: Directory) -> Option<(OwnedFd, Vec<&OsStr>)> {
        let Self::Beneath { root, path } = self else {
            return None;
        };
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir => {}
                _ => return None,
            }
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let root = open(root.or_default(default), flags, Mode::empty()).ok()?;
        Some((root, names))
    }
}

/// A name in a directory, which need not exist.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    directory: Place,
    name: OsString,
}

impl TryFrom<Option<files::Place>> for Target {
    type Error = InvalidPath;

    fn try_from(place: Option<files::Place>) -> Result<Self, InvalidPath> {
        let files::Place { root, path } = place.unwrap_or_default();
        // The whole path must be one, too: an empty directory would be the default directory.
        Place::try_from(Some(files::Place {
            root: root.clone(),
            path: path.clone(),
        }))?;
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let name = path.slice(slash.map_or(0, |slash| slash + 1)..);
        if matches!(&name[..], b"" | b"." | b"..") {
            return Err(InvalidPath::NoName);
        }
        let directory = match slash {
            Some(0) => Bytes::from_static(b"/"),
            slash => path.slice(..slash.unwrap_or(0)),
        };
        let place = files::Place {
            root,
            path: directory,
        };
        Ok(Self {
            directory: Place::try_from(Some(place))?,
            name: OsString::from_vec(name.into()),
        })
    }
}

impl Target {
    /// The location of the directory, after its links. Waits for the file system.
    pub(super) fn directory(&self, default: Directory) -> Result<OwnedFd, FilesError> {
        self.directory.locate(default)
    }

    /// One name, and not `.` or `..`.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }
}

/// Opens `path`, which stays below the directory `root`.
pub(super) fn beneath(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, FilesError> {
    resolve(root, path, flags, ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below the directory `root`, through no symbolic link. With O_PATH and O_NOFOLLOW, the last component may be
/// one, which is then what is opened.
pub(super) fn without_links(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, FilesError> {
    resolve(root, path, flags, ResolveFlags::NO_SYMLINKS)
}

fn resolve(root: impl AsFd, path: &Path, flags: OFlags, links: ResolveFlags) -> Result<OwnedFd, FilesError> {
    let resolve = ResolveFlags::BENEATH | links;
    for _ in 0..BENEATH_RETRIES {
        match openat2(&root, path, flags, Mode::empty(), resolve) {
            Ok(opened) => return Ok(opened),
            // Something was renamed during the call, so the kernel cannot tell whether a `..` left the root.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::XDEV) => return Err(FilesError::OutsideRoot),
            Err(Errno::NOSYS) => return Err(FilesError::NoRoots),
            Err(errno) => return Err(FilesError::of_place(errno)),
        }
    }
    Err(FilesError::Io(Errno::AGAIN.into()))
}

/// Opens a location for reading, if it is a regular file. Anything else is neither opened nor waited for.
pub(super) fn open_regular(location: &OwnedFd) -> Result<File, FilesError> {
    let found = fstat(location).map_err(FilesError::of_place)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(FilesError::NotRegular);
    }
    // The descriptor is the file that was looked at, whatever its name means by now.
    let path = format!("/proc/self/fd/{}", location.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        Err(errno) => Err(FilesError::of_place(errno)),
    }
}

/// Opens a location for listing, if it is a directory.
pub(super) fn open_directory(location: &OwnedFd) -> Result<OwnedFd, FilesError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(location, ".", flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR => FilesError::NotADirectory,
        errno => FilesError::of_place(errno),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: Option<&'static [u8]>, path: &'static [u8]) -> Result<Place, InvalidPath> {
        Place::try_from(Some(files::Place {
            root: root.map(Bytes::from_static),
            path: Bytes::from_static(path),
        }))
    }

    #[test]
    fn a_target_is_a_name_in_a_directory() {
        let target = |root: Option<&'static [u8]>, path: &'static [u8]| {
            Target::try_from(Some(files::Place {
                root: root.map(Bytes::from_static),
                path: Bytes::from_static(path),
            }))
        };
        for (root, path, directory, name) in [
            (None, &b"/a"[..], &b"/"[..], "a"),
            (None, b"/a/b", b"/a", "b"),
            (None, b"/a//b", b"/a/", "b"),
            (Some(&b"/srv"[..]), b"a", b"", "a"),
            (Some(b""), b"../a/...", b"../a", "..."),
        ] {
            let found = target(root, path).unwrap();
            assert_eq!(found.name(), name);
            assert_eq!(found.directory, place(root, directory).unwrap(), "{path:?}");
        }
        for (root, path, error) in [
            (None, &b""[..], InvalidPath::NoName),
            (None, b"/", InvalidPath::NoName),
            (None, b"/a/", InvalidPath::NoName),
            (None, b"/a/..", InvalidPath::NoName),
            (Some(&b"/srv"[..]), b"", InvalidPath::NoName),
            (Some(b"/srv"), b".", InvalidPath::NoName),
            (None, b"a", InvalidPath::Relative),
            (Some(b"/srv"), b"/a", InvalidPath::NotRelative),
        ] {
            assert_eq!(target(root, path), Err(error), "{path:?}");
        }
    }

    #[test]
    fn a_place_is_a_path_or_a_relative_path_below_one() {
        assert!(matches!(place(None, b"/a"), Ok(Place::Anywhere(_))));
        assert!(matches!(Place::try_from(None), Ok(Place::Anywhere(_))));
        let Ok(Place::Beneath { root, path }) = place(Some(b"/srv"), b"a/../b") else {
            panic!()
        };
        assert_eq!(
            (root.path(), &*path),
            (Some(Path::new("/srv")), Path::new("a/../b"))
        );
        let Ok(Place::Beneath { root, path }) = place(Some(b""), b"") else {
            panic!()
        };
        assert_eq!((root.path(), &*path), (None, Path::new(".")));
        for (root, path, error) in [
            (None, &b"a"[..], InvalidPath::Relative),
            (Some(&b"srv"[..]), b"a", InvalidPath::Relative),
            (Some(b"/srv"), b"/a", InvalidPath::NotRelative),
            (Some(b"/srv"), b"a\0", InvalidPath::Nul),
            (Some(b"/srv\0"), b"a", InvalidPath::Nul),
            (Some(b"/srv"), &[b'a'; PATH_MAX + 1], InvalidPath::TooLong),
        ] {
            assert_eq!(place(root, path), Err(error), "{root:?} {path:?}");
        }
    }
}
