//! The nearest ancestor of a directory that holds a marker.
//!
//! The start is resolved first, so the ancestors are those of the directory that it leads to, as for git. A directory
//! in which a marker could not be looked up is passed over and counted: the answer may be wrong because of it.
//!
//! The directories may change meanwhile. An answer is given only if the start is still the directory that it was.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use baton_export::clock;
use baton_proto::files::unreadable_directory::Reason;
use baton_proto::files::{FindUpResponse, FoundDirectory, UnreadableDirectory};
use bytes::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, open, statat};
use rustix::io::Errno;

use super::error::FilesError;
use super::request::Markers;

/// What one directory holds.
enum Held<'a> {
    Marker(&'a OsStr),
    Nothing,
    Unknown(Reason),
}

/// The answer of `FindUp`. Waits for the file system; gives up between two directories once the deadline has passed.
pub(super) fn find_up(
    start: &Path,
    markers: &Markers,
    deadline: Instant,
) -> Result<FindUpResponse, FilesError> {
    let start = fs::canonicalize(start).map_err(FilesError::of_start)?;
    let identity = identity(&start)?;
    let mut answer = FindUpResponse {
        start: bytes(&start),
        ..FindUpResponse::default()
    };
    for (depth, directory) in (0..).zip(start.ancestors()) {
        if clock::now() >= deadline {
            return Err(FilesError::TimedOut);
        }
        match held(directory, markers)? {
            Held::Marker(marker) => {
                answer.found = Some(FoundDirectory {
                    directory: bytes(directory),
                    marker: Bytes::copy_from_slice(marker.as_bytes()),
                    depth,
                });
                break;
            }
            Held::Nothing => {}
            Held::Unknown(reason) => {
                answer.unreadable += 1;
                answer
                    .first_unreadable
                    .get_or_insert_with(|| UnreadableDirectory {
                        directory: bytes(directory),
                        reason: reason.into(),
                    });
            }
        }
    }
    match self::identity(&start) {
        Ok(now) if now == identity => Ok(answer),
        _ => Err(FilesError::Vanished),
    }
}

/// Device and inode of a start directory.
fn identity(start: &Path) -> Result<(u64, u64), FilesError> {
    let found = fs::symlink_metadata(start).map_err(FilesError::of_start)?;
    match found.is_dir() {
        true => Ok((found.dev(), found.ino())),
        false => Err(FilesError::StartNotADirectory),
    }
}

fn held<'a>(directory: &Path, markers: &'a Markers) -> Result<Held<'a>, FilesError> {
    // Markers are looked up beside a descriptor, because directory and marker together may be longer than a path.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory: OwnedFd = match open(directory, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(FilesError::Vanished),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
            return Err(FilesError::Io(Errno::MFILE.into()));
        }
        Err(errno) => return Ok(Held::Unknown(reason(errno))),
    };
    let mut unknown = None;
    for marker in markers.iter() {
        match statat(&directory, marker, AtFlags::empty()) {
            Ok(_) => return Ok(Held::Marker(marker)),
            // Not there, or a link that leads nowhere.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {}
            Err(errno) => {
                unknown.get_or_insert(reason(errno));
            }
        }
    }
    Ok(unknown.map_or(Held::Nothing, Held::Unknown))
}

fn reason(errno: Errno) -> Reason {
    match errno {
        Errno::ACCESS | Errno::PERM => Reason::NotPermitted,
        _ => Reason::IoFailed,
    }
}

fn bytes(path: &Path) -> Bytes {
    path.as_os_str().to_owned().into_vec().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn markers() -> Markers {
        Markers::try_from(vec![Bytes::from_static(b".baton-marker")]).unwrap()
    }

    #[test]
    fn a_search_ends_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let now = clock::now();
        let found = find_up(dir.path(), &markers(), now + Duration::from_secs(60)).unwrap();
        assert_eq!((found.found, found.unreadable), (None, 0));
        let late = find_up(dir.path(), &markers(), now).unwrap_err();
        assert!(matches!(late, FilesError::TimedOut), "{late:?}");
    }

    #[test]
    fn a_directory_that_is_removed_or_replaced_meanwhile_has_vanished() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        for replaced in [false, true] {
            if replaced {
                fs::write(&gone, b"").unwrap();
            }
            let error = held(&gone, &markers()).err().unwrap();
            assert!(matches!(error, FilesError::Vanished), "{error:?}");
        }
    }
}
