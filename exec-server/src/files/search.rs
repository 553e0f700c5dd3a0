//! `Glob` and `Grep`: what is below a directory, and the lines in it that match a pattern.
//!
//! ```text
//! request ──► checked ──► a thread: compiled (selection, pattern)
//!                                   walk ──► entries in order ──► glob: their status   ──► Results ──► pages, end
//!                                                                 grep: their lines
//! ```
//!
//! The walk opens each thing by its path from the place, and the kernel refuses one with a symbolic link in it. So nothing
//! outside of the place is opened, whatever is renamed meanwhile, and a search holds three descriptors however deep the
//! tree is. A search that is cut short ends with an answer that says why.

mod glob;
mod grep;
mod ignored;
mod pattern;
mod selection;
mod walk;

use std::time::Instant;

use baton_export::clock;
use baton_proto::files::{self, Truncation};
use baton_proto::limits::{CONTEXT_LINES_MAX, PAGE_BYTES_MAX, SEARCH_PAGE_MAX, SEARCH_RESULTS_MAX};
use futures_util::stream::{BoxStream, StreamExt as _};
use tonic::Status;

use super::error::{FilesError, InvalidSearch};
use super::place::Place;
use super::transfers::{Outbox, Stop, Transfer};
use crate::limits::{SEARCH_PAGE_INTERVAL, SEARCH_TIMEOUT};
pub(super) use glob::glob;
pub(super) use grep::grep;
use pattern::Pattern;
use selection::Selection;

/// A `Glob` that was checked.
#[derive(Debug)]
pub(super) struct GlobOrder {
    place: Place,
    selection: Selection,
    max_results: u64,
}

/// A `Grep` that was checked.
#[derive(Debug)]
pub(super) struct GrepOrder {
    place: Place,
    selection: Selection,
    pattern: Pattern,
    before: usize,
    after: usize,
    /// `None`: no limit.
    max_per_file: Option<u64>,
    max_matches: u64,
}

impl TryFrom<files::GlobRequest> for GlobOrder {
    type Error = FilesError;

    fn try_from(request: files::GlobRequest) -> Result<Self, FilesError> {
        Ok(Self {
            place: request.place.try_into()?,
            selection: request.selection.unwrap_or_default().try_into()?,
            max_results: results(request.max_results),
        })
    }
}

impl TryFrom<files::GrepRequest> for GrepOrder {
    type Error = FilesError;

    fn try_from(request: files::GrepRequest) -> Result<Self, FilesError> {
        if request.before.max(request.after) > CONTEXT_LINES_MAX {
            return Err(InvalidSearch::Context.into());
        }
        Ok(Self {
            place: request.place.try_into()?,
            selection: request.selection.unwrap_or_default().try_into()?,
            pattern: Pattern::new(request.pattern, request.fixed_strings, request.ignore_case)?,
            before: request.before as usize,
            after: request.after as usize,
            max_per_file: (request.max_per_file > 0).then_some(request.max_per_file.into()),
            max_matches: results(request.max_matches),
        })
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl GlobOrder {
    /// Compiles what the thread would compile.
    pub(super) fn compile(&self) -> Result<(), FilesError> {
        self.selection.compile().map(drop).map_err(Into::into)
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl GrepOrder {
    /// As [`GlobOrder::compile`].
    pub(super) fn compile(&self) -> Result<(), FilesError> {
        self.selection.compile()?;
        self.pattern.compile().map(drop).map_err(Into::into)
    }
}

/// The number of results that are given if the client asks for `wanted`.
fn results(wanted: u32) -> u64 {
    match wanted {
        0 => SEARCH_RESULTS_MAX.into(),
        wanted => wanted.min(SEARCH_RESULTS_MAX).into(),
    }
}

/// What a search's thread gives: a message, or a sign that it goes on.
pub(super) enum Progress<M> {
    Goes,
    Message(M),
}

/// The answer of a call, without the signs of life.
///
/// # Errors
/// What the search failed with before its first sign of life, such as a place that does not exist.
pub(super) async fn answer<M: Send + 'static>(
    transfer: Transfer<Progress<M>>,
) -> Result<BoxStream<'static, Result<M, Status>>, FilesError> {
    let messages = transfer.into_answer().await?;
    let shown = messages.filter_map(|progress| async {
        match progress {
            Ok(Progress::Goes) => None,
            Ok(Progress::Message(message)) => Some(Ok(message)),
            Err(status) => Some(Err(status)),
        }
    });
    Ok(shown.boxed())
}

/// Why a search does not go on.
#[derive(Debug)]
enum Halt {
    /// What was found is the answer.
    Truncated(Truncation),
    Stopped(Stop),
}

impl<E: Into<Stop>> From<E> for Halt {
    fn from(stop: E) -> Self {
        Self::Stopped(stop.into())
    }
}

/// Collects results into pages. Holds one.
struct Results<'a, T, M> {
    outbox: &'a Outbox<Progress<M>>,
    deadline: Instant,
    given_at: Instant,
    page: Vec<T>,
    bytes: usize,
    into_message: fn(Vec<T>) -> M,
}

impl<'a, T, M> Results<'a, T, M> {
    /// Tells at once that the search goes on.
    fn new(
        outbox: &'a Outbox<Progress<M>>,
        deadline: Instant,
        into_message: fn(Vec<T>) -> M,
    ) -> Result<Self, Stop> {
        outbox.put(Progress::Goes)?;
        Ok(Self {
            outbox,
            deadline,
            given_at: clock::now(),
            page: Vec::new(),
            bytes: 0,
            into_message,
        })
    }

    /// Adds a result of this encoded length.
    fn add(&mut self, result: T, bytes: usize) -> Result<(), Halt> {
        self.page.push(result);
        self.bytes += bytes;
        if self.page.len() == SEARCH_PAGE_MAX || self.bytes >= PAGE_BYTES_MAX {
            self.give()?;
        }
        Ok(())
    }

    fn give(&mut self) -> Result<(), Stop> {
        let page = std::mem::take(&mut self.page);
        self.bytes = 0;
        self.outbox.put(match page.is_empty() {
            true => Progress::Goes,
            false => Progress::Message((self.into_message)(page)),
        })?;
        self.given_at = clock::now();
        Ok(())
    }

    /// To be called after each bounded piece of work. Ends a search whose client is gone or whose time is over.
    fn tick(&mut self) -> Result<(), Halt> {
        self.outbox.check()?;
        let now = clock::now();
        if now >= self.deadline {
            return Err(Halt::Truncated(Truncation::Time));
        }
        if now.duration_since(self.given_at) >= SEARCH_PAGE_INTERVAL {
            self.give()?;
        }
        Ok(())
    }

    /// The last page, if it is not empty, and the end.
    fn end(&mut self, end: M) -> Result<(), Stop> {
        if !self.page.is_empty() {
            self.give()?;
        }
        Ok(self.outbox.put(Progress::Message(end))?)
    }
}

/// What a search is truncated by.
fn truncation(ended: Result<(), Halt>) -> Result<Truncation, Stop> {
    match ended {
        Ok(()) => Ok(Truncation::Complete),
        Err(Halt::Truncated(truncation)) => Ok(truncation),
        Err(Halt::Stopped(stop)) => Err(stop),
    }
}

/// When a search that begins now ends.
pub(super) fn deadline() -> Instant {
    clock::now() + SEARCH_TIMEOUT
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use baton_channel::key::PublicKey;
    use baton_proto::files::{GlobResponse, GrepResponse, Place as WirePlace, glob_response, grep_response};
    use bytes::Bytes;

    use super::*;
    use crate::files::transfers::Transfers;
    use crate::settings::Directory;

    fn key() -> PublicKey {
        PublicKey::from_bytes([1; 32])
    }

    fn place(path: &std::path::Path) -> Option<WirePlace> {
        use std::os::unix::ffi::OsStrExt as _;
        Some(WirePlace {
            root: None,
            path: Bytes::copy_from_slice(path.as_os_str().as_bytes()),
        })
    }

    #[tokio::test]
    async fn a_search_whose_time_is_over_ends_with_what_it_found_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "word").unwrap();
        let searches = Transfers::searches();
        let over = clock::now();

        let order = GlobOrder::try_from(files::GlobRequest {
            place: place(dir.path()),
            ..Default::default()
        });
        let order = order.unwrap();
        let work = move |outbox: &_| glob(&order, Directory::Own, over, outbox);
        let messages = answer(searches.start(key(), work).await.unwrap()).await.unwrap();
        let messages: Vec<Result<GlobResponse, Status>> = messages.collect().await;
        let [
            Ok(GlobResponse {
                kind: Some(glob_response::Kind::End(end)),
            }),
        ] = &messages[..]
        else {
            panic!("{messages:?}");
        };
        assert_eq!(end.truncated(), Truncation::Time);

        let order = GrepOrder::try_from(files::GrepRequest {
            place: place(&dir.path().join("file")),
            pattern: "word".into(),
            ..Default::default()
        });
        let order = order.unwrap();
        let work = move |outbox: &_| grep(&order, Directory::Own, over, outbox);
        let messages = answer(searches.start(key(), work).await.unwrap()).await.unwrap();
        let messages: Vec<Result<GrepResponse, Status>> = messages.collect().await;
        let [
            Ok(GrepResponse {
                kind: Some(grep_response::Kind::End(end)),
            }),
        ] = &messages[..]
        else {
            panic!("{messages:?}");
        };
        assert_eq!(end.truncated(), Truncation::Time);
    }

    #[tokio::test]
    async fn a_search_that_finds_nothing_shows_that_it_goes_on_and_ends_when_its_client_is_gone() {
        let (ended, end) = mpsc::channel();
        let work = move |outbox: &Outbox<Progress<GlobResponse>>| {
            let later = clock::now() + Duration::from_secs(3600);
            let mut results = Results::<(), _>::new(outbox, later, |_| GlobResponse::default())?;
            let halt = loop {
                if let Err(halt) = results.tick() {
                    break halt;
                }
            };
            ended.send(matches!(halt, Halt::Stopped(Stop::Gone))).unwrap();
            Ok(())
        };
        let mut transfer = Transfers::searches().start(key(), work).await.unwrap();
        for _ in 0..2 {
            let sign = transfer.next().await.unwrap();
            assert!(matches!(sign, Some(Progress::Goes)));
        }
        drop(transfer);
        assert!(end.recv().unwrap(), "it ended for another reason");
    }
}
