//! The service `baton.meta.v1.Meta`: a client's own records, its threads, and barriers.
//!
//! Whose records they are is what the handshake proved; a request cannot say it. Queries read beside the writer, on threads that may
//! wait for the disk, a few at a time. Before a query what was accepted is flushed, so that a client sees what it has just done; a disk that
//! takes nothing delays it by [`READ_FLUSH`] at most, and the answer says so.

mod barrier;
mod convert;
mod history;
mod thread;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_proto::meta as wire;
use baton_proto::meta::meta_server::{Meta as MetaRpc, MetaServer};
use futures_util::Stream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::facts::Facts;
use crate::handle::Meta;
use crate::limits::{META_REQUEST_BYTES, QUERIES_AT_ONCE, READ_FLUSH};
use crate::record::Owner;
use crate::store::query::Cursor;
use crate::store::sqlite::{ReadError, Reader};

/// See the [module](self). Clones share what they read.
#[derive(Debug, Clone)]
pub struct MetaService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    meta: Meta,
    reader: Reader,
    facts: Arc<Facts>,
    queries: Semaphore,
    is_in_memory: bool,
}

impl MetaService {
    pub(crate) fn new(meta: Meta, reader: Reader, facts: Arc<Facts>, is_in_memory: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                meta,
                reader,
                facts,
                queries: Semaphore::new(QUERIES_AT_ONCE),
                is_in_memory,
            }),
        }
    }

    /// The service as tonic mounts it, with this crate's limits on requests.
    pub fn into_server(self) -> MetaServer<Self> {
        MetaServer::new(self).max_decoding_message_size(META_REQUEST_BYTES)
    }

    /// Makes what was accepted readable, if the disk takes it. True: it did not, in time.
    async fn is_behind(&self) -> bool {
        let flushed = timeout(READ_FLUSH, self.inner.meta.flush()).await;
        // Records that were given up are no reason to call the rest old.
        !matches!(
            flushed,
            Ok(Ok(_)) | Ok(Err(crate::barrier::FlushError::Dropped { .. }))
        )
    }

    /// Asks the store, on a thread that may wait.
    async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Status> {
        let _turn = self.inner.queries.acquire().await;
        let reader = self.inner.reader.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&reader)).await;
        let answer = answer.map_err(|_| Status::internal("a query of the records has failed"))?;
        answer.map_err(|error| {
            // The words of the database hold paths and are its owner's.
            Status::unavailable(match error {
                ReadError::Damaged(_) => {
                    "the exec-server's database is damaged: its owner must restart it, which sets that aside and begins a new one"
                }
                ReadError::Sqlite(_) => "the exec-server's records could not be read; try again",
            })
        })
    }
}

/// Who asks, and whether it may learn trace ids.
#[derive(Debug, Clone, Copy)]
struct Caller {
    owner: Owner,
    sees_ids: bool,
}

impl Caller {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let peer = request.extensions().get::<Arc<Peer>>();
        let peer = peer.ok_or_else(|| Status::unauthenticated("the caller of this request is not known"))?;
        Ok(Self {
            owner: Owner(*peer.key.as_bytes()),
            sees_ids: peer.sees_ids(),
        })
    }
}

/// Where a page ended, as a client sends it back.
fn cursor(after: &[u8]) -> Result<Option<Cursor>, Status> {
    if after.is_empty() {
        return Ok(None);
    }
    let bytes = after
        .try_into()
        .map_err(|_| Status::invalid_argument("`after` is not what a page said in `next`"))?;
    Ok(Some(Cursor::from_bytes(bytes)))
}

/// Pages, one after the other as they are taken.
pub struct Pages<T>(Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>);

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

impl<T> Stream for Pages<T> {
    type Item = Result<T, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

#[tonic::async_trait]
impl MetaRpc for MetaService {
    type HistoryStream = Pages<wire::HistoryPage>;
    type ThreadsStream = Pages<wire::ThreadsPage>;

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        let caller = Caller::of(&request)?;
        history::pages(self, caller, request.into_inner()).await
    }

    async fn show(
        &self,
        request: Request<wire::ShowRequest>,
    ) -> Result<Response<wire::ShowResponse>, Status> {
        let caller = Caller::of(&request)?;
        history::show(self, caller, request.into_inner()).await
    }

    async fn threads(
        &self,
        request: Request<wire::ThreadsRequest>,
    ) -> Result<Response<Self::ThreadsStream>, Status> {
        let caller = Caller::of(&request)?;
        thread::pages(self, caller, request.into_inner()).await
    }

    async fn thread_show(
        &self,
        request: Request<wire::ThreadShowRequest>,
    ) -> Result<Response<wire::ThreadShowResponse>, Status> {
        let caller = Caller::of(&request)?;
        thread::show(self, caller, request.into_inner()).await
    }

    async fn thread_update(
        &self,
        request: Request<wire::ThreadUpdateRequest>,
    ) -> Result<Response<wire::ThreadUpdateResponse>, Status> {
        let caller = Caller::of(&request)?;
        thread::update(self, caller, request.into_inner())
    }

    async fn thread_archive(
        &self,
        request: Request<wire::ThreadArchiveRequest>,
    ) -> Result<Response<wire::ThreadArchiveResponse>, Status> {
        let caller = Caller::of(&request)?;
        thread::archive(self, caller, request.into_inner()).await
    }

    async fn thread_delete(
        &self,
        request: Request<wire::ThreadDeleteRequest>,
    ) -> Result<Response<wire::ThreadDeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        thread::delete(self, caller, request.into_inner()).await
    }

    async fn flush(
        &self,
        request: Request<wire::FlushRequest>,
    ) -> Result<Response<wire::FlushResponse>, Status> {
        // The barrier is the whole queue's. Of records that were given up a client is told its own, and acknowledges no other's.
        let caller = Caller::of(&request)?;
        barrier::flush(self, caller, request).await
    }
}
