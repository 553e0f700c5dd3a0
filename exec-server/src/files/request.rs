//! Checked requests: their types hold only values that name one thing on the file system.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use aws_lc_rs::digest::SHA256;
use baton_proto::limits::{MARKERS_MAX, NAME_MAX, PATH_MAX, READ_MANY_MAX};
use bytes::Bytes;

use super::error::{InvalidMarkers, InvalidPath, InvalidWrite};
use crate::settings::Directory;

/// An absolute path, or the default directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestedPath(Option<PathBuf>);

/// Names in a directory, in the order in which they count.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Markers(Vec<OsString>);

/// One name in a directory.
fn is_name(name: &Bytes) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
        && !matches!(&name[..], b"." | b"..")
}

/// Names of files in one directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileNames(Vec<OsString>);

/// A SHA-256.
pub(super) fn checked_hash(hash: Bytes) -> Result<Bytes, InvalidWrite> {
    match hash.len() == SHA256.output_len() {
        true => Ok(hash),
        false => Err(InvalidWrite::Hash),
    }
}

impl TryFrom<Bytes> for RequestedPath {
    type Error = InvalidPath;

    fn try_from(path: Bytes) -> Result<Self, InvalidPath> {
        if path.is_empty() {
            return Ok(Self(None));
        }
        if path.contains(&0) {
            return Err(InvalidPath::Nul);
        }
        if path.len() > PATH_MAX {
            return Err(InvalidPath::TooLong);
        }
        let path = PathBuf::from(OsString::from_vec(path.into()));
        match path.is_absolute() {
            true => Ok(Self(Some(path))),
            false => Err(InvalidPath::Relative),
        }
    }
}

impl RequestedPath {
    /// The path, or the default directory. May wait for the file system.
    pub(super) fn or_default(&self, default: Directory) -> PathBuf {
        match &self.0 {
            Some(path) => path.clone(),
            None => default.present(),
        }
    }

    /// `None` is the default directory.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn path(&self) -> Option<&std::path::Path> {
        self.0.as_deref()
    }
}

impl TryFrom<Vec<Bytes>> for Markers {
    type Error = InvalidMarkers;

    fn try_from(markers: Vec<Bytes>) -> Result<Self, InvalidMarkers> {
        if !(1..=MARKERS_MAX).contains(&markers.len()) {
            return Err(InvalidMarkers::Count);
        }
        if !markers.iter().all(is_name) {
            return Err(InvalidMarkers::Name);
        }
        let names = markers.iter().map(|name| OsStr::from_bytes(name).to_owned());
        Ok(Self(names.collect()))
    }
}

impl TryFrom<Vec<Bytes>> for FileNames {
    type Error = InvalidPath;

    fn try_from(names: Vec<Bytes>) -> Result<Self, InvalidPath> {
        if !(1..=READ_MANY_MAX).contains(&names.len()) {
            return Err(InvalidPath::NamesCount);
        }
        if !names.iter().all(is_name) {
            return Err(InvalidPath::NotAName);
        }
        let names = names.iter().map(|name| OsStr::from_bytes(name).to_owned());
        Ok(Self(names.collect()))
    }
}

impl FileNames {
    pub(super) fn iter(&self) -> impl Iterator<Item = &OsStr> {
        self.0.iter().map(OsString::as_os_str)
    }
}

impl Markers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &OsStr> {
        self.0.iter().map(OsString::as_os_str)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn path(bytes: &[u8]) -> Result<RequestedPath, InvalidPath> {
        RequestedPath::try_from(Bytes::copy_from_slice(bytes))
    }

    fn markers(names: &[&[u8]]) -> Result<Markers, InvalidMarkers> {
        Markers::try_from(
            names
                .iter()
                .map(|name| Bytes::copy_from_slice(name))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_path_is_absolute_or_empty_and_as_long_as_the_kernel_takes() {
        assert_eq!(path(b""), Ok(RequestedPath(None)));
        assert_eq!(path(b"/").unwrap().path(), Some(Path::new("/")));
        let longest = ["/", &"a".repeat(PATH_MAX - 1)].concat();
        assert!(path(longest.as_bytes()).is_ok());
        for (bytes, error) in [
            (&b"a/b"[..], InvalidPath::Relative),
            (b"./a", InvalidPath::Relative),
            (b"~", InvalidPath::Relative),
            (b"\0", InvalidPath::Nul),
            (b"/a\0b", InvalidPath::Nul),
            (&[longest.as_bytes(), b"a"].concat(), InvalidPath::TooLong),
        ] {
            assert_eq!(path(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn markers_are_one_to_sixteen_names_in_one_directory() {
        let longest = vec![b'a'; NAME_MAX];
        for names in [
            &[&b".git"[..]][..],
            &[&b"..."[..]; MARKERS_MAX],
            &[&longest],
            &[b"\xff\n"],
        ] {
            assert!(markers(names).is_ok(), "{names:?}");
        }
        for names in [&[][..], &[&b"a"[..]; MARKERS_MAX + 1]] {
            assert_eq!(markers(names), Err(InvalidMarkers::Count));
        }
        let too_long = vec![b'a'; NAME_MAX + 1];
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &too_long] {
            assert_eq!(markers(&[b"fine", name]), Err(InvalidMarkers::Name), "{name:?}");
        }
    }

    #[test]
    fn files_that_are_read_together_are_one_to_thirty_two_names_in_one_directory() {
        let names = |names: &[&[u8]]| {
            let names = names.iter().map(|name| Bytes::copy_from_slice(name));
            FileNames::try_from(names.collect::<Vec<_>>())
        };
        let longest = vec![b'a'; NAME_MAX];
        for fine in [&[&b"..."[..]; READ_MANY_MAX][..], &[&longest], &[b"\xff\n"]] {
            assert_eq!(names(fine).unwrap().iter().count(), fine.len());
        }
        for count in [&[][..], &[&b"a"[..]; READ_MANY_MAX + 1]] {
            assert_eq!(names(count), Err(InvalidPath::NamesCount));
        }
        let too_long = vec![b'a'; NAME_MAX + 1];
        for name in [&b""[..], b".", b"..", b"../a", b"a/b", b"/", b"a\0", &too_long] {
            assert_eq!(names(&[b"fine", name]), Err(InvalidPath::NotAName), "{name:?}");
        }
    }
}
