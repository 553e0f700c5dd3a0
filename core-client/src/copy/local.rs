//! This machine's side of a copy.
//!
//! Everything below the source or the destination is named by the descriptor of its directory and one name, and no name
//! is followed if it is a symbolic link (O_NOFOLLOW). So a link that somebody plants in the tree, before the copy or
//! during it, leads neither a read nor a write out of it. Only what the caller has named is followed.
//!
//! These functions wait for the file system: they run on threads of their own ([`blocking`]).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context as Sha256, SHA256};
use baton_proto::limits::LIST_PAGE_MAX;
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use tokio::task::{JoinError, spawn_blocking};

use super::CopyError;
use super::names::{checked, ends_in_slash, without_slashes};
use crate::files::FileKind;
use crate::limits::COPY_BATCH;

/// Permission bits that a copy takes over: no set-user-ID, set-group-ID and sticky bit.
pub(super) const PERMISSIONS: u32 = 0o777;

/// Without these bits of its owner a directory cannot be filled.
pub(super) const TO_FILL: u32 = 0o700;

/// Bytes that are read at least, in case that a file has become longer.
const READ_MIN: usize = 4096;

/// Runs work that waits for the file system on another thread. If the future is dropped, the work goes on to its end.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CopyError> + Send + 'static,
) -> Result<T, CopyError> {
    joined(spawn_blocking(work).await)
}

/// Runs work of each item, one after the other, on another thread.
pub(super) async fn each<I: Send + 'static, T: Send + 'static>(
    items: Vec<I>,
    work: impl Fn(I) -> Result<T, CopyError> + Send + 'static,
) -> Vec<Result<T, CopyError>> {
    let count = items.len();
    let work = move || items.into_iter().map(work).collect::<Vec<_>>();
    let lost = |error: JoinError| {
        (0..count)
            .map(|_| Err(thread_lost(io::Error::other(error.to_string()))))
            .collect()
    };
    spawn_blocking(work).await.unwrap_or_else(lost)
}

fn thread_lost(source: io::Error) -> CopyError {
    CopyError::Local {
        action: "finish a thread",
        source,
    }
}

/// The result of work on another thread.
pub(super) fn joined<T>(ended: Result<Result<T, CopyError>, JoinError>) -> Result<T, CopyError> {
    ended.unwrap_or_else(|error| Err(thread_lost(io::Error::other(error))))
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    /// The permission bits that it gets when it is dropped, because with them it could not be filled.
    last_mode: Option<u32>,
}

/// Where a download goes.
#[derive(Debug)]
pub(super) enum Target {
    /// Into this directory.
    Directory(Arc<Directory>),
    /// Under this name.
    Name(TargetName),
}

/// A name in a directory, which has a regular file or nothing.
#[derive(Debug)]
pub(super) struct TargetName {
    pub(super) directory: Arc<Directory>,
    pub(super) name: OsString,
    /// Something that is no directory has the name.
    pub(super) is_taken: bool,
    /// The caller's path ends in `/`.
    pub(super) is_directory_only: bool,
}

/// What the caller has named as the source of an upload.
#[derive(Debug)]
pub(super) enum Origin {
    File(Source),
    Directory(Directory, u32),
}

/// A page of the entries of a directory.
#[derive(Debug)]
pub(super) struct Entries {
    dir: Dir,
    directory: Arc<Directory>,
}

/// An entry of a directory, without following it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) status: Result<EntryStatus, Errno>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct EntryStatus {
    pub(super) kind: FileKind,
    pub(super) size: u64,
    pub(super) mode: u32,
}

/// A regular file that is read from its beginning.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    before: Stat,
    read: u64,
    is_at_end: bool,
    is_changed: bool,
}

/// A file that is not whole yet. Drop removes it, unless it was renamed.
#[derive(Debug)]
pub(super) struct Part {
    directory: Arc<Directory>,
    name: OsString,
    file: Arc<File>,
    /// It stays if it is dropped.
    pub(super) is_kept: bool,
}

impl Target {
    /// Looks at the destination of a download. Its links are followed.
    pub(super) fn look(path: &Path) -> Result<Self, CopyError> {
        let failed = |source| CopyError::Local {
            action: "look at the destination",
            source,
        };
        let is_taken = match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                return Ok(Self::Directory(Arc::new(Directory::open_target(path)?)));
            }
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        // The target of a link is replaced, and the link stays one.
        let path = match is_taken {
            true => fs::canonicalize(path).map_err(failed)?,
            false => path.to_owned(),
        };
        let bare = without_slashes(&path);
        let name = bare.file_name().ok_or(CopyError::TargetNeedsName)?;
        let parent = bare.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(Self::Name(TargetName {
            directory: Arc::new(Directory::open_target(parent.unwrap_or(Path::new(".")))?),
            name: name.to_owned(),
            is_taken,
            is_directory_only: ends_in_slash(&path),
        }))
    }
}

impl Origin {
    /// Opens the source of an upload. Its links are followed.
    pub(super) fn open(path: &Path, is_recursive: bool) -> Result<Self, CopyError> {
        let found = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CopyError::NoSource,
            _ => CopyError::Local {
                action: "look at the source",
                source,
            },
        })?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open =
            |flags| openat(CWD, path, flags, Mode::empty()).map_err(CopyError::local("open the source"));
        match () {
            () if found.is_dir() && !is_recursive => Err(CopyError::IsDirectory),
            () if found.is_dir() => {
                let fd = open(flags | OFlags::DIRECTORY)?;
                let status = fstat(&fd).map_err(CopyError::local("look at the source"))?;
                Ok(Self::Directory(
                    Directory { fd, last_mode: None },
                    permissions(&status),
                ))
            }
            // Neither waits for a FIFO's writer nor touches a device.
            () if !found.is_file() => Err(CopyError::NotRegular),
            () => Ok(Self::File(Source::new(open(flags)?)?)),
        }
    }
}

impl Directory {
    /// Opens a directory that the caller has named, to make files in it. Its links are followed.
    fn open_target(path: &Path) -> Result<Self, CopyError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty());
        Ok(Self {
            fd: fd.map_err(CopyError::local("open the destination's directory"))?,
            last_mode: None,
        })
    }

    /// Opens a directory in this one, to list it.
    pub(super) fn enter(&self, name: &OsStr) -> Result<Self, CopyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, checked(name)?, flags, Mode::empty());
        Ok(Self {
            fd: fd.map_err(CopyError::local("open the directory"))?,
            last_mode: None,
        })
    }

    /// Makes a directory in this one, or opens the one that has the name, which keeps its mode.
    pub(super) fn make(&self, name: &OsStr, mode: u32) -> Result<Self, CopyError> {
        let name = checked(name)?;
        // Nobody else enters it before it has its mode.
        let is_made = match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(CopyError::local("make the directory")(errno)),
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let access = match is_made {
            true => OFlags::RDONLY,
            // It need not be readable.
            false => OFlags::PATH,
        };
        let fd = match openat(&self.fd, name, flags | access, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(CopyError::TargetIsNoDirectory),
            Err(errno) => return Err(CopyError::local("open the directory")(errno)),
        };
        let mut made = Self { fd, last_mode: None };
        if is_made {
            let mode = mode & PERMISSIONS;
            fchmod(&made.fd, Mode::from_raw_mode(mode | TO_FILL))
                .map_err(CopyError::local("set the mode of the directory"))?;
            made.last_mode = Some(mode).filter(|mode| mode & TO_FILL != TO_FILL);
        }
        Ok(made)
    }

    /// Opens a regular file in this directory.
    pub(super) fn open_file(&self, name: &OsStr) -> Result<Source, CopyError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match openat(&self.fd, checked(name)?, flags, Mode::empty()) {
            Ok(fd) => Source::new(fd),
            // A link or a socket that has taken the place of the listed file.
            Err(Errno::LOOP | Errno::NXIO) => Err(CopyError::NotRegular),
            Err(errno) => Err(CopyError::local("open the file")(errno)),
        }
    }

    /// Whether a file may be given this name: only a regular file is replaced.
    pub(super) fn check_target(&self, name: &OsStr) -> Result<(), CopyError> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Ok(found) if kind(&found) == FileKind::File => Ok(()),
            Ok(_) => Err(CopyError::TargetNotRegular),
            Err(errno) => Err(CopyError::local("look at the destination")(errno)),
        }
    }

    /// Opens a file of this directory that an earlier copy may have left: see [`resume`](super::resume).
    pub(super) fn open_part(&self, name: &OsStr, create: OFlags) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(&self.fd, name, flags | create, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Whether an open file has this name.
    pub(super) fn has_part(&self, name: &OsStr, file: &Stat) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|found| (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(mode) = self.last_mode {
            // This process has made it, so it is its owner.
            let _ = fchmod(&self.fd, Mode::from_raw_mode(mode));
        }
    }
}

impl Entries {
    /// Lists a directory that was opened to be listed.
    pub(super) fn of(directory: Arc<Directory>) -> Result<Self, CopyError> {
        let dir = Dir::read_from(&directory.fd).map_err(CopyError::local("list the directory"))?;
        Ok(Self { dir, directory })
    }

    /// The next entries, and whether there may be more.
    pub(super) fn page(&mut self) -> Result<(Vec<Entry>, bool), CopyError> {
        let mut page = Vec::new();
        while page.len() < LIST_PAGE_MAX {
            let Some(entry) = self.dir.read() else {
                return Ok((page, false));
            };
            let entry = entry.map_err(CopyError::local("list the directory"))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let name = OsStr::from_bytes(name);
            let status = match statat(&self.directory.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => Ok(EntryStatus {
                    kind: kind(&found),
                    size: size(&found),
                    mode: permissions(&found),
                }),
                // It was removed meanwhile.
                Err(Errno::NOENT) => continue,
                Err(errno) => Err(errno),
            };
            page.push(Entry {
                name: name.to_owned(),
                status,
            });
        }
        Ok((page, true))
    }
}

impl Source {
    fn new(fd: OwnedFd) -> Result<Self, CopyError> {
        let before = fstat(&fd).map_err(CopyError::local("look at the file"))?;
        match kind(&before) {
            FileKind::File => Ok(Self {
                file: fd.into(),
                before,
                read: 0,
                is_at_end: false,
                is_changed: false,
            }),
            _ => Err(CopyError::NotRegular),
        }
    }

    pub(super) fn mode(&self) -> u32 {
        permissions(&self.before)
    }

    /// The size when it was opened.
    pub(super) fn size(&self) -> u64 {
        size(&self.before)
    }

    /// Whether everything was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// The SHA-256 of the first bytes, and how many there are, at most `length`.
    pub(super) fn hash_first(&self, length: u64) -> Result<(Vec<u8>, u64), CopyError> {
        hash_first(&self.file, length)
    }

    /// Goes on behind the first bytes.
    pub(super) fn seek(&mut self, length: u64) -> Result<(), CopyError> {
        let sought = (&self.file).seek(SeekFrom::Start(length));
        sought.map_err(|source| CopyError::Local {
            action: "read the file",
            source,
        })?;
        (self.read, self.is_at_end) = (length, false);
        Ok(())
    }

    /// The next bytes, at most a batch. Fewer are the last ones.
    pub(super) fn read(&mut self) -> Result<Bytes, CopyError> {
        let expected = self.size().saturating_sub(self.read).saturating_add(1);
        let expected = usize::try_from(expected).unwrap_or(COPY_BATCH);
        let mut batch = Vec::with_capacity(expected.clamp(READ_MIN, COPY_BATCH));
        while batch.len() < batch.capacity() {
            match rustix::io::read(&self.file, spare_capacity(&mut batch)) {
                Ok(0) => {
                    self.is_at_end = true;
                    self.is_changed = self.differs()?;
                    break;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(CopyError::local("read the file")(errno)),
            }
        }
        self.read += batch.len() as u64;
        Ok(batch.into())
    }

    /// Whether the file was changed before everything was read.
    pub(super) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Whether the file differs from what it was when it was opened.
    fn differs(&self) -> Result<bool, CopyError> {
        let version = |file: &Stat| {
            let modified = (file.st_mtime, file.st_mtime_nsec);
            (file.st_size, modified, file.st_ctime, file.st_ctime_nsec)
        };
        let now = fstat(&self.file).map_err(CopyError::local("look at the file"))?;
        Ok(version(&now) != version(&self.before))
    }
}

impl Part {
    /// Makes an empty file beside a name, if that may be replaced.
    pub(super) fn create(directory: &Arc<Directory>, target: &OsStr) -> Result<Self, CopyError> {
        directory.check_target(checked(target)?)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| CopyError::Local {
            action: "draw a random name",
            source: io::Error::other(error),
        })?;
        let name = OsString::from(format!(".baton-{:016x}.tmp", u64::from_ne_bytes(random)));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else reads it before it has its mode.
        let file = openat(&directory.fd, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(CopyError::local("make a file"))?;
        Ok(Self::of(directory, name, file.into()))
    }

    /// An open file of a directory.
    pub(super) fn of(directory: &Arc<Directory>, name: OsString, file: File) -> Self {
        Self {
            directory: Arc::clone(directory),
            name,
            file: Arc::new(file),
            is_kept: false,
        }
    }

    /// The file, for threads that write it. It stays open while they do.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Gives the whole file its mode and its name.
    pub(super) fn commit(mut self, target: &OsStr, mode: u32) -> Result<(), CopyError> {
        let target = checked(target)?;
        self.directory.check_target(target)?;
        fchmod(&self.file, Mode::from_raw_mode(mode & PERMISSIONS))
            .map_err(CopyError::local("set the mode of the file"))?;
        let directory = &self.directory.fd;
        match renameat(directory, &self.name, directory, target) {
            Ok(()) => {
                self.is_kept = true;
                Ok(())
            }
            // A directory that was made meanwhile.
            Err(Errno::ISDIR | Errno::NOTEMPTY) => Err(CopyError::TargetNotRegular),
            Err(errno) => Err(CopyError::local("give the file its name")(errno)),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = unlinkat(&self.directory.fd, &self.name, AtFlags::empty());
        }
    }
}

/// The SHA-256 of the first bytes of a file, and how many there are, at most `length`.
pub(super) fn hash_first(file: &File, length: u64) -> Result<(Vec<u8>, u64), CopyError> {
    let (mut context, mut piece, mut hashed) = (Sha256::new(&SHA256), vec![0; COPY_BATCH], 0);
    loop {
        let wanted = usize::try_from(length - hashed)
            .unwrap_or(COPY_BATCH)
            .min(COPY_BATCH);
        match file.read_at(piece.get_mut(..wanted).unwrap_or_default(), hashed) {
            Ok(0) => return Ok((context.finish().as_ref().to_vec(), hashed)),
            Ok(read) => {
                context.update(piece.get(..read).unwrap_or_default());
                hashed += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(CopyError::Local {
                    action: "read the file",
                    source,
                });
            }
        }
    }
}

/// Appends pieces to a file.
pub(super) fn write_all(mut file: &File, pieces: &[Bytes]) -> Result<(), CopyError> {
    pieces.iter().try_for_each(|piece| {
        file.write_all(piece).map_err(|source| CopyError::Local {
            action: "write the file",
            source,
        })
    })
}

/// Writes a whole file.
pub(super) fn write_whole(
    directory: &Arc<Directory>,
    name: &OsStr,
    mode: u32,
    pieces: &[Bytes],
) -> Result<(), CopyError> {
    let part = Part::create(directory, name)?;
    write_all(&part.file, pieces)?;
    part.commit(name, mode)
}

pub(super) fn kind(found: &Stat) -> FileKind {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Unknown => FileKind::Other,
    }
}

pub(super) fn size(found: &Stat) -> u64 {
    u64::try_from(found.st_size).unwrap_or_default()
}

fn permissions(found: &Stat) -> u32 {
    found.st_mode & PERMISSIONS
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;

    /// A directory with the directory `copy`, which is open, and the file `secret`.
    fn fixture() -> (TempDir, Arc<Directory>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("copy")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let Target::Directory(copy) = Target::look(&dir.path().join("copy")).unwrap() else {
            panic!("a directory")
        };
        (dir, copy)
    }

    fn pieces(text: &'static str) -> [Bytes; 1] {
        [Bytes::from_static(text.as_bytes())]
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_hostile_name_makes_nothing_and_opens_nothing() {
        let (dir, copy) = fixture();
        for bad in ["", ".", "..", "../secret", "/etc/passwd", "a/b", "a\0"] {
            let bad = OsStr::new(bad);
            for refused in [
                copy.make(bad, 0o755).err(),
                copy.enter(bad).err(),
                copy.open_file(bad).err(),
                write_whole(&copy, bad, 0o644, &pieces("x")).err(),
            ] {
                assert!(
                    matches!(refused, Some(CopyError::NotAName)),
                    "{bad:?} {refused:?}"
                );
            }
        }
        assert_eq!(names(dir.path()), ["copy", "secret"]);
        assert!(names(&dir.path().join("copy")).is_empty());
    }

    #[test]
    fn a_planted_link_is_neither_followed_nor_replaced() {
        let (dir, copy) = fixture();
        let at = dir.path().join("copy");
        symlink("../secret", at.join("file")).unwrap();
        symlink("..", at.join("directory")).unwrap();
        symlink("../absent", at.join("dangling")).unwrap();
        for name in ["file", "directory", "dangling"] {
            let name = OsStr::new(name);
            let refused = write_whole(&copy, name, 0o644, &pieces("x")).unwrap_err();
            assert!(matches!(refused, CopyError::TargetNotRegular), "{refused:?}");
            let refused = copy.make(name, 0o755).unwrap_err();
            assert!(matches!(refused, CopyError::TargetIsNoDirectory), "{refused:?}");
            assert!(copy.open_file(name).is_err() && copy.enter(name).is_err());
        }
        // One that is planted while the file arrives.
        let part = Part::create(&copy, OsStr::new("late")).unwrap();
        write_all(&part.file(), &pieces("x")).unwrap();
        symlink("../secret", at.join("late")).unwrap();
        let refused = part.commit(OsStr::new("late"), 0o644).unwrap_err();
        assert!(matches!(refused, CopyError::TargetNotRegular), "{refused:?}");
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"secret");
        assert_eq!(names(dir.path()), ["copy", "secret"]);
        assert_eq!(
            names(&at),
            ["dangling", "directory", "file", "late"],
            "no part is left"
        );
    }

    #[test]
    fn a_directory_gets_its_mode_when_it_is_filled_and_loses_its_special_bits() {
        let (dir, copy) = fixture();
        let mode = |name: &str| fs::metadata(dir.path().join("copy").join(name)).unwrap().mode() & 0o7777;
        let made = Arc::new(copy.make(OsStr::new("closed"), 0o6555).unwrap());
        write_whole(&made, OsStr::new("inside"), 0o7644, &pieces("x")).unwrap();
        assert_eq!((mode("closed"), mode("closed/inside")), (0o755, 0o644));
        drop(made);
        assert_eq!(mode("closed"), 0o555);
        // One that existed keeps its mode.
        let path = dir.path().join("copy/closed");
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        drop(copy.make(OsStr::new("closed"), 0o555).unwrap());
        assert_eq!(mode("closed"), 0o700);
    }

    #[test]
    fn a_file_that_grows_is_read_to_its_end_and_counts_as_changed() {
        let (dir, copy) = fixture();
        let path = dir.path().join("copy/file");
        fs::write(&path, vec![1; COPY_BATCH + 1]).unwrap();
        let mut source = copy.open_file(OsStr::new("file")).unwrap();
        assert_eq!(source.read().unwrap().len(), COPY_BATCH);
        assert!(!source.is_at_end());
        fs::write(&path, vec![1; COPY_BATCH + 9000]).unwrap();
        let mut rest = 0;
        while !source.is_at_end() {
            rest += source.read().unwrap().len();
        }
        assert_eq!(rest, 9000);
        assert!(source.is_changed());
    }
}
