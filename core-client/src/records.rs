//! Records of commands, threads, and the barrier that waits until they are on disk.

use baton_channel::{Channel, ConnectError, SessionError};
use baton_proto::Features;
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
/// A query returns everything that was accepted before it, unless the exec-server's disk accepts no writes: then the
/// response is marked as *behind*. Requests and responses are those of `baton.metadata.v1`
/// ([`baton_proto::metadata`]).
#[derive(Clone)]
pub struct Records {
    channel: Channel,
    client: MetadataClient<Channel>,
}

/// Why records could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// No session with the exec-server could be established.
    #[error(transparent)]
    Connect(ConnectError),
    /// The session ended during the call.
    #[error("{0}")]
    Session(SessionError),
    /// This client has no such record or thread, with the exec-server's message.
    #[error("{0}")]
    NotFound(String),
    /// The exec-server has no metadata service: its version is older than the service, or the program that it is part
    /// of does not mount `baton_metadata::MetadataService`.
    #[error(
        "this exec-server keeps no records: its version is too old, or its program does not mount MetadataService; \
         update it, or mount the service"
    )]
    NotKept,
    /// The query asks for faults, and the exec-server's version is too old to record whose fault a failed command is.
    #[error(
        "this exec-server does not record whose fault a failed command is, because its version is too old; update it"
    )]
    NoFaults,
    /// A response that violates the protocol.
    #[error("the exec-server sent {0}; if client and exec-server have the same version, report it")]
    Protocol(&'static str),
    /// Any other error, with the exec-server's message.
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

/// The pages of a response, read one after the other: at most [`PAGE_ITEMS_MAX`] items each, and at most the requested
/// limit in total.
#[derive(Debug)]
pub struct Pages<T> {
    pages: Streaming<T>,
    /// Items that may still follow; `None` without a limit.
    left: Option<usize>,
}

/// A message with one page of a list.
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
            return Err(RecordsError::Protocol("a page with too many items"));
        }
        if let Some(left) = &mut self.left {
            let after = left.checked_sub(page.items());
            *left = after.ok_or(RecordsError::Protocol("more items than requested"))?;
        }
        Ok(Some(page))
    }
}

impl Records {
    pub(crate) fn over(channel: Channel) -> Self {
        Self {
            channel: channel.clone(),
            client: MetadataClient::new(channel).max_decoding_message_size(ANSWER_MAX),
        }
    }

    /// Commands, newest first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn history(&self, request: HistoryRequest) -> Result<Pages<HistoryPage>, RecordsError> {
        let limit = request.limit;
        if !request.faults.is_empty() {
            // An exec-server that does not know faults would answer with all commands.
            self.channel.connect().await?;
            if !self.channel.features().has(Features::FAULTS) {
                return Err(RecordsError::NoFaults);
            }
        }
        let pages = self.client.clone().history(request).await?.into_inner();
        Ok(Pages::new(pages, limit))
    }

    /// One command, by its id, a prefix of it, or its trace id.
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

    /// Changes a thread, or creates it. The change is accepted when this returns; [`flush`](Self::flush) makes it
    /// durable.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn update_thread(&self, request: ThreadUpdateRequest) -> Result<(), RecordsError> {
        self.client.clone().thread_update(request).await?;
        Ok(())
    }

    /// Hides a thread from [`threads`](Self::threads) until a command or [`update_thread`](Self::update_thread) uses
    /// it; with `undo` it is listed again. Durable when this returns.
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

    /// Deletes a thread; the records of its commands stay. Durable when this returns.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn delete_thread(&self, id: impl Into<String>) -> Result<(), RecordsError> {
        let request = ThreadDeleteRequest { thread_id: id.into() };
        self.client.clone().thread_delete(request).await?;
        Ok(())
    }

    /// Returns once everything accepted before is durable, or with the failures. Acknowledges `acknowledge_dropped`
    /// dropped records, which later barriers then do not report.
    ///
    /// # Errors
    /// [`RecordsError`]. The response, and not an error, reports records that could not be written.
    pub async fn flush(&self, acknowledge_dropped: u64) -> Result<FlushResponse, RecordsError> {
        let request = FlushRequest { acknowledge_dropped };
        Ok(self.client.clone().flush(request).await?.into_inner())
    }
}
