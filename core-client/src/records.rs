//! What has run before: records, threads, and the barrier that says that they are on disk.

use baton_channel::{Channel, ConnectError, SessionError};
use baton_proto::limits::{ANSWER_MAX, PAGE_ITEMS_MAX, SHOWN_MAX, THREAD_ANSWER_MAX};
use baton_proto::metadata::{
    FlushRequest, FlushResponse, HistoryPage, HistoryRequest, ShowRequest, ShowResponse,
    ThreadArchiveRequest, ThreadDeleteRequest, ThreadShowRequest, ThreadShowResponse, ThreadUpdateRequest,
    ThreadsPage, ThreadsRequest,
};
use baton_rpc::metadata::metadata_client::MetadataClient;
use baton_trace::text::printable;
use tonic::{Code, Status, Streaming};

use crate::error::{TransportFailure, status_text};

/// The records that an exec-server keeps of this client's commands. Cheap to clone.
///
/// A query tells what was accepted before it, unless the exec-server's disk takes nothing: then the answer says that it is
/// *behind*. RequestQueue and answers are those of `baton.metadata.v1` ([`baton_proto::metadata`]).
#[derive(Clone)]
pub struct Records {
    client: MetadataClient<Channel>,
}

/// Records could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// No session with the exec-server.
    #[error(transparent)]
    Connect(ConnectError),
    /// The session ended meanwhile.
    #[error("{0}")]
    Session(SessionError),
    /// This client has nothing of that name; in words, by the exec-server.
    #[error("{0}")]
    NotFound(String),
    /// The exec-server keeps no records.
    #[error("this exec-server keeps no records: it is older than they are")]
    NotKept,
    /// An answer that no exec-server of this version gives.
    #[error("the exec-server sent {0}; if both are of one version, report it")]
    Protocol(&'static str),
    /// Anything else, in the exec-server's words.
    #[error("{}", status_text(.0))]
    Rpc(Status),
}

impl From<Status> for RecordsError {
    fn from(status: Status) -> Self {
        match TransportFailure::from_status(&status) {
            Some(TransportFailure::Connect(error)) => return Self::Connect(error),
            Some(TransportFailure::Session(error)) => return Self::Session(error),
            None => {}
        }
        match status.code() {
            Code::NotFound => Self::NotFound(printable(status.message()).into_owned()),
            Code::Unimplemented => Self::NotKept,
            _ => Self::Rpc(status),
        }
    }
}

/// Pages of an answer, taken one after the other: [`PAGE_ITEMS_MAX`] items at most on each, and no more in all than were asked for.
#[derive(Debug)]
pub struct Pages<T> {
    pages: Streaming<T>,
    /// Items that may still come; `None` where all were asked for.
    left: Option<usize>,
}

/// A message with a part of a list.
trait Page {
    fn items(&self) -> usize;
}

impl Page for HistoryPage {
    fn items(&self) -> usize {
        self.records.len()
    }
}

impl Page for ThreadsPage {
    fn items(&self) -> usize {
        self.threads.len()
    }
}

#[allow(private_bounds, reason = "the two pages that there are")]
impl<T: Page> Pages<T> {
    fn new(pages: Streaming<T>, limit: u32) -> Self {
        let left = (limit > 0).then_some(limit as usize);
        Self { pages, left }
    }

    /// The next page; `None` after the last. Cancellation safe.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn next(&mut self) -> Result<Option<T>, RecordsError> {
        let Some(page) = self.pages.message().await? else {
            return Ok(None);
        };
        if page.items() > PAGE_ITEMS_MAX {
            return Err(RecordsError::Protocol("a page with more than a page holds"));
        }
        if let Some(left) = &mut self.left {
            let after = left.checked_sub(page.items());
            *left = after.ok_or(RecordsError::Protocol("more than it was asked for"))?;
        }
        Ok(Some(page))
    }
}

impl Records {
    pub(crate) fn over(channel: Channel) -> Self {
        Self {
            client: MetadataClient::new(channel).max_decoding_message_size(ANSWER_MAX),
        }
    }

    /// Commands, newest first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn history(&self, request: HistoryRequest) -> Result<Pages<HistoryPage>, RecordsError> {
        let limit = request.limit;
        let pages = self.client.clone().history(request).await?.into_inner();
        Ok(Pages::new(pages, limit))
    }

    /// One command, by its id, the beginning of it, or its trace id.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn show(&self, name: impl Into<String>) -> Result<ShowResponse, RecordsError> {
        let request = ShowRequest { name: name.into() };
        let shown = self.client.clone().show(request).await?.into_inner();
        match shown.stages.len().max(shown.several.len()) {
            0..=SHOWN_MAX => Ok(shown),
            _ => Err(RecordsError::Protocol(
                "more stages or records than one command has",
            )),
        }
    }

    /// Threads, the most recently used first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn threads(&self, request: ThreadsRequest) -> Result<Pages<ThreadsPage>, RecordsError> {
        let limit = request.limit;
        let pages = self.client.clone().threads(request).await?.into_inner();
        Ok(Pages::new(pages, limit))
    }

    /// One thread.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn thread(&self, id: impl Into<String>) -> Result<ThreadShowResponse, RecordsError> {
        let request = ThreadShowRequest { thread_id: id.into() };
        let mut client = self.client.clone().max_decoding_message_size(THREAD_ANSWER_MAX);
        Ok(client.thread_show(request).await?.into_inner())
    }

    /// Changes a thread, made if there is none. It is accepted when this returns; [`flush`](Self::flush) makes it durable.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn update_thread(&self, request: ThreadUpdateRequest) -> Result<(), RecordsError> {
        self.client.clone().thread_update(request).await?;
        Ok(())
    }

    /// Hides a thread from [`threads`](Self::threads) until a command or [`update_thread`](Self::update_thread) uses it again, or (`undo`) shows it
    /// again. Durable when this returns.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn archive_thread(&self, id: impl Into<String>, undo: bool) -> Result<(), RecordsError> {
        let request = ThreadArchiveRequest {
            thread_id: id.into(),
            undo,
        };
        self.client.clone().thread_archive(request).await?;
        Ok(())
    }

    /// Forgets a thread; the records of its commands stay. Durable when this returns.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn delete_thread(&self, id: impl Into<String>) -> Result<(), RecordsError> {
        let request = ThreadDeleteRequest { thread_id: id.into() };
        self.client.clone().thread_delete(request).await?;
        Ok(())
    }

    /// Returns once everything that was accepted before is durable, or with what failed. Acknowledges so many dropped records, which
    /// later barriers then no longer tell.
    ///
    /// # Errors
    /// [`RecordsError`]. Records that could not be written are no error of the call: see the response.
    pub async fn flush(&self, acknowledge_dropped: u64) -> Result<FlushResponse, RecordsError> {
        let request = FlushRequest { acknowledge_dropped };
        Ok(self.client.clone().flush(request).await?.into_inner())
    }
}
