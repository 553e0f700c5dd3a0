//! Copies a tree: lists its directories and copies its files, a bounded number at a time.
//!
//! A directory is listed a page at a time, and only while no listed file waits. So the tree is never in memory as a
//! whole, and at the exec-server the open listings and the files in flight stay below a key's share of transfers.
//! Small files of a directory are copied together, because calls and threads cost more than their bytes do. Directories
//! are taken depth first, so that few of them are open.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use baton_proto::limits::SMALL_FILE_MAX;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered, StreamExt as _};

use super::{CopyError, CopyEvent, CopyMeter};
use crate::limits::{COPY_DIRECTORIES_MAX, COPY_GROUP_WEIGHT, COPY_IN_FLIGHT, COPY_LISTINGS};

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

    /// The most small files that are copied together.
    fn group_max(&self) -> usize;

    /// Whether two files may be copied together.
    fn is_of_group(file: &Self::File, other: &Self::File) -> bool;

    /// Copies a file, or small files together. Gives an event of each, unless one ends the copy.
    fn copy(self: Arc<Self>, files: Vec<Self::File>) -> impl Future<Output = Vec<CopyEvent>> + Send;
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
    Copied {
        events: Vec<CopyEvent>,
        /// What it was counted as in `TreeCopy::in_flight`.
        weight: usize,
    },
}

struct TreeCopy<T: Tree> {
    tree: Arc<T>,
    meter: CopyMeter,
    /// With the number of their bytes.
    files: VecDeque<(u64, T::File)>,
    directories: Vec<T::Directory>,
    /// Those that are not in `working`.
    listings: Vec<T::Listing>,
    /// All of them.
    open_listings: usize,
    working: FuturesUnordered<BoxFuture<'static, Done<T>>>,
    /// Files, up to [`COPY_GROUP_WEIGHT`] of those that are copied together, and listings.
    in_flight: usize,
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
        in_flight: 0,
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
                Some(Done::Copied { events, weight }) => {
                    self.in_flight -= weight;
                    self.events.extend(events);
                }
                Some(Done::Listed(Ok(page))) => {
                    self.in_flight -= 1;
                    self.take(page)?;
                }
                Some(Done::Listed(Err(Failure { path, error }))) => {
                    self.in_flight -= 1;
                    self.open_listings -= 1;
                    self.events.push_back(CopyEvent::Failed { path, error });
                }
            }
        }
    }

    /// Keeps as much in flight as there may be. Files go first, then listings that are open, then new ones.
    fn begin_work(&mut self) {
        while self.in_flight < COPY_IN_FLIGHT {
            let tree = Arc::clone(&self.tree);
            let group = self.next_group();
            let weight = group.len().clamp(1, COPY_GROUP_WEIGHT);
            let work: BoxFuture<'static, Done<T>> = if !group.is_empty() {
                Box::pin(async move {
                    let events = tree.copy(group).await;
                    Done::Copied { events, weight }
                })
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
            self.in_flight += weight;
            self.working.push(work);
        }
    }

    /// The next file, with those behind it that are copied together with it, if all of them are small.
    fn next_group(&mut self) -> Vec<T::File> {
        let free = COPY_IN_FLIGHT.saturating_sub(self.in_flight);
        let most = match free < COPY_GROUP_WEIGHT {
            true => free.min(self.tree.group_max()),
            false => self.tree.group_max(),
        };
        let is_small = |bytes: u64| bytes <= SMALL_FILE_MAX as u64;
        let Some((bytes, first)) = self.files.pop_front() else {
            return Vec::new();
        };
        let mut group = vec![first];
        while group.len() < most
            && is_small(bytes)
            && let Some((_, next)) = self.files.pop_front_if(|(bytes, next)| {
                is_small(*bytes) && group.first().is_some_and(|first| T::is_of_group(first, next))
            })
        {
            group.push(next);
        }
        group
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
                    self.files.push_back((bytes, file));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;

    /// One directory with files of two groups, of which `copy` looks what is copied together.
    #[derive(Default)]
    struct Fake {
        in_flight: Mutex<usize>,
        most: Mutex<usize>,
        groups: Mutex<Vec<Vec<(u32, u64)>>>,
    }

    const GROUP: usize = 12;

    /// A number, of which the hundreds are the group, and bytes.
    impl Tree for Arc<Fake> {
        type Directory = Vec<(u32, u64)>;
        type Listing = ();
        type File = (u32, u64);

        async fn open(self: Arc<Self>, files: Vec<(u32, u64)>) -> Result<Page<Self>, Failure> {
            let found = files.into_iter().map(|file| Found::File { file, bytes: file.1 });
            Ok(Page {
                found: found.collect(),
                rest: None,
            })
        }

        async fn list(self: Arc<Self>, (): ()) -> Result<Page<Self>, Failure> {
            unreachable!()
        }

        fn group_max(&self) -> usize {
            GROUP
        }

        fn is_of_group(file: &(u32, u64), other: &(u32, u64)) -> bool {
            file.0 / 100 == other.0 / 100
        }

        async fn copy(self: Arc<Self>, files: Vec<(u32, u64)>) -> Vec<CopyEvent> {
            let weight = files.len().min(COPY_GROUP_WEIGHT);
            let in_flight = {
                let mut in_flight = self.in_flight.lock().unwrap();
                *in_flight += weight;
                *in_flight
            };
            let most = *self.most.lock().unwrap();
            *self.most.lock().unwrap() = most.max(in_flight);
            self.groups.lock().unwrap().push(files.clone());
            tokio::task::yield_now().await;
            *self.in_flight.lock().unwrap() -= weight;
            let copied = |(number, bytes): (u32, u64)| CopyEvent::Copied {
                path: number.to_string().into(),
                bytes,
                changed: false,
            };
            files.into_iter().map(copied).collect()
        }
    }

    #[tokio::test]
    async fn small_neighbours_are_copied_together_and_no_more_than_may_be_is_in_flight() {
        let fake = Arc::new(Fake::default());
        let small = SMALL_FILE_MAX as u64;
        let mut files: Vec<_> = (0..50).chain(100..200).map(|number| (number, small)).collect();
        files.extend((200..240).map(|number| (number, small + 1)));
        let all = files.len();
        let meter = CopyMeter::default();
        let mut events = copy(Arc::clone(&fake), files, meter.clone());
        let mut paths = BTreeSet::new();
        while let Some(event) = events.next().await {
            let CopyEvent::Copied { path, .. } = event.unwrap() else {
                panic!()
            };
            assert!(paths.insert(path));
        }
        assert_eq!((paths.len(), meter.progress().files), (all, all as u64));
        let groups = fake.groups.lock().unwrap();
        for group in groups.iter() {
            let is_one = group.iter().all(|(number, _)| number / 100 == group[0].0 / 100);
            assert!(is_one && group.len() <= GROUP, "{group:?}");
            assert!(
                group.len() == 1 || group.iter().all(|(_, bytes)| *bytes <= small),
                "{group:?}"
            );
        }
        assert!(
            groups.iter().filter(|group| group.len() == GROUP).count() >= 8,
            "{groups:?}"
        );
        let most = *fake.most.lock().unwrap();
        assert!((COPY_IN_FLIGHT / 2..=COPY_IN_FLIGHT).contains(&most), "{most}");
    }
}
