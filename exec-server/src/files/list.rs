//! The entries of a directory, page by page.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use baton_proto::files::file_status::Kind;
use baton_proto::files::{DirectoryEntry, FileStatus, ListPage};
use baton_proto::limits::{LIST_PAGE_MAX, PAGE_BYTES_MAX};
use bytes::Bytes;
use prost::Message as _;
use rustix::fs::{AtFlags, Dir, readlinkat, statat};
use rustix::io::Errno;

use super::error::FilesError;
use super::place::{Place, open_directory};
use super::stat::of_stat;
use super::transfers::{Outbox, Stop};
use crate::settings::Directory;

/// Gives the pages of `List`. Holds one page.
pub(super) fn list(place: &Place, default: Directory, outbox: &Outbox<ListPage>) -> Result<(), Stop> {
    let directory = open_directory(&place.locate(default)?)?;
    let mut entries = Dir::read_from(&directory).map_err(FilesError::of_place)?;
    let (mut page, mut bytes) = (ListPage::default(), 0);
    while let Some(entry) = entries.read() {
        let entry = entry.map_err(FilesError::of_place)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let Some(entry) = look(&directory, OsStr::from_bytes(name)) else {
            continue;
        };
        bytes += entry.encoded_len();
        page.entries.push(entry);
        if page.entries.len() == LIST_PAGE_MAX || bytes >= PAGE_BYTES_MAX {
            outbox.put(std::mem::take(&mut page))?;
            bytes = 0;
        }
    }
    if !page.entries.is_empty() {
        outbox.put(page)?;
    }
    Ok(())
}

/// `None`: it was removed since.
fn look(directory: &OwnedFd, name: &OsStr) -> Option<DirectoryEntry> {
    let status = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Some(of_stat(&found)),
        Err(Errno::NOENT) => return None,
        Err(_) => None,
    };
    let is_link = status.as_ref().map(FileStatus::kind) == Some(Kind::SymbolicLink);
    let target = is_link
        .then(|| readlinkat(directory, name, Vec::new()).ok())
        .flatten();
    Some(DirectoryEntry {
        name: Bytes::copy_from_slice(name.as_bytes()),
        status,
        target: target
            .map(|target| target.into_bytes().into())
            .unwrap_or_default(),
    })
}
