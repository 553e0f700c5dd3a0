//! Replaces files, and makes directories.

use std::future::Future;
use std::pin::Pin;

use baton_proto::Features;
use baton_proto::files::write_request::Kind;
use baton_proto::files::{
    MkdirRequest, WriteData, WriteEnd, WriteRequest, WriteResponse, WriteResume, WriteStart,
};
use baton_proto::limits::FILE_PIECE_MAX;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::read::sha256;
use super::{FilePlace, FileStatus, Files, FilesError};
use crate::limits::WRITE_OUTBOX;

/// How a file is written. The default replaces whatever regular file is there, keeps its permissions, and does not sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteOptions {
    /// What must be there.
    pub condition: WriteCondition,
    /// The permission bits, of `0o777`; others are dropped, set-user-ID and set-group-ID among them. `None`: those of the
    /// file that is replaced; for a new file `0o666` without the exec-server's umask.
    pub mode: Option<u32>,
    /// Ends only when the file and its name are on stable storage (fsync).
    pub sync: bool,
}

/// What must be there for a file to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteCondition {
    /// A regular file, or nothing.
    #[default]
    None,
    /// Nothing, else [`FilesFailure::Exists`](crate::FilesFailure::Exists). Two writers of one name never both succeed.
    Absent,
    /// A regular file whose bytes have this SHA-256, else [`FilesFailure::Changed`](crate::FilesFailure::Changed).
    ///
    /// It is checked before the first byte is taken, and again before the file is replaced. Of several writers through
    /// one exec-server that expect the same hash, one succeeds. A program that writes the file between the second check
    /// and the replacement is not noticed.
    Sha256([u8; 32]),
}

/// The first bytes of a part that a write goes on behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartOf {
    /// None: the part begins anew.
    Nothing,
    /// So many, with this SHA-256.
    Bytes(u64, [u8; 32]),
}

/// A file that is being written. Nothing is replaced before [`finish`](Self::finish). Drop leaves what was there, and
/// soon no temporary file, unless the exec-server ends meanwhile.
pub struct FileWriter {
    requests: mpsc::Sender<WriteRequest>,
    call: Call,
    /// Bytes so far, with those of the part.
    size: u64,
    is_ended: bool,
}

type Call = Pin<Box<dyn Future<Output = Result<Response<WriteResponse>, Status>> + Send>>;

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Its status, without a canonical path.
    pub status: FileStatus,
    /// The SHA-256 of its bytes, by the exec-server.
    pub sha256: [u8; 32],
    /// It replaced a file.
    pub replaced: bool,
}

impl Files {
    /// Writes a whole file. See [`writer`](Self::writer).
    ///
    /// Dropping the future leaves either the old file or the whole new one.
    ///
    /// # Errors
    /// [`FilesError`]. After [`FilesError::Session`] it is not known whether the file was replaced.
    pub async fn write(
        &self,
        place: impl Into<FilePlace>,
        options: WriteOptions,
        bytes: impl Into<Bytes>,
    ) -> Result<Written, FilesError> {
        let mut writer = self.writer(place, options);
        let bytes = bytes.into();
        if bytes.len() <= FILE_PIECE_MAX {
            // Queued before the call is made, so that a small file is one message.
            writer.queue(bytes);
            writer.queue_end();
            return writer.answer().await;
        }
        writer.write(bytes).await?;
        writer.finish(None).await
    }

    /// Begins to write a regular file, whose directory must exist.
    ///
    /// The bytes go to a temporary file in the same directory (`.baton-*.tmp`), which then takes the name in one step. So
    /// a reader sees the old bytes or the new ones, and other hard links keep the old ones. The new file has the owner
    /// and group of the old one where the exec-server may give them; it has no ACL or extended attributes of the old one.
    /// Symbolic links on the way to the directory are followed ([`FilePlace::beneath`] keeps them below a root). A
    /// symbolic link, FIFO, socket or device with the name is not replaced
    /// ([`FilesFailure::NotRegular`](crate::FilesFailure::NotRegular)); to write the target of a link, write to
    /// [`FileStatus::canonical`].
    ///
    /// The call is made while [`FileWriter::write`] or [`FileWriter::finish`] is awaited, not before.
    pub fn writer(&self, place: impl Into<FilePlace>, options: WriteOptions) -> FileWriter {
        self.begin_write(place.into(), options, None)
    }

    /// Begins to write a file behind a part of it. The part stays if the write fails. Only where
    /// [`keeps_parts`](Self::keeps_parts).
    pub(crate) fn resume_writer(&self, place: FilePlace, options: WriteOptions, part: PartOf) -> FileWriter {
        self.begin_write(place, options, Some(part))
    }

    /// Whether the exec-server of the open session keeps parts of writes.
    pub(crate) fn keeps_parts(&self) -> bool {
        self.channel.features().has(Features::RESUME_WRITES)
    }

    fn begin_write(&self, place: FilePlace, options: WriteOptions, part: Option<PartOf>) -> FileWriter {
        let resume = part.map(|part| match part {
            PartOf::Nothing => WriteResume::default(),
            PartOf::Bytes(offset, sha256) => WriteResume {
                offset,
                sha256: Bytes::copy_from_slice(&sha256),
            },
        });
        let offset = resume.as_ref().map_or(0, |resume| resume.offset);
        let (requests, queued) = mpsc::channel(WRITE_OUTBOX);
        let if_hash = match options.condition {
            WriteCondition::Sha256(hash) => Bytes::copy_from_slice(&hash),
            WriteCondition::None | WriteCondition::Absent => Bytes::new(),
        };
        let start = WriteStart {
            place: Some(place.into_wire()),
            if_absent: options.condition == WriteCondition::Absent,
            if_hash,
            mode: options.mode,
            sync: options.sync,
            resume,
        };
        // There is room for it: nothing was sent before.
        let _ = requests.try_send(request(Kind::Start(start)));
        let mut client = self.client.clone();
        FileWriter {
            requests,
            call: Box::pin(async move { client.write(ReceiverStream::new(queued)).await }),
            size: offset,
            is_ended: false,
        }
    }

    /// Makes a directory, whose parent must exist. `mode`: the permission bits, of `0o777`; `None`: `0o777` without the
    /// exec-server's umask.
    ///
    /// # Errors
    /// [`FilesError`]; [`FilesFailure::Exists`](crate::FilesFailure::Exists) if something has the name.
    pub async fn mkdir(&self, place: impl Into<FilePlace>, mode: Option<u32>) -> Result<(), FilesError> {
        self.make_directory(place.into(), mode, false).await.map(drop)
    }

    /// Makes a directory and its absent parents. False: it existed, and its mode is unchanged.
    ///
    /// # Errors
    /// [`FilesError`]; [`FilesFailure::Exists`](crate::FilesFailure::Exists) if something else has the name. Parents may
    /// have been made.
    pub async fn mkdir_all(
        &self,
        place: impl Into<FilePlace>,
        mode: Option<u32>,
    ) -> Result<bool, FilesError> {
        self.make_directory(place.into(), mode, true).await
    }

    async fn make_directory(
        &self,
        place: FilePlace,
        mode: Option<u32>,
        parents: bool,
    ) -> Result<bool, FilesError> {
        let request = MkdirRequest {
            place: Some(place.into_wire()),
            mode,
            parents,
        };
        Ok(self.client.clone().mkdir(request).await?.into_inner().created)
    }
}

impl FileWriter {
    /// Appends bytes. Waits until they are queued.
    ///
    /// Not cancellation safe: if the future is dropped, a part of the bytes may be queued. Then drop the writer.
    ///
    /// # Errors
    /// [`FilesError`]: nothing was replaced. Further calls fail.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), FilesError> {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(FILE_PIECE_MAX));
            let offset = self.size;
            self.size += data.len() as u64;
            self.send(Kind::Data(WriteData { offset, data })).await?;
        }
        Ok(())
    }

    /// Replaces the file. With `sha256`, only if the exec-server got bytes with this hash.
    ///
    /// Dropping the future leaves either the old file or the whole new one.
    ///
    /// # Errors
    /// [`FilesError`]. Nothing was replaced, except that after [`FilesError::Session`] and
    /// [`FilesFailure::TimedOut`](crate::FilesFailure::TimedOut) it is not known.
    pub async fn finish(mut self, sha256_of_all: Option<[u8; 32]>) -> Result<Written, FilesError> {
        let end = WriteEnd {
            size: self.size,
            sha256: sha256_of_all
                .map(|hash| Bytes::copy_from_slice(&hash))
                .unwrap_or_default(),
        };
        self.send(Kind::End(end)).await?;
        self.answer().await
    }

    /// Queues the one piece of a file. There is room for it, and for the end.
    fn queue(&mut self, data: Bytes) {
        self.size = data.len() as u64;
        if !data.is_empty() {
            let _ = self
                .requests
                .try_send(request(Kind::Data(WriteData { offset: 0, data })));
        }
    }

    fn queue_end(&mut self) {
        let end = WriteEnd {
            size: self.size,
            sha256: Bytes::new(),
        };
        let _ = self.requests.try_send(request(Kind::End(end)));
    }

    /// Makes the call, if that has not begun, and waits for its answer.
    async fn answer(self) -> Result<Written, FilesError> {
        let Self { requests, call, .. } = self;
        drop(requests);
        let answer = call.await?.into_inner();
        let status = answer.status;
        Ok(Written {
            status: status
                .ok_or(FilesError::Protocol("a written file without a status"))?
                .try_into()?,
            sha256: sha256(&answer.sha256)?,
            replaced: answer.replaced,
        })
    }

    async fn send(&mut self, kind: Kind) -> Result<(), FilesError> {
        if self.is_ended {
            return Err(ENDED);
        }
        tokio::select! {
            biased;
            // Before the end it can only be an error.
            answer = &mut self.call => {
                self.is_ended = true;
                Err(answer.err().map_or(ENDED, FilesError::from))
            }
            room = self.requests.reserve() => match room {
                Ok(room) => {
                    room.send(request(kind));
                    Ok(())
                }
                // The call has dropped its requests, so it is about to end.
                Err(_) => {
                    let answer = (&mut self.call).await;
                    self.is_ended = true;
                    Err(answer.err().map_or(ENDED, FilesError::from))
                }
            },
        }
    }
}

const ENDED: FilesError = FilesError::Protocol("an answer before the end of the file");

fn request(kind: Kind) -> WriteRequest {
    WriteRequest { kind: Some(kind) }
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
