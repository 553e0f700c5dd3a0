//! Copies files and trees from this machine to the exec-server's.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_proto::limits::PATH_MAX;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::task::spawn_blocking;

use super::local::{Directory, Entries, Entry, Origin, PERMISSIONS, Source, TO_FILL, blocking, each, joined};
use super::names::{ends_in_slash, last_name, without_slashes};
use super::resume;
use super::tree::{self, Failure, Found, Page, Tree};
use super::{Context, CopyError, CopyEvent, CopyOptions, FileCopy, absolute, look};
use crate::files::{FileKind, FilePlace, Files, FilesError, FilesFailure, PartOf, WriteOptions};
use crate::limits::COPY_GROUP;

pub(super) async fn begin(
    context: Context,
    from: &Path,
    to: &Path,
    options: CopyOptions,
) -> Result<FileCopy, CopyError> {
    let source = from.to_owned();
    // First, because it needs no connection.
    let origin = blocking(move || Origin::open(&source, options.recursive)).await?;
    let to = absolute(&context.files, to).await?;
    let found = look(&context.files, &to).await?;
    let target = match found {
        None => Target::Absent(to),
        Some(found) => {
            let path = found.canonical.unwrap_or(to);
            match found.kind {
                FileKind::Directory => Target::Directory(path),
                _ => Target::Taken(path),
            }
        }
    };
    match origin {
        Origin::File(source) => {
            let path = file_path(target, last_name(from))?;
            Ok(one_file(context, FilePlace::new(path), source))
        }
        Origin::Directory(directory, mode) => {
            let (root, below) = make_tree(&context.files, target, last_name(from), mode).await?;
            let first = Pending::Open(Arc::new(Node {
                directory: Arc::new(directory),
                path: PathBuf::new(),
            }));
            let meter = context.meter.clone();
            let tree = Upload { context, root, below };
            Ok(FileCopy::new(tree::copy(tree, first, meter.clone()), meter))
        }
    }
}

/// What the destination is.
enum Target {
    Absent(PathBuf),
    /// Without symbolic links.
    Directory(PathBuf),
    /// Something else. Without symbolic links.
    Taken(PathBuf),
}

/// The path that a file gets.
fn file_path(target: Target, name: Option<&OsStr>) -> Result<PathBuf, CopyError> {
    match target {
        Target::Directory(path) => Ok(path.join(name.ok_or(CopyError::TargetNeedsName)?)),
        Target::Absent(path) if ends_in_slash(&path) => Err(CopyError::TargetNeedsName),
        Target::Absent(path) | Target::Taken(path) => Ok(path),
    }
}

/// Makes the directory that receives the entries of the source. Returns the root that no file of the copy leaves, and
/// that directory below it.
async fn make_tree(
    files: &Files,
    target: Target,
    name: Option<&OsStr>,
    mode: u32,
) -> Result<(PathBuf, PathBuf), CopyError> {
    let (root, below, place) = match (target, name) {
        (Target::Taken(_), _) => return Err(CopyError::TargetIsNoDirectory),
        (Target::Directory(path), None) => return Ok((path, PathBuf::new())),
        (Target::Directory(path), Some(name)) => {
            let place = FilePlace::beneath(&path, name);
            (path, PathBuf::from(name), place)
        }
        (Target::Absent(path), _) => {
            let path = without_slashes(&path).to_owned();
            (path.clone(), PathBuf::new(), FilePlace::new(path))
        }
    };
    make_directory(files, place, mode).await?;
    Ok((root, below))
}

/// Makes a directory, or accepts the one that has the name, which keeps its mode.
async fn make_directory(files: &Files, place: FilePlace, mode: u32) -> Result<(), CopyError> {
    let mode = mode & PERMISSIONS | TO_FILL;
    let made = match files.mkdir(place.clone(), Some(mode)).await {
        // Only now, because it would make the absent parents too.
        Err(FilesError::Failed {
            failure: FilesFailure::Exists,
            ..
        }) => files.mkdir_all(place, Some(mode)).await.map(drop),
        made => made,
    };
    made.map_err(|error| match error {
        FilesError::Failed {
            failure: FilesFailure::Exists,
            ..
        } => CopyError::TargetIsNoDirectory,
        error => error.into(),
    })
}

fn one_file(context: Context, place: FilePlace, source: Source) -> FileCopy {
    let meter = context.meter.clone();
    meter.found(source.size());
    let counts = meter.clone();
    let sending = async move {
        let opened = blocking(move || read_next(source)).await;
        let sent = send(&context, place, opened).await;
        counts.counted(event(PathBuf::new(), sent))
    };
    FileCopy::new(stream::once(sending).boxed(), meter)
}

/// A tree of this machine.
struct Upload {
    context: Context,
    /// No file of the copy leaves it.
    root: PathBuf,
    /// The copy, below the root.
    below: PathBuf,
}

/// A directory of the source.
struct Node {
    directory: Arc<Directory>,
    /// Below the source.
    path: PathBuf,
}

enum Pending {
    Open(Arc<Node>),
    /// It is at neither end yet.
    Closed {
        parent: Arc<Node>,
        name: OsString,
        mode: u32,
    },
}

struct LocalListing {
    node: Arc<Node>,
    entries: Entries,
}

struct LocalFile {
    parent: Arc<Node>,
    name: OsString,
}

impl Upload {
    /// The destination of a path below the source.
    fn place(&self, path: &Path) -> FilePlace {
        let below = match self.below.as_os_str().is_empty() {
            true => path.to_owned(),
            false => self.below.join(path),
        };
        FilePlace::beneath(&self.root, below)
    }

    async fn open_directory(&self, directory: Pending) -> Result<Arc<Node>, Failure> {
        let (parent, name, mode) = match directory {
            Pending::Open(node) => return Ok(node),
            Pending::Closed { parent, name, mode } => (parent, name, mode),
        };
        let path = parent.path.join(&name);
        let made = async {
            // First, so that nothing is made for a directory that cannot be read.
            let directory = blocking(move || parent.directory.enter(&name)).await?;
            make_directory(&self.context.files, self.place(&path), mode).await?;
            Ok::<_, CopyError>(directory)
        };
        match made.await {
            Ok(directory) => Ok(Arc::new(Node {
                directory: Arc::new(directory),
                path,
            })),
            Err(error) => Err(Failure { path, error }),
        }
    }
}

impl Tree for Upload {
    type Directory = Pending;
    type Listing = LocalListing;
    type File = LocalFile;

    async fn open(self: Arc<Self>, directory: Pending) -> Result<Page<Self>, Failure> {
        let node = self.open_directory(directory).await?;
        let directory = Arc::clone(&node.directory);
        match blocking(move || Entries::of(directory)).await {
            Ok(entries) => self.list(LocalListing { node, entries }).await,
            Err(error) => Err(Failure {
                path: node.path.clone(),
                error,
            }),
        }
    }

    async fn list(self: Arc<Self>, listing: LocalListing) -> Result<Page<Self>, Failure> {
        let LocalListing { node, mut entries } = listing;
        let listed = blocking(move || {
            let (page, has_more) = entries.page()?;
            Ok((page, has_more.then_some(entries)))
        });
        match listed.await {
            Ok((page, rest)) => Ok(Page {
                found: page.into_iter().map(|entry| sort(&node, entry)).collect(),
                rest: rest.map(|entries| LocalListing { node, entries }),
            }),
            Err(error) => Err(Failure {
                path: node.path.clone(),
                error,
            }),
        }
    }

    fn group_max(&self) -> usize {
        COPY_GROUP
    }

    fn is_of_group(_: &LocalFile, _: &LocalFile) -> bool {
        true
    }

    async fn copy(self: Arc<Self>, files: Vec<LocalFile>) -> Vec<CopyEvent> {
        let path = |file: &LocalFile| file.parent.path.join(&file.name);
        let paths: Vec<PathBuf> = files.iter().map(path).collect();
        let open = |file: LocalFile| read_next(file.parent.directory.open_file(&file.name)?);
        let opened = each(files, open).await;
        let sending = paths.into_iter().zip(opened).map(async |(path, opened)| {
            let sent = send(&self.context, self.place(&path), opened).await;
            event(path, sent)
        });
        join_all(sending).await
    }
}

/// What is done with an entry of a directory.
fn sort(node: &Arc<Node>, entry: Entry) -> Found<Upload> {
    let Entry { name, status } = entry;
    let path = || node.path.join(&name);
    let failed = |error| Found::Other(CopyEvent::Failed { path: path(), error });
    let status = match status {
        Ok(status) => status,
        Err(errno) => return failed(CopyError::local("look at it")(errno)),
    };
    if node.path.as_os_str().len() + 1 + name.len() > PATH_MAX {
        return failed(CopyError::PathTooLong);
    }
    match status.kind {
        FileKind::File => Found::File {
            bytes: status.size,
            file: LocalFile {
                parent: Arc::clone(node),
                name,
            },
        },
        FileKind::Directory => Found::Directory(Pending::Closed {
            parent: Arc::clone(node),
            name,
            mode: status.mode,
        }),
        kind => Found::Other(CopyEvent::Skipped { path: path(), kind }),
    }
}

fn event(path: PathBuf, sent: Result<(u64, bool), CopyError>) -> CopyEvent {
    match sent {
        Ok((bytes, changed)) => CopyEvent::Copied { path, bytes, changed },
        Err(error) => CopyEvent::Failed { path, error },
    }
}

/// Copies one file, of which the first bytes were read. Returns its size, and whether it was changed meanwhile.
async fn send(
    context: &Context,
    place: FilePlace,
    opened: Result<(Source, Bytes), CopyError>,
) -> Result<(u64, bool), CopyError> {
    let (source, first) = opened?;
    let options = WriteOptions {
        mode: Some(source.mode()),
        ..WriteOptions::default()
    };
    if source.is_at_end() {
        let bytes = first.len() as u64;
        context.meter.moved(bytes);
        context.files.write(place, options, first).await?;
        return Ok((bytes, source.is_changed()));
    }
    // It is never closed, and a permit more would do no harm.
    let _permit = context.streams.acquire().await;
    let (mut source, part) = match context.resume {
        true => resume::find_remote(context, &place, source).await?,
        false => (source, None),
    };
    let mut writer = match part {
        Some(part) => context.files.resume_writer(place, options, part),
        None => context.files.writer(place, options),
    };
    let (mut batch, mut bytes) = (first, 0);
    if let Some(PartOf::Bytes(length, _)) = part {
        bytes = length;
        context.meter.moved(length);
        (source, batch) = blocking(move || read_next(source)).await?;
    }
    while !batch.is_empty() {
        bytes += batch.len() as u64;
        context.meter.moved(batch.len() as u64);
        // It runs at once, and not only when it is awaited.
        let reading = spawn_blocking(move || read_next(source));
        writer.write(batch).await?;
        (source, batch) = joined(reading.await)?;
    }
    writer.finish(None).await?;
    Ok((bytes, source.is_changed()))
}

fn read_next(mut source: Source) -> Result<(Source, Bytes), CopyError> {
    let batch = source.read()?;
    Ok((source, batch))
}
