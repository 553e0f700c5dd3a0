//! Goes on with the part of a file that an earlier copy has left beside its name.
//!
//! The part is used only if it has the hash of as many first bytes of the source. Otherwise the copy begins anew.

use std::ffi::{OsStr, OsString};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;

use baton_proto::part_name;
use rustix::fs::{FlockOperation, OFlags, flock, fstat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::local::{Directory, Part, Source, blocking, hash_first, kind, size};
use super::names::checked;
use super::{Context, CopyError};
use crate::files::{FileKind, FilePlace, FileStatus, FilesError, FilesFailure, PartOf};

/// A part that is the beginning of the source.
pub(super) struct Begun {
    pub(super) part: Part,
    /// Its bytes.
    pub(super) length: u64,
    /// The source whose hash it has.
    pub(super) source: FileStatus,
}

/// The part of this file, if there is one that is the beginning of the source.
pub(super) async fn find(
    context: &Context,
    place: &FilePlace,
    directory: &Arc<Directory>,
    target: &OsStr,
) -> Result<Option<Begun>, CopyError> {
    let (directory, target) = (Arc::clone(directory), target.to_owned());
    let opened = blocking(move || {
        let Some((part, length)) = open(&directory, &target, OFlags::empty())? else {
            return Ok(None);
        };
        let (hash, length) = hash_first(&part.file(), length)?;
        let at_end = (&*part.file()).seek(SeekFrom::Start(length));
        at_end.map_err(failed("write the part of the file"))?;
        Ok(Some((part, length, hash)))
    });
    let Some((mut part, length, hash)) = opened.await? else {
        return Ok(None);
    };
    let source = context.files.hash(place.clone(), Some(length)).await?;
    if source.length != length || source.sha256[..] != hash[..] || source.changed {
        part.is_kept = false;
        blocking(move || {
            drop(part);
            Ok(())
        })
        .await?;
        return Ok(None);
    }
    Ok(Some(Begun {
        part,
        length,
        source: source.status,
    }))
}

/// How an upload begins: the part at the exec-server, if it is the beginning of the source, which then goes on behind
/// it. `None`: the exec-server keeps no part of this file.
pub(super) async fn find_remote(
    context: &Context,
    place: &FilePlace,
    mut source: Source,
) -> Result<(Source, Option<PartOf>), CopyError> {
    let Some(part) = place.part().filter(|_| context.files.keeps_parts()) else {
        return Ok((source, None));
    };
    let found = match context.files.hash(part, None).await {
        Ok(found) => found,
        // It is left to the write to refuse what is no part.
        Err(FilesError::Failed {
            failure: FilesFailure::NotFound | FilesFailure::NotRegular,
            ..
        }) => return Ok((source, Some(PartOf::Nothing))),
        Err(error) => return Err(error.into()),
    };
    if found.length == 0 || found.length > source.size() {
        return Ok((source, Some(PartOf::Nothing)));
    }
    blocking(move || {
        let (hash, length) = source.hash_first(found.length)?;
        if length != found.length || hash[..] != found.sha256[..] {
            return Ok((source, Some(PartOf::Nothing)));
        }
        source.seek(length)?;
        Ok((source, Some(PartOf::Bytes(length, found.sha256))))
    })
    .await
}

/// An empty part, which stays if the copy fails. `None`: the name is too long for one.
pub(super) fn create(directory: &Arc<Directory>, target: &OsStr) -> Result<Option<Part>, CopyError> {
    let created = open(directory, target, OFlags::CREATE)?;
    let Some((part, _)) = created else {
        return Ok(None);
    };
    let emptied = part.file().set_len(0);
    emptied.map_err(failed("write the part of the file"))?;
    Ok(Some(part))
}

/// Opens the part of a file, which stays, and locks it. `None`: there is none, and it was not to be made, or its name is
/// too long.
fn open(
    directory: &Arc<Directory>,
    target: &OsStr,
    create: OFlags,
) -> Result<Option<(Part, u64)>, CopyError> {
    directory.check_target(checked(target)?)?;
    let Some(name) = part_name(target.as_bytes()).map(OsString::from_vec) else {
        return Ok(None);
    };
    let file = match directory.open_part(&name, create) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(CopyError::PartNotUsable),
        Err(errno) => return Err(CopyError::local("open the part of the file")(errno)),
    };
    // File systems without locks have other errors.
    if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return Err(CopyError::PartNotUsable);
    }
    let found = fstat(&file).map_err(CopyError::local("look at the part of the file"))?;
    // One link: another name of it is not written to. The name: the copy that held the lock may have renamed the file.
    let is_own = kind(&found) == FileKind::File
        && found.st_nlink == 1
        && found.st_uid == geteuid().as_raw()
        && directory.has_part(&name, &found);
    if !is_own {
        return Err(CopyError::PartNotUsable);
    }
    let mut part = Part::of(directory, name, file);
    part.is_kept = true;
    Ok(Some((part, size(&found))))
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> CopyError {
    move |source| CopyError::Local { action, source }
}
