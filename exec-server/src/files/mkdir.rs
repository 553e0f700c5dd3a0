//! Makes directories.

use std::os::fd::OwnedFd;
use std::time::Instant;

use baton_export::clock;
use baton_proto::files::{self, MkdirRequest, MkdirResponse};
use rustix::fs::{FileType, Mode, OFlags, fchmod, fstat, mkdirat, openat};
use rustix::io::Errno;

use super::error::{FilesError, InvalidPath};
use super::place::{Place, Target};
use super::write::{PERMISSIONS, open_parent};
use crate::settings::Directory;

/// A checked `MkdirRequest`.
pub(super) struct MkdirOrder {
    /// As requested.
    requested: files::Place,
    /// The directory as what may exist.
    place: Place,
    /// The directory as what is to be made.
    target: Target,
    mode: Option<u32>,
    parents: bool,
}

impl TryFrom<MkdirRequest> for MkdirOrder {
    type Error = InvalidPath;

    fn try_from(request: MkdirRequest) -> Result<Self, InvalidPath> {
        let MkdirRequest { place, mode, parents } = request;
        Ok(Self {
            requested: place.clone().unwrap_or_default(),
            target: Target::try_from(place.clone())?,
            place: Place::try_from(place)?,
            mode: mode.map(|mode| mode & PERMISSIONS),
            parents,
        })
    }
}

impl MkdirOrder {
    /// The parents that may have to be made, the outermost first. One without a name, such as `a/..`, must exist.
    fn parents(&self) -> impl Iterator<Item = Target> {
        let files::Place { root, path } = &self.requested;
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.filter_map(|(at, _)| {
            let place = files::Place {
                root: root.clone(),
                path: path.slice(..at),
            };
            Target::try_from(Some(place)).ok()
        })
    }
}

/// The answer of `Mkdir`. Waits for the file system; gives up between two directories once the deadline has passed.
pub(super) fn mkdir(
    order: &MkdirOrder,
    default: Directory,
    deadline: Instant,
) -> Result<MkdirResponse, FilesError> {
    if order.parents && order.place.locate(default).is_ok() {
        return existing(order, default);
    }
    for parent in order.parents().filter(|_| order.parents) {
        if clock::now() >= deadline {
            return Err(FilesError::TimedOut);
        }
        match mkdirat(
            open_parent(&parent, default)?,
            parent.name(),
            Mode::from_raw_mode(0o777),
        ) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(FilesError::of_place(errno)),
        }
    }
    let last = &order.target;
    let directory = open_parent(last, default)?;
    let mode = match order.mode {
        // Nobody else enters it before it has its mode.
        Some(_) => 0o700,
        None => 0o777,
    };
    match mkdirat(&directory, last.name(), Mode::from_raw_mode(mode)) {
        Ok(()) => {}
        Err(Errno::EXIST) if order.parents => return existing(order, default),
        Err(Errno::EXIST) => return Err(FilesError::Exists),
        Err(errno) => return Err(FilesError::of_place(errno)),
    }
    if let Some(mode) = order.mode {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made: OwnedFd =
            openat(&directory, last.name(), flags, Mode::empty()).map_err(FilesError::of_place)?;
        fchmod(&made, Mode::from_raw_mode(mode)).map_err(FilesError::of_place)?;
    }
    Ok(MkdirResponse { created: true })
}

/// The answer where something has the name.
fn existing(order: &MkdirOrder, default: Directory) -> Result<MkdirResponse, FilesError> {
    let found = fstat(order.place.locate(default)?).map_err(FilesError::of_place)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Ok(MkdirResponse { created: false }),
        _ => Err(FilesError::Exists),
    }
}
