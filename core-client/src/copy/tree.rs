//! Copies a tree: lists its directories and copies its files, a bounded number at a time.
//!
//! A directory is listed a page at a time, and only while no listed file waits. So the tree is never in memory as a
//! whole, and at the exec-server the open listings and the files in flight stay below a key's share of transfers.
//! Directories are taken depth first, so that few of them are open.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered, StreamExt as _};

use super::{CopyError, CopyEvent, CopyMeter};
use crate::limits::{COPY_DIRECTORIES_MAX, COPY_IN_FLIGHT, COPY_LISTINGS};

/// One direction of copying: where a tree is listed, and how its files are copied.
pub(super) trait Tree: Send + Sync + Sized + 'static {
    /// A directory that is not listed yet.
    type Directory: Send + 'static;
    /// A directory of which a part is listed.
    type Listing: Send + 'static;
    /// A file that is not copied yet.
    type File: Send + 'static;

    /// Makes a directory at the destination and lists its first entries.
    fn open(
        self: Arc<Self>,
        directory: Self::Directory,
    ) -> impl Future<Output = Result<Page<Self>, Failure>> + Send;

    /// Lists the next entries.
    fn list(
        self: Arc<Self>,
        listing: Self::Listing,
    ) -> impl Future<Output = Result<Page<Self>, Failure>> + Send;

    /// Copies a file.
    fn copy(self: Arc<Self>, file: Self::File) -> impl Future<Output = CopyEvent> + Send;
}

/// Entries of a directory.
pub(super) struct Page<T: Tree> {
    pub(super) found: Vec<Found<T>>,
    /// What the next page is listed with. `None`: this is the last one.
    pub(super) rest: Option<T::Listing>,
}

pub(super) enum Found<T: Tree> {
    Directory(T::Directory),
    File {
        file: T::File,
        bytes: u64,
    },
    /// It is skipped, or cannot be copied.
    Other(CopyEvent),
}

/// A directory could not be made or listed.
pub(super) struct Failure {
    /// Below the source.
    pub(super) path: PathBuf,
    pub(super) error: CopyError,
}

enum Done<T: Tree> {
    Listed(Result<Page<T>, Failure>),
    Copied(CopyEvent),
}

struct TreeCopy<T: Tree> {
    tree: Arc<T>,
    meter: CopyMeter,
    files: VecDeque<T::File>,
    directories: Vec<T::Directory>,
    /// Those that are not in `working`.
    listings: Vec<T::Listing>,
    /// All of them.
    open_listings: usize,
    working: FuturesUnordered<BoxFuture<'static, Done<T>>>,
    events: VecDeque<CopyEvent>,
}

/// Copies everything below a directory.
pub(super) fn copy<T: Tree>(
    tree: T,
    first: T::Directory,
    meter: CopyMeter,
) -> BoxStream<'static, Result<CopyEvent, CopyError>> {
    let copy = TreeCopy {
        tree: Arc::new(tree),
        meter,
        files: VecDeque::new(),
        directories: vec![first],
        listings: Vec::new(),
        open_listings: 0,
        working: FuturesUnordered::new(),
        events: VecDeque::new(),
    };
    let events = stream::unfold(Some(copy), |copy| async move {
        let mut copy = copy?;
        match copy.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(copy))),
            Ok(None) => None,
            // Drops what is in flight.
            Err(error) => Some((Err(error), None)),
        }
    });
    events.fuse().boxed()
}

impl<T: Tree> TreeCopy<T> {
    async fn next(&mut self) -> Result<Option<CopyEvent>, CopyError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return self.meter.counted(event).map(Some);
            }
            self.begin_work();
            match self.working.next().await {
                None => return Ok(None),
                Some(Done::Copied(event)) => self.events.push_back(event),
                Some(Done::Listed(Ok(page))) => self.take(page)?,
                Some(Done::Listed(Err(Failure { path, error }))) => {
                    self.open_listings -= 1;
                    self.events.push_back(CopyEvent::Failed { path, error });
                }
            }
        }
    }

    /// Keeps as much in flight as there may be. Files go first, then listings that are open, then new ones.
    fn begin_work(&mut self) {
        while self.working.len() < COPY_IN_FLIGHT {
            let tree = Arc::clone(&self.tree);
            let work: BoxFuture<'static, Done<T>> = if let Some(file) = self.files.pop_front() {
                Box::pin(async move { Done::Copied(tree.copy(file).await) })
            } else if let Some(listing) = self.listings.pop() {
                Box::pin(async move { Done::Listed(tree.list(listing).await) })
            } else if self.open_listings < COPY_LISTINGS
                && let Some(directory) = self.directories.pop()
            {
                self.open_listings += 1;
                Box::pin(async move { Done::Listed(tree.open(directory).await) })
            } else {
                return;
            };
            self.working.push(work);
        }
    }

    fn take(&mut self, page: Page<T>) -> Result<(), CopyError> {
        match page.rest {
            Some(listing) => self.listings.push(listing),
            None => self.open_listings -= 1,
        }
        for found in page.found {
            match found {
                Found::File { file, bytes } => {
                    self.meter.found(bytes);
                    self.files.push_back(file);
                }
                Found::Directory(directory) => self.directories.push(directory),
                Found::Other(event) => self.events.push_back(event),
            }
        }
        match self.directories.len() <= COPY_DIRECTORIES_MAX {
            true => Ok(()),
            false => Err(CopyError::TooManyDirectories),
        }
    }
}
