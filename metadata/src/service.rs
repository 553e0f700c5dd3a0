//! The service `baton.metadata.v1.Metadata`: a client's own records, its threads, and barriers.
//!
//! The owner is the key that the handshake proved; a request cannot name one. Queries read concurrently with the
//! writer, on threads that may wait for the disk, a few at a time. Before a query the accepted updates are flushed, so
//! that a client sees its last command. A disk that cannot be written delays the query by [`READ_FLUSH`] at most, and
//! the response says so.

mod barrier;
mod convert;
mod history;
mod pages;
mod thread;

use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_proto::metadata as wire;
use baton_rpc::metadata::metadata_server::{Metadata as MetadataRpc, MetadataServer};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::facts::Facts;
use crate::handle::WriterHandle;
use crate::limits::{LOOKUP_TIMEOUT, LOOKUPS_AT_ONCE, METADATA_REQUEST_BYTES, QUERIES_AT_ONCE, READ_FLUSH};
use crate::record::{CwdFacts, Owner, ThreadKey};
use crate::store::sqlite::{ReadError, Reader};

/// See the [module](self). Clones share what they read.
#[derive(Debug, Clone)]
pub struct MetadataService {
    inner: Arc<ServiceState>,
}

#[derive(Debug)]
struct ServiceState {
    handle: WriterHandle,
    reader: Reader,
    facts: Arc<Facts>,
    queries: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    is_in_memory: bool,
}

impl MetadataService {
    pub(crate) fn new(handle: WriterHandle, reader: Reader, facts: Arc<Facts>, is_in_memory: bool) -> Self {
        Self {
            inner: Arc::new(ServiceState {
                handle,
                reader,
                facts,
                queries: Arc::new(Semaphore::new(QUERIES_AT_ONCE)),
                looks: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)),
                is_in_memory,
            }),
        }
    }

    /// The service for tonic, with this crate's limits on requests.
    pub fn into_server(self) -> MetadataServer<Self> {
        MetadataServer::new(self).max_decoding_message_size(METADATA_REQUEST_BYTES)
    }

    /// Flushes the accepted updates, so that they can be read. True: the disk did not complete that in time.
    async fn is_behind(&self) -> bool {
        let flushed = timeout(READ_FLUSH, self.inner.handle.flush()).await;
        // Records that were given up do not make the others outdated.
        !matches!(
            flushed,
            Ok(Ok(_)) | Ok(Err(crate::barrier::FlushError::Dropped { .. }))
        )
    }

    /// Runs a query, on a thread that may wait.
    async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = Arc::clone(&self.inner.queries).acquire_owned().await;
        let reader = self.inner.reader.clone();
        // Held by the query, not by the request, which may be cancelled before the query ends.
        let answer = spawn_blocking(move || {
            let _turn = turn;
            ask(&reader)
        });
        let answer = answer.await;
        let answer = answer.map_err(|_| Status::internal("a query of the records has failed"))?;
        answer.map_err(|error| {
            // SQLite's messages contain paths, which only the server's owner may see.
            Status::unavailable(match error {
                ReadError::Damaged(_) => {
                    "the exec-server's database is damaged: its owner must restart it, which sets that aside and begins a new one"
                }
                ReadError::Sqlite(_) => "the exec-server's records could not be read; try again",
            })
        })
    }

    /// The present facts of a thread's directory, or the stored ones if the file system does not answer in time.
    async fn look(&self, thread: ThreadKey, used_unix_ns: u64, before: CwdFacts) -> Arc<CwdFacts> {
        let facts = Arc::clone(&self.inner.facts);
        let cwd = before.cwd.clone();
        let now = async {
            let turn = Arc::clone(&self.inner.looks).acquire_owned().await;
            let look = spawn_blocking(move || {
                let _turn = turn;
                facts.look(&thread, &cwd, used_unix_ns)
            });
            look.await
        };
        match timeout(LOOKUP_TIMEOUT, now).await {
            Ok(Ok(Some(now))) => now,
            Ok(Ok(None) | Err(_)) | Err(_) => Arc::new(before),
        }
    }
}

/// The client of a request, and whether it may learn trace ids.
#[derive(Debug, Clone, Copy)]
struct AuthenticatedClient {
    owner: Owner,
    sees_ids: bool,
}

impl AuthenticatedClient {
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
impl MetadataRpc for MetadataService {
    type HistoryStream = pages::Pages<wire::HistoryPage>;
    type ThreadsStream = pages::Pages<wire::ThreadsPage>;

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        let client = AuthenticatedClient::of(&request)?;
        history::list(self, client, request.into_inner()).await
    }

    async fn show(
        &self,
        request: Request<wire::ShowRequest>,
    ) -> Result<Response<wire::ShowResponse>, Status> {
        let client = AuthenticatedClient::of(&request)?;
        history::show(self, client, request.into_inner()).await
    }

    async fn threads(
        &self,
        request: Request<wire::ThreadsRequest>,
    ) -> Result<Response<Self::ThreadsStream>, Status> {
        let client = AuthenticatedClient::of(&request)?;
        thread::list(self, client, request.into_inner()).await
    }

    async fn thread_show(
        &self,
        request: Request<wire::ThreadShowRequest>,
    ) -> Result<Response<wire::ThreadShowResponse>, Status> {
        let client = AuthenticatedClient::of(&request)?;
        thread::show(self, client, request.into_inner()).await
    }

    async fn thread_update(
        &self,
        request: Request<wire::ThreadUpdateRequest>,
    ) -> Result<Response<wire::ThreadUpdateResponse>, Status> {
        let client = AuthenticatedClient::of(&request)?;
        thread::update(self, client, request.into_inner()).await
    }

    async fn thread_archive(
        &self,
        request: Request<wire::ThreadArchiveRequest>,
    ) -> Result<Response<wire::ThreadArchiveResponse>, Status> {
        let client = AuthenticatedClient::of(&request)?;
        thread::archive(self, client, request.into_inner()).await
    }

    async fn thread_delete(
        &self,
        request: Request<wire::ThreadDeleteRequest>,
    ) -> Result<Response<wire::ThreadDeleteResponse>, Status> {
        let client = AuthenticatedClient::of(&request)?;
        thread::delete(self, client, request.into_inner()).await
    }

    async fn flush(
        &self,
        request: Request<wire::FlushRequest>,
    ) -> Result<Response<wire::FlushResponse>, Status> {
        // The barrier covers the whole queue. A client is notified of its own lost records only, and acknowledges no
        // other client's.
        let client = AuthenticatedClient::of(&request)?;
        barrier::flush(self, client, request).await
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::sync::mpsc;

    use baton_proto::limits::{PAGE_BYTES_MAX, STEP_ID_MAX, TURN_MAX};
    use baton_proto::{Epoch, ProcessId};
    use futures_util::TryStreamExt as _;
    use prost::Message as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::limits::{ARGV_BYTES, CWD_BYTES};
    use crate::metadata::Metadata;
    use crate::record::{Argv, ProcessKey, ProcessPatch, ProcessSpawned, ProcessStart, ThreadPatch};
    use crate::store::retention::Retention;

    fn service() -> (Metadata, MetadataService) {
        let metadata = Metadata::in_memory(Epoch([1; 16]), Retention::default()).unwrap();
        let service = metadata.service();
        (metadata, service)
    }

    #[tokio::test]
    async fn a_request_that_does_not_decode_is_the_fault_of_its_client() {
        use tonic::codegen::{Service as _, http};
        let (_metadata, service) = service();
        let mut server = service.into_server();
        for method in [
            "History",
            "Show",
            "Threads",
            "ThreadShow",
            "ThreadUpdate",
            "ThreadArchive",
            "ThreadDelete",
            "Flush",
        ] {
            // A field of 127 bytes that has none.
            let garbage = tonic::body::Body::new("\0\0\0\0\x02\x0a\x7f".to_owned());
            let request = http::Request::post(format!("/baton.metadata.v1.Metadata/{method}"));
            let request = request.header("content-type", "application/grpc").body(garbage);
            let answer = server.call(request.unwrap()).await.unwrap();
            let status = Status::from_header_map(answer.headers()).unwrap();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{method}: {status}");
            assert!(
                status.message().starts_with("the request does not decode"),
                "{status}"
            );
        }
    }

    #[tokio::test]
    async fn a_list_comes_in_pages_up_to_its_limit_and_goes_on_where_it_was_left() {
        const ALL: u64 = 250;
        let (_metadata, service) = service();
        let owner = Owner([1; 32]);
        for n in 0..ALL {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            let key = ProcessKey {
                owner,
                process_id: ProcessId(id),
            };
            let mut patch = ProcessPatch::new(key);
            patch.spawned = Some(ProcessSpawned {
                os_pid: 1,
                start_ticks: 1,
                spawned_unix_ns: n,
            });
            service.inner.handle.accept(patch).unwrap();
            let thread = ThreadKey {
                owner,
                thread_id: format!("{n}").into(),
            };
            service
                .inner
                .handle
                .accept(ThreadPatch::touch(thread, n))
                .unwrap();
        }
        let client = AuthenticatedClient {
            owner,
            sees_ids: true,
        };
        // Lengths of the pages, the times of their records, and the next cursor.
        let records = async |limit, after: &[u8]| {
            let request = wire::HistoryRequest {
                limit,
                after: after.to_vec().into(),
                ..wire::HistoryRequest::default()
            };
            let pages = history::list(&service, client, request).await.unwrap();
            let pages: Vec<_> = pages.into_inner().try_collect().await.unwrap();
            assert!(pages.iter().all(|page| !page.behind));
            let lengths: Vec<_> = pages.iter().map(|page| page.records.len()).collect();
            let next = pages.last().unwrap().next.clone();
            let records = pages.into_iter().flat_map(|page| page.records);
            let times: Vec<_> = records.map(|record| record.accepted_unix_ns).collect();
            (lengths, times, next)
        };
        let newest_first: Vec<_> = (0..ALL).rev().collect();
        assert_eq!(
            records(0, b"").await,
            (vec![100, 100, 50], newest_first.clone(), [][..].into())
        );
        let (lengths, mut times, next) = records(120, b"").await;
        assert_eq!(lengths, [100, 20]);
        let (lengths, rest, next) = records(130, &next).await;
        assert_eq!(
            (lengths, next.is_empty()),
            (vec![100, 30], true),
            "exactly the rest"
        );
        times.extend(rest);
        assert_eq!(times, newest_first);
        assert!(
            history::list(
                &service,
                client,
                wire::HistoryRequest {
                    after: vec![1].into(),
                    ..wire::HistoryRequest::default()
                }
            )
            .await
            .is_err()
        );

        let request = wire::ThreadsRequest {
            limit: 101,
            ..wire::ThreadsRequest::default()
        };
        let pages = thread::list(&service, client, request).await.unwrap();
        let pages: Vec<_> = pages.into_inner().try_collect().await.unwrap();
        let threads: Vec<_> = pages.iter().flat_map(|page| &page.threads).collect();
        assert_eq!((pages.len(), threads.len()), (2, 101));
        assert_eq!((&*threads[0].thread_id, &*threads[100].thread_id), ("249", "149"));
    }

    /// Every field has its largest size.
    #[tokio::test]
    async fn a_page_of_long_records_ends_before_a_client_would_refuse_it() {
        const ALL: u8 = 70;
        let (_metadata, service) = service();
        let owner = Owner([1; 32]);
        for n in 0..ALL {
            let thread = ThreadKey {
                owner,
                thread_id: format!("{n:0>256}").into(),
            };
            let mut patch = ThreadPatch::touch(thread, n.into());
            patch.title = Some(Some("t".repeat(baton_proto::limits::THREAD_TITLE_MAX).into()));
            service.inner.handle.accept(patch).unwrap();
            let mut patch = ProcessPatch::new(ProcessKey {
                owner,
                process_id: ProcessId([n; 16]),
            });
            let mut argv = Argv::with_capacity(1, ARGV_BYTES);
            argv.push(&vec![b'a'; ARGV_BYTES]);
            patch.start = Some(Arc::new(ProcessStart {
                epoch: Epoch([1; 16]),
                boot_id: [0; 16],
                thread_id: Some("t".repeat(baton_proto::limits::THREAD_ID_MAX).into()),
                turn: NonZeroU64::new(TURN_MAX),
                step: Some("s".repeat(STEP_ID_MAX).into()),
                argv,
                argv_cut: true,
                cwd: vec![b'c'; CWD_BYTES].into(),
                accepted_unix_ns: n.into(),
                detached: false,
                parameters: [n; 32],
                trace: None,
            }));
            service.inner.handle.accept(patch).unwrap();
        }
        let client = AuthenticatedClient {
            owner,
            sees_ids: true,
        };
        let pages = history::list(&service, client, wire::HistoryRequest::default()).await;
        let pages: Vec<_> = pages.unwrap().into_inner().try_collect().await.unwrap();
        assert!(pages.len() > 2 && pages.iter().all(|page| page.encoded_len() <= PAGE_BYTES_MAX));
        let records: Vec<_> = pages.iter().flat_map(|page| &page.records).collect();
        assert_eq!(records.len(), usize::from(ALL));
        assert!(records.iter().map(|record| record.encoded_len()).max() > Some(8_000));
        let pages = thread::list(&service, client, wire::ThreadsRequest::default()).await;
        let pages: Vec<_> = pages.unwrap().into_inner().try_collect().await.unwrap();
        assert!(pages.iter().all(|page| page.encoded_len() <= PAGE_BYTES_MAX));
        let threads: usize = pages.iter().map(|page| page.threads.len()).sum();
        assert_eq!(threads, usize::from(ALL));
    }

    #[tokio::test]
    async fn a_query_that_its_client_gives_up_keeps_its_place_until_it_is_over() {
        let (_metadata, service) = service();
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
        let (_metadata, service) = service();
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
        // As lookups that never return hold them.
        let all = u32::try_from(LOOKUPS_AT_ONCE).unwrap();
        let hung = service.inner.looks.acquire_many(all).await.unwrap();
        let facts = service.look(thread.clone(), 1, before.clone()).await;
        assert_eq!(*facts, before);
        service.query(|_| Ok(())).await.unwrap();
        drop(hung);
        assert_eq!(
            service.look(thread, 1, before).await.branch,
            None,
            "looked at again"
        );
    }
}
