//! The part of a file that stays when a `Write` ends early, and behind which a later one goes on.
//!
//! It is an ordinary file beside the target, in a directory that others may write to. So it is used only if it is a plain
//! file of this process's user with one link, if nobody else writes to it, and if it has the hash that the client states.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use aws_lc_rs::digest::{Context, SHA256};
use baton_proto::files::WriteResume;
use baton_proto::part_name;
use bytes::Bytes;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, flock, fstat, ftruncate, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::error::{FilesError, InvalidPath, InvalidWrite};
use super::read::hash_first;
use super::request::checked_hash;

/// A checked `WriteResume`.
#[derive(Debug, Clone)]
pub(super) struct Resume {
    /// Bytes of the part that are kept.
    pub(super) offset: u64,
    /// Their hash. Empty with an offset of 0.
    sha256: Bytes,
}

/// An open part, at the place where it goes on.
pub(super) struct Part {
    pub(super) name: OsString,
    pub(super) file: File,
    /// Over its bytes.
    pub(super) context: Context,
}

impl TryFrom<WriteResume> for Resume {
    type Error = InvalidWrite;

    fn try_from(resume: WriteResume) -> Result<Self, InvalidWrite> {
        let WriteResume { offset, sha256 } = resume;
        // The kernel counts in signed numbers.
        match (offset, sha256.is_empty()) {
            (0, true) => Ok(Self { offset, sha256 }),
            (1.., false) if i64::try_from(offset).is_ok() => Ok(Self {
                offset,
                sha256: checked_hash(sha256)?,
            }),
            _ => Err(InvalidWrite::Resume),
        }
    }
}

impl Resume {
    /// Opens the part of the file `target`, or makes it, and drops what is behind the offset.
    pub(super) fn open(&self, directory: &OwnedFd, target: &OsStr) -> Result<Part, FilesError> {
        let name = part_name(target.as_bytes()).ok_or(InvalidPath::TooLong)?;
        let name = OsString::from_vec(name);
        let create = match self.offset {
            0 => OFlags::CREATE,
            _ => OFlags::empty(),
        };
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // Nobody else reads it before it has its mode.
        let mut file = match openat(directory, &name, flags | create, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Err(FilesError::Changed),
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(FilesError::NotRegular),
            Err(errno) => return Err(FilesError::of_place(errno)),
        };
        // File systems without locks have other errors.
        if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            return Err(FilesError::PartInUse);
        }
        let found = fstat(&file).map_err(FilesError::of_place)?;
        // The writer that held the lock may have given the file its final name.
        let has_name = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|named| (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino));
        let is_own = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && found.st_nlink == 1
            && found.st_uid == geteuid().as_raw();
        if !is_own {
            return Err(FilesError::NotRegular);
        }
        if !has_name {
            return Err(FilesError::PartInUse);
        }
        let context = match self.offset {
            0 => Context::new(&SHA256),
            offset => {
                let (context, length) = hash_first(&file, offset)?;
                if length != offset || context.clone().finish().as_ref() != &self.sha256[..] {
                    return Err(FilesError::Changed);
                }
                context
            }
        };
        ftruncate(&file, self.offset).map_err(FilesError::of_place)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(FilesError::Io)?;
        Ok(Part { name, file, context })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use aws_lc_rs::digest::digest;

    use super::*;

    fn opened(directory: &Path, resume: &Resume) -> Result<Part, FilesError> {
        let directory = OwnedFd::from(File::open(directory).unwrap());
        resume.open(&directory, OsStr::new("a"))
    }

    fn behind(bytes: &[u8]) -> Resume {
        Resume {
            offset: bytes.len() as u64,
            sha256: Bytes::copy_from_slice(digest(&SHA256, bytes).as_ref()),
        }
    }

    const ANEW: Resume = Resume {
        offset: 0,
        sha256: Bytes::new(),
    };

    #[test]
    fn a_part_is_cut_behind_the_bytes_that_have_the_hash_and_others_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".a.baton-part");
        let absent = opened(dir.path(), &behind(b"one")).err().unwrap();
        assert!(matches!(absent, FilesError::Changed), "{absent:?}");
        fs::write(&path, "one, two").unwrap();
        for wrong in [&b"One"[..], b"one, two, three"] {
            let refused = opened(dir.path(), &behind(wrong)).err().unwrap();
            assert!(matches!(refused, FilesError::Changed), "{refused:?}");
            assert_eq!(fs::read(&path).unwrap(), b"one, two");
        }
        let mut part = opened(dir.path(), &behind(b"one")).unwrap_or_else(|error| panic!("{error}"));
        std::io::Write::write_all(&mut part.file, b"!").unwrap();
        part.context.update(b"!");
        assert_eq!(fs::read(&path).unwrap(), b"one!");
        assert_eq!(part.context.finish().as_ref(), digest(&SHA256, b"one!").as_ref());
        drop(part.file);
        assert!(opened(dir.path(), &ANEW).is_ok());
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_part_that_is_a_link_or_in_use_is_neither_followed_nor_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join(".a.baton-part"), dir.path().join("other"));
        fs::write(&other, "other").unwrap();
        for link in [
            &(|| symlink(&other, &path)) as &dyn Fn() -> std::io::Result<()>,
            &|| symlink(dir.path().join("absent"), &path),
            &|| fs::hard_link(&other, &path),
            &|| fs::create_dir(&path),
        ] {
            link().unwrap();
            for resume in [&ANEW, &behind(b"oth")] {
                let refused = opened(dir.path(), resume).err().unwrap();
                assert!(matches!(refused, FilesError::NotRegular), "{refused:?}");
            }
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
        assert_eq!(fs::read(&other).unwrap(), b"other");
        assert!(!dir.path().join("absent").exists());
        let first = opened(dir.path(), &ANEW).unwrap_or_else(|error| panic!("{error}"));
        let refused = opened(dir.path(), &ANEW).err().unwrap();
        assert!(matches!(refused, FilesError::PartInUse), "{refused:?}");
        drop(first);
        assert!(opened(dir.path(), &ANEW).is_ok());
    }

    #[test]
    fn a_part_goes_on_behind_bytes_with_a_hash_or_begins_anew() {
        let resume = |offset, hash: usize| {
            Resume::try_from(WriteResume {
                offset,
                sha256: vec![7; hash].into(),
            })
        };
        assert!(resume(0, 0).is_ok() && resume(1, 32).is_ok());
        for (offset, hash, error) in [
            (0, 32, InvalidWrite::Resume),
            (1, 0, InvalidWrite::Resume),
            (1 << 63, 32, InvalidWrite::Resume),
            (1, 31, InvalidWrite::Hash),
        ] {
            assert_eq!(resume(offset, hash).unwrap_err(), error, "{offset} {hash}");
        }
    }
}
