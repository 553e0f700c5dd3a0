//! Small files of one directory, by one call.

use std::ffi::OsString;
use std::vec::IntoIter;

use baton_proto::Features;
use baton_proto::files::small_file::Kind;
use baton_proto::files::{ReadManyRequest, ReadManyResponse, WholeFile};
use baton_proto::limits::{FILES_REQUEST_MAX, READ_MANY_MAX, SMALL_FILE_MAX};
use baton_trace::text::printable;
use bytes::Bytes;

use super::{FilePlace, FileStatus, Files, FilesError, FilesFailure, bytes};

/// What is known of one of several files.
#[derive(Debug)]
pub(crate) enum SmallFile {
    Whole {
        status: FileStatus,
        data: Bytes,
        /// As [`FileEnd::changed`](super::FileEnd::changed).
        changed: bool,
    },
    /// Only this file could not be read.
    Failed(FilesError),
    /// It takes a read of its own.
    TooLarge,
}

impl Files {
    /// Whether the exec-server of the open session reads several files by one call.
    pub(crate) fn reads_many(&self) -> bool {
        self.channel.features().has(Features::READ_MANY)
    }

    /// Reads files of one directory, at most [`READ_MANY_MAX`], whole if they have at most [`SMALL_FILE_MAX`] bytes.
    /// Returns one answer for each name, in their order. Only where [`reads_many`](Self::reads_many).
    ///
    /// `None`: the names are too long for one call.
    ///
    /// # Errors
    /// [`FilesError`]: nothing was read.
    pub(crate) async fn read_many<'a>(
        &self,
        directory: FilePlace,
        names: impl Iterator<Item = &'a OsString>,
    ) -> Result<Option<Vec<SmallFile>>, FilesError> {
        let directory = directory.into_wire();
        let names: Vec<Bytes> = names.map(|name| bytes(name)).collect();
        // With the field headers.
        let place_bytes = directory.root.as_ref().map_or(0, Bytes::len) + directory.path.len() + 16;
        if place_bytes + names.iter().map(|name| name.len() + 3).sum::<usize>() > FILES_REQUEST_MAX {
            return Ok(None);
        }
        let request = ReadManyRequest {
            directory: Some(directory),
            names,
        };
        let count = request.names.len();
        let mut answer = self.client.clone().read_many(request).await?.into_inner();
        let mut files = Vec::with_capacity(count);
        while let Some(message) = answer.message().await? {
            files.extend(checked(message)?);
            if files.len() > count {
                return Err(FilesError::Protocol("more files than requested"));
            }
        }
        match files.len() == count {
            true => Ok(Some(files)),
            false => Err(FilesError::Protocol("fewer files than requested")),
        }
    }
}

fn checked(message: ReadManyResponse) -> Result<IntoIter<SmallFile>, FilesError> {
    if !(1..=READ_MANY_MAX).contains(&message.files.len()) {
        return Err(FilesError::Protocol(
            "a message with no file, or with more than it may have",
        ));
    }
    let files = message.files.into_iter().map(SmallFile::try_from);
    Ok(files.collect::<Result<Vec<_>, _>>()?.into_iter())
}

impl TryFrom<baton_proto::files::SmallFile> for SmallFile {
    type Error = FilesError;

    fn try_from(file: baton_proto::files::SmallFile) -> Result<Self, FilesError> {
        match file.kind {
            Some(Kind::Whole(WholeFile {
                status,
                data,
                changed,
            })) => {
                if data.len() > SMALL_FILE_MAX {
                    return Err(FilesError::Protocol(
                        "a small file with more bytes than it may have",
                    ));
                }
                let status = status.ok_or(FilesError::Protocol("no status before the bytes of a file"))?;
                Ok(Self::Whole {
                    status: status.try_into()?,
                    data,
                    changed,
                })
            }
            Some(Kind::Failed(detail)) => Ok(Self::Failed(FilesError::Failed {
                // A reason that this version does not know.
                failure: FilesFailure::from_wire(detail.kind()).unwrap_or(FilesFailure::Io),
                message: printable(&detail.message).into_owned(),
            })),
            Some(Kind::TooLarge(_)) => Ok(Self::TooLarge),
            None => Err(FilesError::Protocol("an empty answer about a file")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(length: usize) -> baton_proto::files::SmallFile {
        let whole = WholeFile {
            status: Some(baton_proto::files::FileStatus::default()),
            data: vec![7; length].into(),
            changed: false,
        };
        baton_proto::files::SmallFile {
            kind: Some(Kind::Whole(whole)),
        }
    }

    #[test]
    fn an_answer_beyond_its_limits_is_refused() {
        let message = |files| checked(ReadManyResponse { files }).map(|files| files.len());
        assert_eq!(message(vec![whole(SMALL_FILE_MAX); 2]).unwrap(), 2);
        assert_eq!(message(vec![whole(0); READ_MANY_MAX]).unwrap(), READ_MANY_MAX);
        let nothing = baton_proto::files::SmallFile::default();
        let bare = baton_proto::files::SmallFile {
            kind: Some(Kind::Whole(WholeFile::default())),
        };
        for bad in [
            vec![],
            vec![whole(0); READ_MANY_MAX + 1],
            vec![whole(SMALL_FILE_MAX + 1)],
            vec![whole(1), nothing],
            vec![bare],
        ] {
            assert!(matches!(message(bad), Err(FilesError::Protocol(_))));
        }
    }
}
