//! The bytes of a regular file, and hashes of them.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use aws_lc_rs::digest::{Context, SHA256};
use baton_proto::files::read_response::Kind;
use baton_proto::files::{HashResponse, ReadEnd, ReadResponse, ReadStart};
use baton_proto::limits::FILE_PIECE_MAX;
use bytes::Bytes;

use super::error::FilesError;
use super::place::{Place, open_regular};
use super::stat::of_metadata;
use super::transfers::{Outbox, Stop};
use crate::limits::HASH_STEP_BYTES;
use crate::settings::Directory;

/// The least buffer, for files that become longer and those whose size is not told, as in `/proc`.
const SMALL_PIECE: usize = 4096;

/// A part of a file: from `offset`, at most `length` bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
}

/// Every byte.
pub(super) const WHOLE: Range = Range {
    offset: 0,
    length: None,
};

/// A regular file that is read from one place to another.
pub(super) struct Reader {
    file: File,
    pub(super) before: Metadata,
    offset: u64,
    /// Bytes that are still wanted.
    left: u64,
}

impl Reader {
    fn open(place: &Place, default: Directory, range: Range) -> Result<Self, FilesError> {
        Self::of(&place.locate(default)?, range)
    }

    /// Opens a location, if it is a regular file.
    pub(super) fn of(location: &OwnedFd, range: Range) -> Result<Self, FilesError> {
        let file = open_regular(location)?;
        let before = file.metadata().map_err(FilesError::Io)?;
        Ok(Self {
            file,
            before,
            offset: range.offset,
            left: range.length.unwrap_or(u64::MAX),
        })
    }

    /// The number of bytes that were read into `piece`; 0 at the end.
    pub(super) fn read(&mut self, piece: &mut [u8]) -> Result<usize, FilesError> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
        // The kernel counts in signed numbers, and no file goes on there.
        let is_beyond = i64::try_from(self.offset.saturating_add(wanted as u64)).is_err();
        if wanted == 0 || is_beyond {
            return Ok(0);
        }
        let read = read_at(&self.file, &mut piece[..wanted], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }

    /// The length of a buffer for the next bytes: one more than the file is expected to have.
    pub(super) fn piece_len(&self) -> usize {
        let left = self.before.len().saturating_sub(self.offset).min(self.left);
        let expected = usize::try_from(left.saturating_add(1)).unwrap_or(FILE_PIECE_MAX);
        expected.clamp(SMALL_PIECE, FILE_PIECE_MAX)
    }

    /// Whether the file differs from what it was when it was opened.
    pub(super) fn is_changed(&self) -> Result<bool, FilesError> {
        let now = self.file.metadata().map_err(FilesError::Io)?;
        let version = |file: &Metadata| {
            let modified = (file.mtime(), file.mtime_nsec());
            (file.size(), modified, file.ctime(), file.ctime_nsec())
        };
        Ok(version(&now) != version(&self.before))
    }
}

/// Gives the answer of `Read`. Holds one piece.
pub(super) fn read(
    place: &Place,
    default: Directory,
    range: Range,
    hash: bool,
    outbox: &Outbox<ReadResponse>,
) -> Result<(), Stop> {
    let put = |kind| outbox.put(ReadResponse { kind: Some(kind) });
    let mut reader = Reader::open(place, default, range)?;
    let mut context = hash.then(|| Context::new(&SHA256));
    put(Kind::Start(ReadStart {
        status: Some(of_metadata(&reader.before)),
    }))?;
    loop {
        let mut piece = vec![0; reader.piece_len()];
        let read = reader.read(&mut piece)?;
        if read == 0 {
            break;
        }
        piece.truncate(read);
        // A short piece would hold the memory of a long one until it is sent.
        piece.shrink_to_fit();
        if let Some(context) = &mut context {
            context.update(&piece);
        }
        put(Kind::Data(piece.into()))?;
    }
    put(Kind::End(ReadEnd {
        sha256: context.map(sha256).unwrap_or_default(),
        changed: reader.is_changed()?,
    }))?;
    Ok(())
}

/// A sign of life of a hash, or the hash.
pub(super) enum Hashing {
    Goes,
    Done(HashResponse),
}

/// The answer of `Hash`.
pub(super) fn hash(
    place: &Place,
    default: Directory,
    length: Option<u64>,
    outbox: &Outbox<Hashing>,
) -> Result<(), Stop> {
    let range = Range { offset: 0, length };
    let mut reader = Reader::open(place, default, range)?;
    let mut context = Context::new(&SHA256);
    let (mut piece, mut told) = (vec![0; FILE_PIECE_MAX], 0);
    loop {
        let read = reader.read(&mut piece)?;
        if read == 0 {
            break;
        }
        context.update(&piece[..read]);
        if reader.offset - told >= HASH_STEP_BYTES {
            told = reader.offset;
            outbox.put(Hashing::Goes)?;
        }
    }
    outbox.put(Hashing::Done(HashResponse {
        sha256: sha256(context),
        length: reader.offset,
        status: Some(of_metadata(&reader.before)),
        changed: reader.is_changed()?,
    }))?;
    Ok(())
}

/// The hash of a whole open file.
pub(super) fn hash_of(file: &File) -> Result<Bytes, FilesError> {
    hash_first(file, u64::MAX).map(|(context, _)| sha256(context))
}

/// Hashes the first bytes of an open file, at most `length`. Also returns how many there are.
pub(super) fn hash_first(file: &File, length: u64) -> Result<(Context, u64), FilesError> {
    let (mut context, mut piece, mut offset) = (Context::new(&SHA256), vec![0; FILE_PIECE_MAX], 0);
    loop {
        let left = usize::try_from(length - offset).unwrap_or(FILE_PIECE_MAX);
        let wanted = left.min(FILE_PIECE_MAX);
        match read_at(file, &mut piece[..wanted], offset)? {
            0 => return Ok((context, offset)),
            read => {
                context.update(&piece[..read]);
                offset += read as u64;
            }
        }
    }
}

/// The number of bytes that were read; 0 at the end of the file.
fn read_at(file: &File, piece: &mut [u8], offset: u64) -> Result<usize, FilesError> {
    loop {
        match file.read_at(piece, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(FilesError::Io),
        }
    }
}

pub(super) fn sha256(context: Context) -> Bytes {
    Bytes::copy_from_slice(context.finish().as_ref())
}
