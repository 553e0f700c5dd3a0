//! The bytes of a file, and hashes of them.

use baton_proto::files::read_response::Kind;
use baton_proto::files::{HashRequest, ReadRequest, ReadResponse};
use baton_proto::limits::FILE_PIECE_MAX;
use bytes::Bytes;
use tonic::Streaming;

use super::{FilePlace, FileStatus, Files, FilesError};

/// A part of a file. The default is the whole file, without its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilePart {
    /// The first byte, counted from 0. One beyond the end of the file reads nothing.
    pub offset: u64,
    /// The most bytes. `None`: up to the end of the file.
    pub length: Option<u64>,
    /// Asks for [`FileEnd::sha256`].
    pub hash: bool,
}

/// The bytes of a file, as they arrive. Drop ends the call.
#[derive(Debug)]
pub struct FileReader {
    messages: Streaming<ReadResponse>,
    status: FileStatus,
    /// Bytes that are still wanted.
    left: u64,
    hash: bool,
    end: Option<FileEnd>,
}

/// The end of a read that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileEnd {
    /// The SHA-256 of the bytes that were read, if [`FilePart::hash`] asked for it.
    pub sha256: Option<[u8; 32]>,
    /// The file was changed meanwhile, so the bytes may be a mixture. A change within the resolution of the file system's
    /// clock is not noticed.
    pub changed: bool,
}

/// The hash of the first bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileHash {
    /// The SHA-256 of the first `length` bytes.
    pub sha256: [u8; 32],
    /// Less than was asked for if the file is shorter.
    pub length: u64,
    /// The status of the file before it was hashed.
    pub status: FileStatus,
    /// As [`FileEnd::changed`].
    pub changed: bool,
}

impl Files {
    /// Opens a regular file for reading. A symbolic link is followed.
    ///
    /// Memory: pieces of at most 128 KiB, as many as the session's window has; the file system is not read further than
    /// the caller reads.
    ///
    /// # Errors
    /// [`FilesError`], also by [`FileReader::next`].
    pub async fn read(&self, place: impl Into<FilePlace>, part: FilePart) -> Result<FileReader, FilesError> {
        let FilePart { offset, length, hash } = part;
        let request = ReadRequest {
            place: Some(place.into().into_wire()),
            offset,
            length,
            hash,
        };
        let mut messages = self.client.clone().read(request).await?.into_inner();
        let status = match messages.message().await?.and_then(|first| first.kind) {
            Some(Kind::Start(start)) => start.status,
            _ => None,
        };
        Ok(FileReader {
            messages,
            status: status
                .ok_or(FilesError::Protocol("no status before the bytes of a file"))?
                .try_into()?,
            left: length.unwrap_or(u64::MAX),
            hash,
            end: None,
        })
    }

    /// Hashes the first `length` bytes of a regular file, `None`: all, on the exec-server's machine. A copy that was
    /// interrupted may go on behind them if the hash is that of the copied bytes. A symbolic link is followed.
    ///
    /// Takes as long as the file system needs for these bytes; dropping the future ends it there too.
    ///
    /// # Errors
    /// [`FilesError`].
    pub async fn hash(
        &self,
        place: impl Into<FilePlace>,
        length: Option<u64>,
    ) -> Result<FileHash, FilesError> {
        let request = HashRequest {
            place: Some(place.into().into_wire()),
            length,
        };
        let answer = self.client.clone().hash(request).await?.into_inner();
        if answer.length > length.unwrap_or(u64::MAX) {
            return Err(FilesError::Protocol("a hash of more bytes than requested"));
        }
        let status = answer.status;
        Ok(FileHash {
            sha256: sha256(&answer.sha256)?,
            length: answer.length,
            status: status
                .ok_or(FilesError::Protocol("a hash without a status"))?
                .try_into()?,
            changed: answer.changed,
        })
    }
}

impl FileReader {
    /// The status of the file when it was opened, without a canonical path.
    pub fn status(&self) -> &FileStatus {
        &self.status
    }

    /// The next bytes, at least one; `None` after the last, and then [`end`](Self::end) is there. Cancellation safe.
    ///
    /// # Errors
    /// [`FilesError`]. The bytes so far are a prefix of the part.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FilesError> {
        if self.end.is_some() {
            return Ok(None);
        }
        match self.messages.message().await?.and_then(|message| message.kind) {
            Some(Kind::Data(data)) => {
                let is_piece = (1..=FILE_PIECE_MAX).contains(&data.len());
                match self.left.checked_sub(data.len() as u64).filter(|_| is_piece) {
                    Some(left) => self.left = left,
                    None => return Err(FilesError::Protocol("more bytes of a file than requested")),
                }
                Ok(Some(data))
            }
            Some(Kind::End(end)) => {
                self.end = Some(FileEnd {
                    sha256: self.hash.then(|| sha256(&end.sha256)).transpose()?,
                    changed: end.changed,
                });
                Ok(None)
            }
            Some(Kind::Start(_)) => Err(FilesError::Protocol("a second status of a file")),
            None => Err(FilesError::Protocol("the bytes of a file without their end")),
        }
    }

    /// `Some` after [`next`](Self::next) has returned `None`.
    pub fn end(&self) -> Option<FileEnd> {
        self.end
    }
}

pub(super) fn sha256(bytes: &[u8]) -> Result<[u8; 32], FilesError> {
    bytes
        .try_into()
        .map_err(|_| FilesError::Protocol("a hash that is not 32 bytes"))
}
