//! Replaces a file as a whole.
//!
//! ```text
//! start ──► directory located ──► what is there checked ──► temporary file ◄── data
//! end   ──► hash checked ──► owner, mode, fsync ──► what is there checked again ──► rename ──► fsync of the directory
//! ```
//!
//! The target's name is never opened for writing and no link at it is followed, so neither a link nor a FIFO that is
//! swapped in leads the bytes elsewhere: a rename replaces the name itself.
//!
//! Writers of one exec-server to one name take turns from the second check to the rename ([`Commits`]). So of two that
//! expect the same hash, one fails. Programs of other kinds do not take turns.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256};
use baton_export::clock;
use baton_proto::files::{WriteResponse, WriteStart};
use baton_proto::limits::FILE_PIECE_MAX;
use bytes::Bytes;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fchmod, fchown, fstat, fsync, linkat, openat,
    renameat, renameat_with, unlinkat,
};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::error::{FilesError, InvalidWrite};
use super::part::{Part, Resume};
use super::place::{Target, open_directory, open_regular};
use super::read::{hash_of, sha256};
use super::request::checked_hash;
use super::stat::of_stat;
use super::transfers::Inbox;
use crate::limits::WRITE_TIMEOUT;
use crate::settings::Directory;

/// Permission bits that a client may set: no set-user-ID, set-group-ID and sticky bit.
pub(super) const PERMISSIONS: u32 = 0o777;

/// A checked `WriteStart`.
pub(super) struct WriteOrder {
    target: Target,
    condition: Condition,
    mode: Option<u32>,
    sync: bool,
    resume: Option<Resume>,
}

/// What must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    None,
    Absent,
    Hash(Bytes),
}

/// What the thread of a `Write` gets.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    /// The last: without it nothing is replaced.
    End {
        /// Empty: not checked.
        sha256: Bytes,
    },
}

/// The names that are being replaced. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Commits(Arc<(Mutex<HashSet<Name>>, Condvar)>);

/// Device and inode of a directory, and a name in it.
type Name = (u64, u64, OsString);

/// A name that nobody else replaces. Drop gives it back.
struct Commit {
    commits: Commits,
    name: Name,
}

/// A file that vanishes when it is dropped, unless it was renamed.
struct Temporary<'a> {
    directory: &'a OwnedFd,
    name: OsString,
    file: File,
    is_renamed: bool,
    /// It stays if it has any bytes.
    is_kept: bool,
}

impl TryFrom<WriteStart> for WriteOrder {
    type Error = FilesError;

    fn try_from(start: WriteStart) -> Result<Self, FilesError> {
        let target = Target::try_from(start.place)?;
        let condition = match (start.if_absent, start.if_hash) {
            (false, hash) if hash.is_empty() => Condition::None,
            (true, hash) if hash.is_empty() => Condition::Absent,
            (true, _) => return Err(InvalidWrite::Conditions.into()),
            (false, hash) => Condition::Hash(checked_hash(hash)?),
        };
        Ok(Self {
            target,
            condition,
            mode: start.mode.map(|mode| mode & PERMISSIONS),
            sync: start.sync,
            resume: start.resume.map(Resume::try_from).transpose()?,
        })
    }
}

impl WriteOrder {
    /// The order of the requests that follow.
    pub(super) fn sequence(&self) -> Sequence {
        Sequence {
            received: self.resume.as_ref().map_or(0, |resume| resume.offset),
        }
    }
}

/// The answer of `Write`. Waits for the file system and for the client.
pub(super) fn write(
    order: &WriteOrder,
    default: Directory,
    commits: &Commits,
    inbox: &mut Inbox<Piece>,
) -> Result<WriteResponse, FilesError> {
    let directory = open_parent(&order.target, default)?;
    let name = order.target.name();
    let old = order.condition.check(&directory, name)?;
    let (mut temporary, context) = match &order.resume {
        None => {
            let temporary = Temporary::create(&directory, order.mode, old.as_ref())?;
            (temporary, Context::new(&SHA256))
        }
        Some(resume) => Temporary::of_part(&directory, resume.open(&directory, name)?),
    };
    let sha256 = temporary.fill(inbox, context)?;
    temporary.take_after(old.as_ref(), order.mode)?;
    // Opened before the rename, because it may not be permitted.
    let synced = order.sync.then(|| open_directory(&directory)).transpose()?;
    if order.sync {
        fsync(&temporary.file).map_err(FilesError::of_place)?;
    }
    let commit = commits.begin(&directory, name)?;
    let replaced = order.condition.check(&directory, name)?.is_some();
    temporary.rename(name, order.condition == Condition::Absent)?;
    drop(commit);
    if let Some(directory) = synced {
        fsync(directory).map_err(FilesError::of_place)?;
    }
    let status = fstat(&temporary.file).map_err(FilesError::of_place)?;
    Ok(WriteResponse {
        status: Some(of_stat(&status)),
        sha256,
        replaced,
    })
}

/// The directory of a target. A file in its place has no entries.
pub(super) fn open_parent(target: &Target, default: Directory) -> Result<OwnedFd, FilesError> {
    directory_only(target.directory(default)?, FilesError::Absent)
}

/// A location, if it is a directory.
pub(super) fn directory_only(location: OwnedFd, otherwise: FilesError) -> Result<OwnedFd, FilesError> {
    let found = fstat(&location).map_err(FilesError::of_place)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Ok(location),
        _ => Err(otherwise),
    }
}

impl Condition {
    /// What has the name: a regular file, or nothing. An error if that is not as it must be.
    fn check(&self, directory: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, FilesError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match openat(directory, name, flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                return match self {
                    Self::Hash(_) => Err(FilesError::Changed),
                    Self::None | Self::Absent => Ok(None),
                };
            }
            Err(errno) => return Err(FilesError::of_place(errno)),
        };
        if *self == Self::Absent {
            return Err(FilesError::Exists);
        }
        let status = fstat(&found).map_err(FilesError::of_place)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(FilesError::NotRegular);
        }
        if let Self::Hash(expected) = self
            && hash_of(&open_regular(&found)?)? != *expected
        {
            return Err(FilesError::Changed);
        }
        Ok(Some(status))
    }
}

impl<'a> Temporary<'a> {
    fn create(directory: &'a OwnedFd, mode: Option<u32>, old: Option<&Stat>) -> Result<Self, FilesError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| FilesError::Io(std::io::Error::other("no randomness")))?;
        let name = OsString::from(format!(".baton-{:016x}.tmp", u64::from_ne_bytes(random)));
        // Where the final mode is known, nobody else reads the file before it has that mode and its owner.
        let mode = match mode.is_some() || old.is_some() {
            true => Mode::RUSR | Mode::WUSR,
            false => Mode::from_raw_mode(0o666),
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(directory, &name, flags, mode).map_err(FilesError::of_place)?;
        Ok(Self {
            directory,
            name,
            file: file.into(),
            is_renamed: false,
            is_kept: false,
        })
    }

    fn of_part(directory: &'a OwnedFd, part: Part) -> (Self, Context) {
        let Part { name, file, context } = part;
        let temporary = Self {
            directory,
            name,
            file,
            is_renamed: false,
            is_kept: true,
        };
        (temporary, context)
    }

    /// Writes what arrives up to the end. The hash of it, behind what `context` has.
    fn fill(&mut self, inbox: &mut Inbox<Piece>, mut context: Context) -> Result<Bytes, FilesError> {
        loop {
            match inbox.take().ok_or(InvalidWrite::Cut)? {
                Piece::Data(data) => {
                    context.update(&data);
                    self.file.write_all(&data).map_err(of_io)?;
                }
                Piece::End { sha256: expected } => {
                    let hash = sha256(context);
                    return match expected.is_empty() || expected == hash {
                        true => Ok(hash),
                        false => Err(InvalidWrite::OtherBytes.into()),
                    };
                }
            }
        }
    }

    /// Gives the file its mode, and the owner of the file that it replaces where this process may.
    fn take_after(&self, old: Option<&Stat>, mode: Option<u32>) -> Result<(), FilesError> {
        let mut inherited = None;
        if let Some(old) = old {
            let own = fstat(&self.file).map_err(FilesError::of_place)?;
            let mut has_group = own.st_gid == old.st_gid;
            if !has_group || own.st_uid != old.st_uid {
                let group = Some(Gid::from_raw(old.st_gid));
                let both = fchown(&self.file, Some(Uid::from_raw(old.st_uid)), group);
                has_group = both.is_ok() || fchown(&self.file, None, group).is_ok();
            }
            let permissions = old.st_mode & PERMISSIONS;
            inherited = Some(match has_group {
                true => permissions,
                false => without_group(permissions),
            });
        }
        let Some(mode) = mode.or(inherited) else {
            return Ok(());
        };
        // After the owner: a change of it clears bits.
        fchmod(&self.file, Mode::from_raw_mode(mode)).map_err(FilesError::of_place)
    }

    fn rename(&mut self, name: &OsStr, only_if_absent: bool) -> Result<(), FilesError> {
        let of_rename = |errno| match errno {
            Errno::EXIST => FilesError::Exists,
            // A directory that was made meanwhile.
            Errno::ISDIR | Errno::NOTEMPTY => FilesError::NotRegular,
            errno => FilesError::of_place(errno),
        };
        let directory = self.directory.as_fd();
        let renamed = match only_if_absent {
            false => renameat(directory, &self.name, directory, name),
            true => {
                let flags = RenameFlags::NOREPLACE;
                match renameat_with(directory, &self.name, directory, name, flags) {
                    // File systems without this flag. Here the temporary name goes when `self` is dropped.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        self.is_kept = false;
                        return linkat(directory, &self.name, directory, name, AtFlags::empty())
                            .map_err(of_rename);
                    }
                    renamed => renamed,
                }
            }
        };
        renamed.map_err(of_rename)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        let is_kept = self.is_kept && fstat(&self.file).is_ok_and(|found| found.st_size > 0);
        if !self.is_renamed && !is_kept {
            let _ = unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// Gives a group that is not the old one no more than everybody has.
fn without_group(permissions: u32) -> u32 {
    let others = permissions & 0o007;
    permissions & !0o070 | permissions & (others << 3)
}

fn of_io(error: std::io::Error) -> FilesError {
    match Errno::from_io_error(&error) {
        Some(errno) => FilesError::of_place(errno),
        None => FilesError::Io(error),
    }
}

impl Commits {
    /// Waits until nobody else replaces this name, at most [`WRITE_TIMEOUT`].
    fn begin(&self, directory: &OwnedFd, name: &OsStr) -> Result<Commit, FilesError> {
        let found = fstat(directory).map_err(FilesError::of_place)?;
        let name = (found.st_dev, found.st_ino, name.to_owned());
        self.take(name, clock::now() + WRITE_TIMEOUT)
    }

    fn take(&self, name: Name, deadline: Instant) -> Result<Commit, FilesError> {
        let mut names = self.lock();
        while names.contains(&name) {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(FilesError::WriteTimedOut);
            }
            let waited = self.0.1.wait_timeout(names, left);
            names = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        names.insert(name.clone());
        let commits = self.clone();
        Ok(Commit { commits, name })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        self.commits.lock().remove(&self.name);
        self.commits.0.1.notify_all();
    }
}

/// The order of the requests of a `Write`, without the start.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    received: u64,
}

impl Sequence {
    /// Checks the next request.
    pub(super) fn check(
        &mut self,
        request: Option<baton_proto::files::WriteRequest>,
    ) -> Result<Piece, InvalidWrite> {
        use baton_proto::files::write_request::Kind;
        let offset = |received, expected| match received == expected {
            true => Ok(()),
            false => Err(InvalidWrite::Offset { expected, received }),
        };
        match request.ok_or(InvalidWrite::Cut)?.kind {
            Some(Kind::Data(data)) => {
                offset(data.offset, self.received)?;
                if data.data.len() > FILE_PIECE_MAX {
                    return Err(InvalidWrite::Piece);
                }
                self.received += data.data.len() as u64;
                Ok(Piece::Data(data.data))
            }
            Some(Kind::End(end)) => {
                offset(end.size, self.received)?;
                let sha256 = match end.sha256.is_empty() {
                    true => end.sha256,
                    false => checked_hash(end.sha256)?,
                };
                Ok(Piece::End { sha256 })
            }
            Some(Kind::Start(_)) | None => Err(InvalidWrite::OutOfOrder),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_proto::files::write_request::Kind;
    use baton_proto::files::{WriteData, WriteEnd, WriteRequest};

    use super::*;

    fn request(kind: Kind) -> Option<WriteRequest> {
        Some(WriteRequest { kind: Some(kind) })
    }

    fn data(offset: u64, len: usize) -> Option<WriteRequest> {
        let data = vec![7; len].into();
        request(Kind::Data(WriteData { offset, data }))
    }

    fn end(size: u64, hash: usize) -> Option<WriteRequest> {
        let sha256 = vec![7; hash].into();
        request(Kind::End(WriteEnd { size, sha256 }))
    }

    #[test]
    fn bytes_of_a_file_arrive_in_order_without_gaps_up_to_an_end_that_matches() {
        let mut sequence = Sequence::default();
        assert!(sequence.check(data(0, FILE_PIECE_MAX)).is_ok());
        assert!(sequence.check(data(FILE_PIECE_MAX as u64, 5)).is_ok());
        let received = FILE_PIECE_MAX as u64 + 5;
        let gap = |received_offset| InvalidWrite::Offset {
            expected: received,
            received: received_offset,
        };
        for (bad, error) in [
            (data(0, 1), gap(0)),
            (data(received + 1, 1), gap(received + 1)),
            (data(received, FILE_PIECE_MAX + 1), InvalidWrite::Piece),
            (end(received - 1, 0), gap(received - 1)),
            (end(received, 31), InvalidWrite::Hash),
            (
                request(Kind::Start(WriteStart::default())),
                InvalidWrite::OutOfOrder,
            ),
            (Some(WriteRequest::default()), InvalidWrite::OutOfOrder),
            (None, InvalidWrite::Cut),
        ] {
            assert_eq!(sequence.check(bad).unwrap_err(), error);
        }
        assert!(matches!(sequence.check(end(received, 32)), Ok(Piece::End { .. })));
    }

    #[test]
    fn a_start_has_one_condition_and_permissions_only() {
        let start = |if_absent, hash: usize, mode| WriteStart {
            place: Some(baton_proto::files::Place {
                root: None,
                path: Bytes::from_static(b"/a"),
            }),
            if_absent,
            if_hash: vec![7; hash].into(),
            mode,
            sync: false,
            resume: None,
        };
        let order = WriteOrder::try_from(start(false, 32, Some(0o107_777))).unwrap_or_else(|_| panic!());
        assert_eq!(order.mode, Some(0o777));
        for (bad, error) in [
            (start(true, 32, None), InvalidWrite::Conditions),
            (start(false, 31, None), InvalidWrite::Hash),
        ] {
            let refused = WriteOrder::try_from(bad).err().unwrap();
            assert!(
                matches!(refused, FilesError::Write(found) if found == error),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_group_that_changes_keeps_only_what_everybody_has() {
        for (old, new) in [
            (0o640, 0o600),
            (0o664, 0o644),
            (0o755, 0o755),
            (0o070, 0),
            (0o777, 0o777),
        ] {
            assert_eq!(without_group(old), new, "{old:o}");
        }
    }

    #[test]
    fn writers_of_one_name_take_turns_and_others_do_not_wait() {
        let commits = Commits::default();
        let name = |name: &str| (1, 2, OsString::from(name));
        let now = clock::now();
        let first = commits.take(name("a"), now).unwrap_or_else(|_| panic!());
        assert!(commits.take(name("b"), now).is_ok());
        let refused = commits.take(name("a"), now).err().unwrap();
        assert!(matches!(refused, FilesError::WriteTimedOut), "{refused:?}");
        let waiter = std::thread::spawn({
            let commits = commits.clone();
            move || {
                commits
                    .take(name("a"), clock::now() + Duration::from_secs(60))
                    .is_ok()
            }
        });
        drop(first);
        assert!(waiter.join().unwrap());
        assert!(commits.lock().is_empty());
    }
}
