//! Copies files and trees from the exec-server's machine to this one.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_proto::limits::{LIST_PAGE_MAX, PATH_MAX, READ_MANY_MAX};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::task::spawn_blocking;

use super::local::{Directory, Part, Target, TargetName, blocking, each, joined, write_all, write_whole};
use super::names::last_name;
use super::resume::{self, Begun};
use super::tree::{self, Failure, Found, Page, Tree};
use super::{Context, CopyError, CopyEvent, CopyOptions, FileCopy, absolute, look};
use crate::files::{
    DirectoryEntry, FileKind, FilePart, FilePlace, FileReader, FileStatus, FilesError, Listing, SmallFile,
};
use crate::limits::{COPY_BATCH, COPY_BATCH_PIECES};

pub(super) async fn begin(
    context: Context,
    from: &Path,
    to: &Path,
    options: CopyOptions,
) -> Result<FileCopy, CopyError> {
    let path = absolute(&context.files, from).await?;
    let source = look(&context.files, &path).await?.ok_or(CopyError::NoSource)?;
    let target = to.to_owned();
    match source.kind {
        FileKind::Directory if !options.recursive => Err(CopyError::IsDirectory),
        FileKind::Directory => {
            let name = last_name(from).map(OsStr::to_owned);
            let mode = source.mode;
            let directory = blocking(move || {
                let target = Target::look(&target)?;
                open_tree(target, name.as_deref(), mode)
            });
            let first = Pending::Open(Arc::new(Node {
                directory: directory.await?,
                path: PathBuf::new(),
            }));
            let meter = context.meter.clone();
            let root = source.canonical.unwrap_or(path);
            let tree = Download { context, root };
            Ok(FileCopy::new(tree::copy(tree, first, meter.clone()), meter))
        }
        FileKind::File => {
            let name = last_name(from).map(OsStr::to_owned);
            let target = blocking(move || {
                let target = Target::look(&target)?;
                file_name(target, name)
            });
            let (directory, name) = target.await?;
            Ok(one_file(context, path, &source, directory, name))
        }
        _ => Err(CopyError::NotRegular),
    }
}

/// The directory that receives the entries of the source.
fn open_tree(target: Target, name: Option<&OsStr>, mode: u32) -> Result<Arc<Directory>, CopyError> {
    match (target, name) {
        (Target::Directory(directory), None) => Ok(directory),
        (Target::Directory(directory), Some(name)) => directory.make(name, mode).map(Arc::new),
        (Target::Name(TargetName { is_taken: true, .. }), _) => Err(CopyError::TargetIsNoDirectory),
        (Target::Name(TargetName { directory, name, .. }), _) => directory.make(&name, mode).map(Arc::new),
    }
}

/// The name that a file gets, and the directory of that name.
fn file_name(target: Target, name: Option<OsString>) -> Result<(Arc<Directory>, OsString), CopyError> {
    match target {
        Target::Directory(directory) => Ok((directory, name.ok_or(CopyError::TargetNeedsName)?)),
        Target::Name(target) if target.is_directory_only => Err(CopyError::TargetNeedsName),
        Target::Name(target) => Ok((target.directory, target.name)),
    }
}

fn one_file(
    context: Context,
    path: PathBuf,
    source: &FileStatus,
    directory: Arc<Directory>,
    name: OsString,
) -> FileCopy {
    let meter = context.meter.clone();
    meter.found(source.size);
    let counts = meter.clone();
    let receiving = async move {
        let place = FilePlace::new(path);
        counts.counted(receive(&context, place, &directory, &name, PathBuf::new()).await)
    };
    FileCopy::new(stream::once(receiving).boxed(), meter)
}

/// A tree of the exec-server's machine.
struct Download {
    context: Context,
    /// The source, without symbolic links.
    root: PathBuf,
}

/// A directory at both ends.
struct Node {
    directory: Arc<Directory>,
    /// Below the source.
    path: PathBuf,
}

enum Pending {
    Open(Arc<Node>),
    Absent {
        parent: Arc<Node>,
        name: OsString,
        mode: u32,
    },
}

struct RemoteListing {
    node: Arc<Node>,
    listing: Listing,
}

struct RemoteFile {
    parent: Arc<Node>,
    name: OsString,
}

impl Tree for Download {
    type Directory = Pending;
    type Listing = RemoteListing;
    type File = RemoteFile;

    async fn open(self: Arc<Self>, directory: Pending) -> Result<Page<Self>, Failure> {
        let node = match directory {
            Pending::Open(node) => node,
            Pending::Absent { parent, name, mode } => {
                let path = parent.path.join(&name);
                let made = blocking(move || parent.directory.make(&name, mode)).await;
                match made {
                    Ok(made) => Arc::new(Node {
                        directory: Arc::new(made),
                        path,
                    }),
                    Err(error) => return Err(Failure { path, error }),
                }
            }
        };
        let place = FilePlace::beneath(&self.root, &node.path);
        let listed = self.context.files.list(place).await;
        match listed {
            Ok(listing) => self.list(RemoteListing { node, listing }).await,
            Err(error) => Err(Failure {
                path: node.path.clone(),
                error: error.into(),
            }),
        }
    }

    async fn list(self: Arc<Self>, listing: RemoteListing) -> Result<Page<Self>, Failure> {
        let RemoteListing { node, mut listing } = listing;
        let mut found = Vec::new();
        while found.len() < LIST_PAGE_MAX {
            match listing.next().await {
                Ok(Some(entry)) => found.push(sort(&node, entry)),
                Ok(None) => return Ok(Page { found, rest: None }),
                Err(error) => {
                    return Err(Failure {
                        path: node.path.clone(),
                        error: error.into(),
                    });
                }
            }
        }
        Ok(Page {
            found,
            rest: Some(RemoteListing { node, listing }),
        })
    }

    fn group_max(&self) -> usize {
        // With `resume` each file may have a part that was begun.
        match !self.context.resume && self.context.files.reads_many() {
            true => READ_MANY_MAX,
            false => 1,
        }
    }

    fn is_of_group(file: &RemoteFile, other: &RemoteFile) -> bool {
        Arc::ptr_eq(&file.parent, &other.parent)
    }

    async fn copy(self: Arc<Self>, files: Vec<RemoteFile>) -> Vec<CopyEvent> {
        let answers = match self.read_together(&files).await {
            Ok(answers) => answers,
            Err(error) => {
                let path = files.first().map(RemoteFile::path).unwrap_or_default();
                return vec![CopyEvent::Failed { path, error }];
            }
        };
        let paths: Vec<PathBuf> = files.iter().map(RemoteFile::path).collect();
        let meter = self.context.meter.clone();
        let received = files.into_iter().zip(answers).map(|(file, answer)| {
            if let Some(SmallFile::Whole { data, .. }) = &answer {
                meter.moved(data.len() as u64);
            }
            (file, answer)
        });
        let written = each(received.collect(), write_small).await;
        let mut events = Vec::with_capacity(paths.len());
        for (path, written) in paths.into_iter().zip(written) {
            let event = match written {
                Ok(Small::Written { bytes, changed }) => CopyEvent::Copied { path, bytes, changed },
                Ok(Small::Alone(RemoteFile { parent, name })) => {
                    let place = FilePlace::beneath(&self.root, &path);
                    receive(&self.context, place, &parent.directory, &name, path).await
                }
                Err(error) => CopyEvent::Failed { path, error },
            };
            events.push(event);
        }
        events
    }
}

/// What was done with one of several files.
enum Small {
    Written {
        bytes: u64,
        changed: bool,
    },
    /// It takes a call of its own.
    Alone(RemoteFile),
}

/// Writes a file, if its bytes have arrived.
fn write_small((file, answer): (RemoteFile, Option<SmallFile>)) -> Result<Small, CopyError> {
    match answer {
        Some(SmallFile::Whole {
            status,
            data,
            changed,
        }) => {
            let bytes = data.len() as u64;
            write_whole(&file.parent.directory, &file.name, status.mode, &[data])?;
            Ok(Small::Written { bytes, changed })
        }
        Some(SmallFile::Failed(error)) => Err(error.into()),
        Some(SmallFile::TooLarge) | None => Ok(Small::Alone(file)),
    }
}

impl RemoteFile {
    /// Below the source.
    fn path(&self) -> PathBuf {
        self.parent.path.join(&self.name)
    }
}

impl Download {
    /// Reads files of one directory by one call. `None` of a file: it takes a call of its own.
    ///
    /// # Errors
    /// The copy ends with it.
    async fn read_together(&self, files: &[RemoteFile]) -> Result<Vec<Option<SmallFile>>, CopyError> {
        let alone = || files.iter().map(|_| None).collect();
        let (Some(first), true) = (files.first(), files.len() > 1) else {
            return Ok(alone());
        };
        let directory = FilePlace::beneath(&self.root, &first.parent.path);
        let names = files.iter().map(|file| &file.name);
        match self.context.files.read_many(directory, names).await {
            Ok(Some(answers)) => Ok(answers.into_iter().map(Some).collect()),
            Ok(None) => Ok(alone()),
            // The session is a new one, with an exec-server of an earlier version. Or the directory is not what it was, or
            // the call was not answered in time: each file tells that of itself.
            Err(FilesError::NotServed | FilesError::Failed { .. } | FilesError::Rpc(_)) => Ok(alone()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What is done with an entry of a directory.
fn sort(node: &Arc<Node>, entry: DirectoryEntry) -> Found<Download> {
    let DirectoryEntry { name, status, .. } = entry;
    let path = || node.path.join(&name);
    if node.path.as_os_str().len() + 1 + name.len() > PATH_MAX {
        let error = CopyError::PathTooLong;
        return Found::Other(CopyEvent::Failed { path: path(), error });
    }
    let Some(status) = status else {
        let error = CopyError::NotPermitted;
        return Found::Other(CopyEvent::Failed { path: path(), error });
    };
    match status.kind {
        FileKind::File => Found::File {
            bytes: status.size,
            file: RemoteFile {
                parent: Arc::clone(node),
                name,
            },
        },
        FileKind::Directory => Found::Directory(Pending::Absent {
            parent: Arc::clone(node),
            name,
            mode: status.mode,
        }),
        kind => Found::Other(CopyEvent::Skipped { path: path(), kind }),
    }
}

/// Copies one file, and tells how that ended.
async fn receive(
    context: &Context,
    place: FilePlace,
    directory: &Arc<Directory>,
    name: &OsStr,
    path: PathBuf,
) -> CopyEvent {
    match receive_file(context, place, directory, name).await {
        Ok((bytes, changed)) => CopyEvent::Copied { path, bytes, changed },
        Err(error) => CopyEvent::Failed { path, error },
    }
}

/// Copies one file. Returns its size, and whether it was changed meanwhile.
async fn receive_file(
    context: &Context,
    place: FilePlace,
    directory: &Arc<Directory>,
    name: &OsStr,
) -> Result<(u64, bool), CopyError> {
    let begun = match context.resume {
        true => resume::find(context, &place, directory, name).await?,
        false => None,
    };
    let (mut reader, begun) = open(context, place, begun).await?;
    let mode = reader.status().mode;
    let batch = gather(context, &mut reader).await?;
    if reader.end().is_some() && begun.is_none() {
        let bytes = length(&batch);
        let (directory, name) = (Arc::clone(directory), name.to_owned());
        blocking(move || write_whole(&directory, &name, mode, &batch)).await?;
        return Ok((bytes, is_changed(&reader)));
    }
    // It is never closed, and a permit more would do no harm.
    let _permit = context.streams.acquire().await;
    let (part, before) = match begun {
        Some(Begun { part, length, .. }) => (part, length),
        None => (new_part(context, directory, name).await?, 0),
    };
    context.meter.moved(before);
    let received = stream_into(context, &mut reader, &part, batch).await?;
    let name = name.to_owned();
    blocking(move || part.commit(&name, mode)).await?;
    Ok((before + received, is_changed(&reader)))
}

/// Opens a file behind the part that was begun, if it still is the file with that beginning.
async fn open(
    context: &Context,
    place: FilePlace,
    begun: Option<Begun>,
) -> Result<(FileReader, Option<Begun>), CopyError> {
    if let Some(mut begun) = begun {
        let part = FilePart {
            offset: begun.length,
            ..FilePart::default()
        };
        let reader = context.files.read(place.clone(), part).await?;
        let version = |file: &FileStatus| (file.size, file.modified);
        if version(reader.status()) == version(&begun.source) {
            return Ok((reader, Some(begun)));
        }
        begun.part.is_kept = false;
    }
    let reader = context.files.read(place, FilePart::default()).await?;
    Ok((reader, None))
}

async fn new_part(context: &Context, directory: &Arc<Directory>, name: &OsStr) -> Result<Part, CopyError> {
    let (directory, name, is_kept) = (Arc::clone(directory), name.to_owned(), context.resume);
    blocking(move || {
        if is_kept && let Some(part) = resume::create(&directory, &name)? {
            return Ok(part);
        }
        Part::create(&directory, &name)
    })
    .await
}

/// The next bytes of a file, up to a batch. None are the end.
async fn gather(context: &Context, reader: &mut FileReader) -> Result<Vec<Bytes>, CopyError> {
    let (mut batch, mut size) = (Vec::new(), 0);
    while size < COPY_BATCH && batch.len() < COPY_BATCH_PIECES {
        let Some(piece) = reader.next().await? else { break };
        context.meter.moved(piece.len() as u64);
        size += piece.len();
        batch.push(piece);
    }
    Ok(batch)
}

/// Writes a file while its next bytes arrive. Returns how many bytes it wrote.
async fn stream_into(
    context: &Context,
    reader: &mut FileReader,
    part: &Part,
    mut batch: Vec<Bytes>,
) -> Result<u64, CopyError> {
    let mut received = 0;
    while !batch.is_empty() {
        received += length(&batch);
        let file = part.file();
        // It runs at once, and not only when it is awaited.
        let writing = spawn_blocking(move || write_all(&file, &batch));
        let next = gather(context, reader).await;
        joined(writing.await)?;
        batch = next?;
    }
    Ok(received)
}

fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// Whether the file was changed while it was read.
fn is_changed(reader: &FileReader) -> bool {
    reader.end().is_some_and(|end| end.changed)
}
