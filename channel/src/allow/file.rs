//! Reads the file of an allow-list, if only its owner can change it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use baton_noise::access::Exposure;
use baton_regular_file::{OpenError, RegularFile};

use super::AllowError;
use crate::limits::ALLOW_LIST_MAX;

/// The bytes of an allow-list; empty if the file is missing.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, AllowError> {
    let failed = |source| AllowError::Read {
        path: path.into(),
        source,
    };
    // Also if the file is missing: another user could create it.
    check_folder(path, folder(path))?;
    let file = match RegularFile::open(path) {
        Ok(file) => file,
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(OpenError::Io(error)) => return Err(failed(error)),
        Err(OpenError::NotRegular) => return Err(AllowError::NotAFile { path: path.into() }),
    };
    if let Some(exposure) = Exposure::to_change(file.metadata()) {
        return Err(AllowError::Exposed {
            path: path.into(),
            exposure,
        });
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        let target = fs::canonicalize(path).map_err(failed)?;
        check_folder(path, folder(&target))?;
    }
    file.read(ALLOW_LIST_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => AllowError::TooLarge { path: path.into() },
        _ => failed(error),
    })
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        _ => PathBuf::from("."),
    }
}

/// Refuses a directory that other users can change: they could replace the list.
fn check_folder(path: &Path, folder: PathBuf) -> Result<(), AllowError> {
    let found = match fs::metadata(&folder) {
        // Without a directory there is no list either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|source| AllowError::Read {
            path: path.into(),
            source,
        })?,
    };
    match Exposure::to_change(&found) {
        None => Ok(()),
        Some(exposure) => Err(AllowError::FolderExposed {
            path: path.into(),
            folder,
            exposure,
        }),
    }
}
