//! The file of an allow-list: read whole, and only if nobody but its owner can change it.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use baton_noise::access::Exposure;
use rustix::fs::OFlags;

use super::AllowError;
use crate::limits::ALLOW_LIST_MAX;

/// The bytes of an allow-list; none for a missing one.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, AllowError> {
    let failed = |source| AllowError::Read {
        path: path.into(),
        source,
    };
    // Of a missing list, too: somebody else could make one.
    check_folder(path, folder(path))?;
    // A FIFO would make whoever opens it wait: the handshake of a client, or a session under its lock.
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(without_waiting)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(AllowError::NotAFile { path: path.into() });
    }
    if let Some(exposure) = Exposure::to_change(&metadata) {
        return Err(AllowError::Exposed {
            path: path.into(),
            exposure,
        });
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        let target = fs::canonicalize(path).map_err(failed)?;
        check_folder(path, folder(&target))?;
    }
    let mut text = Vec::new();
    file.take(ALLOW_LIST_MAX + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > ALLOW_LIST_MAX {
        return Err(AllowError::TooLarge { path: path.into() });
    }
    Ok(text)
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        _ => PathBuf::from("."),
    }
}

/// Whoever can change a directory can put another list into it.
fn check_folder(path: &Path, folder: PathBuf) -> Result<(), AllowError> {
    let found = match fs::metadata(&folder) {
        // Without a directory there is no list either.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
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
