//! The service `baton.meta.v1.Meta`: a client's own records, its threads, and barriers.
//!
//! Whose records they are is what the handshake proved; a request cannot say it. Queries read beside the writer, on threads that may
//! wait for the disk, a few at a time. Before a query what was accepted is flushed, so that a client sees what it has just done; a disk that
//! takes nothing delays it by [`READ_FLUSH`] at most, and the answer says so.

mod barrier;
mod convert;
mod history;
mod pages;
mod thread;

use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_proto::meta as wire;
use baton_proto::meta::meta_server::{Meta as MetaRpc, MetaServer};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::facts::Facts;
use crate::handle::Meta;
use crate::limits::{LOOK_LIMIT, LOOKS_AT_ONCE, META_REQUEST_BYTES, QUERIES_AT_ONCE, READ_FLUSH};
use crate::record::{CwdFacts, Owner, ThreadKey};
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
    queries: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    is_in_memory: bool,
}

impl MetaService {
    pub(crate) fn new(meta: Meta, reader: Reader, facts: Arc<Facts>, is_in_memory: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                meta,
                reader,
                facts,
                queries: Arc::new(Semaphore::new(QUERIES_AT_ONCE)),
                looks: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
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
        let turn = Arc::clone(&self.inner.queries).acquire_owned().await;
        let reader = self.inner.reader.clone();
        // The query's, not its client's, who may be gone before it is over.
        let answer = spawn_blocking(move || {
            let _turn = turn;
            ask(&reader)
        });
        let answer = answer.await;
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

    /// What a thread's directory is part of now; what it was when it was last found, if the file system does not say in time.
    async fn look(&self, thread: ThreadKey, before: CwdFacts) -> Arc<CwdFacts> {
        let facts = Arc::clone(&self.inner.facts);
        let cwd = before.cwd.clone();
        let now = async {
            let turn = Arc::clone(&self.inner.looks).acquire_owned().await;
            let look = spawn_blocking(move || {
                let _turn = turn;
                facts.look(&thread, &cwd)
            });
            look.await
        };
        match timeout(LOOK_LIMIT, now).await {
            Ok(Ok(now)) => now,
            Ok(Err(_)) | Err(_) => Arc::new(before),
        }
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

#[tonic::async_trait]
impl MetaRpc for MetaService {
    type HistoryStream = pages::Pages<wire::HistoryPage>;
    type ThreadsStream = pages::Pages<wire::ThreadsPage>;

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        let caller = Caller::of(&request)?;
        history::list(self, caller, request.into_inner()).await
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
        thread::list(self, caller, request.into_inner()).await
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
        thread::update(self, caller, request.into_inner()).await
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use baton_proto::Epoch;
    use baton_trace::recorder::Recorder;
    use tokio::sync::oneshot;

    use super::*;
    use crate::keeper::Keeper;
    use crate::store::retention::Retention;

    fn service() -> (Keeper, MetaService) {
        let keeper = Keeper::in_memory(Epoch([1; 16]), Retention::default(), Recorder::off()).unwrap();
        let service = keeper.service();
        (keeper, service)
    }

    #[tokio::test]
    async fn a_query_that_its_client_gives_up_keeps_its_place_until_it_is_over() {
        let (_keeper, service) = service();
        let mut held = Vec::new();
        for _ in 0..QUERIES_AT_ONCE {
            let (began, has_begun) = oneshot::channel();
            let (release, released) = mpsc::channel::<()>();
            let query = service.query(move |_| {
                began.send(()).unwrap();
                let _ = released.recv();
                Ok(())
            });
            tokio::select! {
                _ = query => panic!("it is held"),
                begun = has_begun => begun.unwrap(),
            }
            held.push(release);
        }
        assert_eq!(service.inner.queries.available_permits(), 0);
        held.clear();
        service.query(|_| Ok(())).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_system_that_hangs_keeps_nobody_from_what_was_found_before() {
        let (_keeper, service) = service();
        let before = CwdFacts {
            cwd: Box::from(&b"/proc"[..]),
            repository_root: None,
            branch: Some(Box::from(&b"before"[..])),
            head: None,
            found_unix_ns: 1,
        };
        let thread = ThreadKey {
            owner: Owner([1; 32]),
            thread_id: "t".into(),
        };
        // As looks that never return hold them.
        let all = u32::try_from(LOOKS_AT_ONCE).unwrap();
        let hung = service.inner.looks.acquire_many(all).await.unwrap();
        let facts = service.look(thread.clone(), before.clone()).await;
        assert_eq!(*facts, before);
        service.query(|_| Ok(())).await.unwrap();
        drop(hung);
        assert_eq!(service.look(thread, before).await.branch, None, "looked at again");
    }
}
