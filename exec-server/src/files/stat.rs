//! The status of one path.

use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use baton_proto::files::absence::Reason;
use baton_proto::files::file_status::Kind;
use baton_proto::files::stat_response::Answer;
use baton_proto::files::{Absence, FileStatus, StatResponse};
use bytes::Bytes;
use rustix::fs::Stat;
use rustix::io::Errno;

use super::error::{FilesError, InvalidPath};

/// Set-user-ID, set-group-ID, sticky bit and permissions.
const MODE_BITS: u32 = 0o7777;

/// The answer of `Stat`. Waits for the file system.
pub(super) fn stat(path: &Path, follow: bool) -> Result<StatResponse, FilesError> {
    let found = match follow {
        true => fs::metadata(path),
        false => fs::symlink_metadata(path),
    };
    let answer = match found {
        Ok(found) => Answer::Found(status(&found, path, follow)),
        Err(error) => Answer::Absence(Absence {
            reason: absence(error)?.into(),
        }),
    };
    Ok(StatResponse { answer: Some(answer) })
}

fn status(found: &Metadata, path: &Path, follow: bool) -> FileStatus {
    let canonical = follow.then(|| fs::canonicalize(path).ok()).flatten();
    FileStatus {
        canonical_path: canonical
            .map(|path| path.into_os_string().into_vec().into())
            .unwrap_or_default(),
        ..of_metadata(found)
    }
}

/// The status of an open file, without a canonical path.
pub(super) fn of_metadata(found: &Metadata) -> FileStatus {
    FileStatus {
        kind: kind(found.file_type()).into(),
        size: found.size(),
        mode: found.mode() & MODE_BITS,
        modified_unix_s: found.mtime(),
        modified_ns: u32::try_from(found.mtime_nsec()).unwrap_or_default(),
        canonical_path: Bytes::new(),
    }
}

/// The status of an entry of a directory, without a canonical path.
pub(super) fn of_stat(found: &Stat) -> FileStatus {
    let kind = match rustix::fs::FileType::from_raw_mode(found.st_mode) {
        rustix::fs::FileType::RegularFile => Kind::RegularFile,
        rustix::fs::FileType::Directory => Kind::Directory,
        rustix::fs::FileType::Symlink => Kind::SymbolicLink,
        rustix::fs::FileType::Fifo => Kind::Fifo,
        rustix::fs::FileType::Socket => Kind::Socket,
        rustix::fs::FileType::CharacterDevice => Kind::CharacterDevice,
        rustix::fs::FileType::BlockDevice => Kind::BlockDevice,
        rustix::fs::FileType::Unknown => Kind::Unspecified,
    };
    FileStatus {
        kind: kind.into(),
        size: u64::try_from(found.st_size).unwrap_or_default(),
        mode: found.st_mode & MODE_BITS,
        modified_unix_s: found.st_mtime,
        modified_ns: u32::try_from(found.st_mtime_nsec).unwrap_or_default(),
        canonical_path: Bytes::new(),
    }
}

fn kind(file: FileType) -> Kind {
    match () {
        () if file.is_file() => Kind::RegularFile,
        () if file.is_dir() => Kind::Directory,
        () if file.is_symlink() => Kind::SymbolicLink,
        () if file.is_fifo() => Kind::Fifo,
        () if file.is_socket() => Kind::Socket,
        () if file.is_char_device() => Kind::CharacterDevice,
        () if file.is_block_device() => Kind::BlockDevice,
        () => Kind::Unspecified,
    }
}

fn absence(error: io::Error) -> Result<Reason, FilesError> {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Reason::NotFound),
        Some(Errno::ACCESS | Errno::PERM) => Ok(Reason::NotPermitted),
        Some(Errno::NAMETOOLONG) => Err(InvalidPath::TooLong.into()),
        _ => Err(FilesError::Io(error)),
    }
}
