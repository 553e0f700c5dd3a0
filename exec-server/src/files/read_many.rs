//! Small regular files of one directory, read whole by one call.
//!
//! The directory is located as every place is, so a root holds it. A name in it is opened as a location only (O_PATH) and
//! not followed if it is a symbolic link (O_NOFOLLOW): no name leads out of the directory. What fails for one file is
//! told of that file.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use baton_proto::files::small_file::Kind;
use baton_proto::files::{ReadManyResponse, SmallFile, TooLarge, WholeFile};
use baton_proto::limits::{FILE_PIECE_MAX, SMALL_FILE_MAX};
use rustix::fs::{Mode, OFlags, openat};

use super::error::FilesError;
use super::place::Place;
use super::read::{Reader, WHOLE};
use super::request::FileNames;
use super::stat::of_metadata;
use super::transfers::{Outbox, Stop};
use super::write::directory_only;
use crate::settings::Directory;

/// Gives the answer of `ReadMany`. Holds one message.
pub(super) fn read_many(
    place: &Place,
    names: &FileNames,
    default: Directory,
    outbox: &Outbox<ReadManyResponse>,
) -> Result<(), Stop> {
    let directory = directory_only(place.locate(default)?, FilesError::NotADirectory)?;
    let (mut message, mut bytes) = (ReadManyResponse::default(), 0);
    for name in names.iter() {
        let kind = read(&directory, name).unwrap_or_else(|error| Kind::Failed(error.detail()));
        let length = match &kind {
            Kind::Whole(whole) => whole.data.len(),
            Kind::Failed(_) | Kind::TooLarge(_) => 0,
        };
        if bytes + length > FILE_PIECE_MAX {
            outbox.put(std::mem::take(&mut message))?;
            bytes = 0;
        }
        bytes += length;
        message.files.push(SmallFile { kind: Some(kind) });
    }
    outbox.put(message)?;
    Ok(())
}

fn read(directory: &OwnedFd, name: &OsStr) -> Result<Kind, FilesError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let location = openat(directory, name, flags, Mode::empty()).map_err(FilesError::of_place)?;
    let mut reader = Reader::of(&location, WHOLE)?;
    let mut data = Vec::new();
    if reader.before.len() > SMALL_FILE_MAX as u64 {
        return Ok(Kind::TooLarge(TooLarge {}));
    }
    while data.len() <= SMALL_FILE_MAX {
        let start = data.len();
        data.resize(start + reader.piece_len().min(SMALL_FILE_MAX + 1 - start), 0);
        let read = reader.read(&mut data[start..])?;
        data.truncate(start + read);
        if read == 0 {
            return Ok(Kind::Whole(WholeFile {
                status: Some(of_metadata(&reader.before)),
                data: data.into(),
                changed: reader.is_changed()?,
            }));
        }
    }
    // It has grown since, or it is one whose size is not told, as in `/proc`.
    Ok(Kind::TooLarge(TooLarge {}))
}
