//! The entries below a directory, in order.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::vec::IntoIter;

use baton_proto::files::{Truncation, Unsearched};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};

use super::ignored::Ignores;
use super::selection::{Filter, Selection};
use super::{Halt, Results};
use crate::files::error::FilesError;
use crate::files::place::{Place, without_links};
use crate::limits::{WALK_BYTES_MAX, WALK_ENTRY_BYTES};
use crate::settings::Directory;

/// Visits what is below a place, depth first: a directory before its content, and entries by the bytes of their names.
/// Holds the names that it has yet to visit, and no descriptor but the place's.
pub(super) struct Walk {
    base: OwnedFd,
    filter: Filter,
    hidden: bool,
    ignores: Option<Ignores>,
    levels: Vec<Level>,
    /// The path of the last visited entry, from the root if there is one.
    path: Vec<u8>,
    /// Where its part below the place begins.
    from: usize,
    /// Bytes of the names in `levels`, as [`WALK_BYTES_MAX`] counts them.
    held: usize,
    unreadable: u64,
}

struct Level {
    entries: IntoIter<Entry>,
    /// The length of the directory's path, with the `/` behind it.
    path_len: usize,
}

struct Entry {
    name: Box<[u8]>,
    is_directory: bool,
}

impl Entry {
    fn cost(&self) -> usize {
        self.name.len() + WALK_ENTRY_BYTES
    }
}

impl Walk {
    /// `base` is the directory `place`.
    pub(super) fn new(
        base: OwnedFd,
        place: &Place,
        default: Directory,
        selection: &Selection,
    ) -> Result<Self, FilesError> {
        let mut path = Vec::new();
        let mut ignores = selection.gitignore.then(Ignores::default);
        if let Some(ignores) = &mut ignores
            && let Some((root, names)) = place.way(default)
        {
            for name in names {
                let from = path.len();
                let directory = path[..].strip_suffix(b"/").unwrap_or(&path);
                ignores.enter(&root, directory, from)?;
                path.extend_from_slice(name.as_bytes());
                path.push(b'/');
            }
        }
        Ok(Self {
            base,
            filter: selection.compile()?,
            hidden: selection.hidden,
            ignores,
            levels: Vec::new(),
            from: path.len(),
            path,
            held: 0,
            unreadable: 0,
        })
    }

    /// Reads the place itself. Comes first.
    pub(super) fn begin<T, M>(&mut self, results: &mut Results<'_, T, M>) -> Result<(), Halt> {
        self.enter(results)
    }

    /// The path of the entry that was visited last, relative to the place.
    pub(super) fn path(&self) -> &[u8] {
        &self.path[self.from..]
    }

    /// What was passed over so far.
    pub(super) fn unsearched(&self) -> Unsearched {
        Unsearched {
            unreadable: self.unreadable,
            ignore_files: self.ignores.as_ref().map_or(0, |ignores| ignores.skipped),
        }
    }

    /// Goes to the next selected entry, and says whether it is a directory. `None`: there is none any more.
    pub(super) fn next<T, M>(&mut self, results: &mut Results<'_, T, M>) -> Result<Option<bool>, Halt> {
        loop {
            results.tick()?;
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            // With the `/` behind a directory that was just entered.
            self.path.resize(level.path_len, b'/');
            let Some(entry) = level.entries.next() else {
                self.levels.pop();
                if let Some(ignores) = &mut self.ignores {
                    ignores.leave();
                }
                continue;
            };
            self.held -= entry.cost();
            self.path.extend_from_slice(&entry.name);
            let is_directory = entry.is_directory;
            let is_ignored = self
                .ignores
                .as_ref()
                .is_some_and(|ignores| ignores.is_ignored(&self.path, is_directory));
            if is_ignored || self.filter.is_excluded(self.path(), is_directory) {
                continue;
            }
            if is_directory {
                self.enter(results)?;
            }
            if self.filter.is_selected(self.path(), is_directory) {
                return Ok(Some(is_directory));
            }
        }
    }

    /// The location of the entry that was visited last, which may be a symbolic link. `None`: it is gone, or was passed
    /// over.
    pub(super) fn locate(&mut self) -> Result<Option<OwnedFd>, FilesError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = without_links(&self.base, Path::new(OsStr::from_bytes(self.path())), flags);
        self.unless_passed_over(opened)
    }

    /// Counts a file that failed while it was read.
    pub(super) fn count_unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// Passes over what concerns one entry. `None`: it is gone, or was passed over.
    ///
    /// # Errors
    /// What concerns the machine.
    pub(super) fn unless_passed_over<T>(
        &mut self,
        opened: Result<T, FilesError>,
    ) -> Result<Option<T>, FilesError> {
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if error.is_of_the_machine() => Err(error),
            Err(error) => {
                // Removed, or replaced by a link, since its directory was read.
                self.unreadable += u64::from(!matches!(error, FilesError::Absent));
                Ok(None)
            }
        }
    }

    /// Reads the directory at `path`.
    fn enter<T, M>(&mut self, results: &mut Results<'_, T, M>) -> Result<(), Halt> {
        let path = match self.path() {
            b"" => Path::new("."),
            path => Path::new(OsStr::from_bytes(path)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = without_links(&self.base, path, flags)
            .and_then(|directory| Dir::new(directory).map_err(FilesError::of_place));
        let Some(mut directory) = self.unless_passed_over(opened)? else {
            return Ok(());
        };
        let mut entries = Vec::new();
        while let Some(entry) = directory.read() {
            results.tick()?;
            let Ok(entry) = entry else {
                self.unreadable += 1;
                break;
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || !self.hidden && name.starts_with(b".") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not tell it with the name.
                FileType::Unknown => kind(&directory, name),
                kind => kind,
            };
            let entry = Entry {
                name: name.into(),
                is_directory: kind == FileType::Directory,
            };
            self.held += entry.cost();
            if self.held > WALK_BYTES_MAX {
                return Err(Halt::Truncated(Truncation::Entries));
            }
            entries.push(entry);
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let directory_len = self.path.len();
        let has_name = directory_len > self.from;
        let path_len = directory_len + usize::from(has_name);
        if let Some(ignores) = &mut self.ignores {
            ignores.enter(&self.base, &self.path[self.from..], path_len)?;
        }
        self.levels.push(Level {
            entries: entries.into_iter(),
            path_len,
        });
        Ok(())
    }
}

fn kind(directory: &Dir, name: &[u8]) -> FileType {
    let Ok(directory) = directory.fd() else {
        return FileType::Unknown;
    };
    let found = statat(directory, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW);
    found.map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode))
}
