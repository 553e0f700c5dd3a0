//! The entries of a directory.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::vec::IntoIter;

use baton_proto::files::{ListPage, ListRequest};
use baton_proto::limits::{LIST_PAGE_MAX, NAME_MAX, PATH_MAX};
use tonic::Streaming;

use super::{FilePlace, FileStatus, Files, FilesError};

/// The entries of a directory, in the order of the exec-server's file system. Drop ends the call.
#[derive(Debug)]
pub struct Listing {
    pages: Streaming<ListPage>,
    page: IntoIter<DirectoryEntry>,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryEntry {
    /// Its name: 1 to 255 bytes without `/` and NUL, not `.` and `..`. It may be no UTF-8, and may hold control
    /// characters.
    pub name: OsString,
    /// Its status, without a canonical path; of a symbolic link, that of the link. `None`: the exec-server's user may list
    /// the directory and not look at the entry.
    pub status: Option<FileStatus>,
    /// The path that a symbolic link holds. It is not checked, and may lead anywhere or nowhere.
    pub target: Option<PathBuf>,
}

impl Files {
    /// The entries of a directory, without `.` and `..`. A symbolic link to a directory is followed.
    ///
    /// An entry that is made or removed meanwhile may be missing. Memory: a page of at most 512 entries at a time.
    ///
    /// # Errors
    /// [`FilesError`], also by [`Listing::next`].
    pub async fn list(&self, place: impl Into<FilePlace>) -> Result<Listing, FilesError> {
        let place = Some(place.into().into_wire());
        let pages = self.client.clone().list(ListRequest { place }).await?;
        Ok(Listing {
            pages: pages.into_inner(),
            page: Vec::new().into_iter(),
        })
    }
}

impl Listing {
    /// The next entry; `None` after the last. Cancellation safe.
    ///
    /// # Errors
    /// [`FilesError`]. The entries so far are not all of the directory's.
    pub async fn next(&mut self) -> Result<Option<DirectoryEntry>, FilesError> {
        loop {
            if let Some(entry) = self.page.next() {
                return Ok(Some(entry));
            }
            let Some(page) = self.pages.message().await? else {
                return Ok(None);
            };
            if !(1..=LIST_PAGE_MAX).contains(&page.entries.len()) {
                return Err(FilesError::Protocol(
                    "a page with no entry, or with more than it may have",
                ));
            }
            let entries = page.entries.into_iter().map(DirectoryEntry::try_from);
            self.page = entries.collect::<Result<Vec<_>, _>>()?.into_iter();
        }
    }
}

impl TryFrom<baton_proto::files::DirectoryEntry> for DirectoryEntry {
    type Error = FilesError;

    fn try_from(entry: baton_proto::files::DirectoryEntry) -> Result<Self, FilesError> {
        let is_name = (1..=NAME_MAX).contains(&entry.name.len())
            && !entry.name.iter().any(|byte| matches!(byte, 0 | b'/'))
            && !matches!(&entry.name[..], b"." | b"..");
        if !is_name || entry.target.len() > PATH_MAX {
            return Err(FilesError::Protocol("an entry of a directory that is no name"));
        }
        let target = Some(entry.target).filter(|target| !target.is_empty());
        Ok(Self {
            name: OsStr::from_bytes(&entry.name).to_owned(),
            status: entry.status.map(FileStatus::try_from).transpose()?,
            target: target.map(|target| PathBuf::from(OsString::from_vec(target.into()))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn an_entry_whose_name_is_none_is_refused() {
        let entry = |name: &[u8]| {
            DirectoryEntry::try_from(baton_proto::files::DirectoryEntry {
                name: Bytes::copy_from_slice(name),
                ..Default::default()
            })
        };
        for name in [&b"a"[..], b"...", b"\xff\n", &[b'a'; NAME_MAX]] {
            assert_eq!(entry(name).unwrap().name.as_bytes(), name);
        }
        // Names that would lead a copy out of its directory.
        for name in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"/",
            b"../a",
            b"a\0",
            &[b'a'; NAME_MAX + 1],
        ] {
            let refused = entry(name).unwrap_err();
            assert!(matches!(refused, FilesError::Protocol(_)), "{refused:?}");
        }
    }
}
