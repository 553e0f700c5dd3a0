//! What has run before: records, threads, and the barrier that says that they are on disk.

use baton_channel::{Channel, ConnectError, SessionError};
use baton_proto::meta::meta_client::MetaClient;
use baton_proto::meta::{
    FlushRequest, FlushResponse, HistoryPage, HistoryRequest, ShowRequest, ShowResponse,
    ThreadArchiveRequest, ThreadDeleteRequest, ThreadShowRequest, ThreadShowResponse, ThreadUpdateRequest,
    ThreadsPage, ThreadsRequest,
};
use baton_trace::text::printable;
use tonic::{Code, Status, Streaming};

use crate::error::{Broken, words};

/// The records that an exec-server keeps of this client's commands. Cheap to clone.
///
/// A query tells what was accepted before it, unless the exec-server's disk takes nothing: then the answer says that it is
/// *behind*. Requests and answers are those of `baton.meta.v1` ([`baton_proto::meta`]).
#[derive(Clone)]
pub struct Records {
    client: MetaClient<Channel>,
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
    /// Anything else, in the exec-server's words.
    #[error("{}", words(.0))]
    Rpc(Status),
}

impl From<Status> for RecordsError {
    fn from(status: Status) -> Self {
        match Broken::under(&status) {
            Some(Broken::Connect(error)) => return Self::Connect(error),
            Some(Broken::Session(error)) => return Self::Session(error),
            None => {}
        }
        match status.code() {
            Code::NotFound => Self::NotFound(printable(status.message()).into_owned()),
            Code::Unimplemented => Self::NotKept,
            _ => Self::Rpc(status),
        }
    }
}

/// Pages of an answer, taken one after the other.
#[derive(Debug)]
pub struct Pages<T>(Streaming<T>);

impl<T> Pages<T> {
    /// The next page; `None` after the last. Cancellation safe.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn next(&mut self) -> Result<Option<T>, RecordsError> {
        Ok(self.0.message().await?)
    }
}

impl Records {
    pub(crate) fn over(channel: Channel) -> Self {
        Self {
            client: MetaClient::new(channel),
        }
    }

    /// Commands, newest first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn history(&self, request: HistoryRequest) -> Result<Pages<HistoryPage>, RecordsError> {
        Ok(Pages(self.client.clone().history(request).await?.into_inner()))
    }

    /// One command, by its id, the beginning of it, or its trace id.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn show(&self, name: impl Into<String>) -> Result<ShowResponse, RecordsError> {
        let request = ShowRequest { name: name.into() };
        Ok(self.client.clone().show(request).await?.into_inner())
    }

    /// Threads, the most recently used first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn threads(&self, request: ThreadsRequest) -> Result<Pages<ThreadsPage>, RecordsError> {
        Ok(Pages(self.client.clone().threads(request).await?.into_inner()))
    }

    /// One thread.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn thread(&self, id: impl Into<String>) -> Result<ThreadShowResponse, RecordsError> {
        let request = ThreadShowRequest { thread_id: id.into() };
        Ok(self.client.clone().thread_show(request).await?.into_inner())
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
