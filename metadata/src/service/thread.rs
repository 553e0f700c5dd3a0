//! Threads: list, show and change.

use std::collections::{BTreeMap, HashMap};

use baton_proto::limits::{
    THREAD_ID_MAX, THREAD_METADATA_BYTES_MAX, THREAD_METADATA_ENTRIES_MAX, THREAD_METADATA_KEY_MAX,
    THREAD_METADATA_VALUE_MAX, THREAD_TITLE_MAX,
};
use baton_proto::metadata as wire;
use baton_trace::record::unix_now_ns;
use tonic::{Response, Status};

use super::pages::{ListRange, PageInfo, Pages, pages};
use super::{AuthenticatedClient, MetadataService, barrier, convert};
use crate::limits::{THREADS_PAGE, VALUES_PER_THREAD};
use crate::record::{ThreadKey, ThreadPatch};
use crate::scheduler::AcceptError;
use crate::store::query::{ThreadRecord, ThreadsQuery};
use crate::store::sqlite::Reader;

pub(super) async fn list(
    service: &MetadataService,
    client: AuthenticatedClient,
    request: wire::ThreadsRequest,
) -> Result<Response<Pages<wire::ThreadsPage>>, Status> {
    let range = ListRange::new(&request.after, request.limit, THREADS_PAGE)?;
    let read = move |reader: &Reader, after, limit| {
        reader.threads(&ThreadsQuery {
            owner: client.owner,
            archived: request.archived,
            after,
            limit,
        })
    };
    let message = |threads: &[ThreadRecord], PageInfo { next, behind }| wire::ThreadsPage {
        threads: threads.iter().map(convert::thread).collect(),
        next: next.into(),
        behind,
    };
    Ok(pages(service, range, read, message).await)
}

pub(super) async fn show(
    service: &MetadataService,
    client: AuthenticatedClient,
    request: wire::ThreadShowRequest,
) -> Result<Response<wire::ThreadShowResponse>, Status> {
    let key = key(client, &request.thread_id)?;
    let behind = service.is_behind().await;
    let found = service.query(move |reader| reader.thread(&key));
    let mut found = found.await?.ok_or_else(unknown)?;
    let facts = match found.facts.take() {
        // The stored facts may be outdated.
        Some(before) => {
            let used = found.updated_unix_ns;
            Some(service.look(found.key.clone(), used, before).await)
        }
        None => None,
    };
    Ok(Response::new(wire::ThreadShowResponse {
        thread: Some(convert::thread(&found)),
        values: found.values.into_iter().collect::<HashMap<_, _>>(),
        facts: facts.as_ref().map(convert::facts),
        behind,
    }))
}

pub(super) async fn update(
    service: &MetadataService,
    client: AuthenticatedClient,
    request: wire::ThreadUpdateRequest,
) -> Result<Response<wire::ThreadUpdateResponse>, Status> {
    let mut patch = ThreadPatch::touch(key(client, &request.thread_id)?, unix_now_ns());
    if let Some(title) = request.title {
        if title.len() > THREAD_TITLE_MAX {
            return Err(Status::invalid_argument(format!(
                "a thread's title has at most {THREAD_TITLE_MAX} bytes"
            )));
        }
        patch.title = Some(Some(title.into_boxed_str()).filter(|title| !title.is_empty()));
    }
    patch.values = values(request.set, request.remove)?;
    // A change counts as use, which lists the thread again.
    patch.archived = Some(false);
    has_room(service, &patch).await?;
    accept(service, patch)?;
    Ok(Response::new(wire::ThreadUpdateResponse {}))
}

pub(super) async fn archive(
    service: &MetadataService,
    client: AuthenticatedClient,
    request: wire::ThreadArchiveRequest,
) -> Result<Response<wire::ThreadArchiveResponse>, Status> {
    let key = existing(service, key(client, &request.thread_id)?).await?;
    let mut patch = ThreadPatch::touch(key, unix_now_ns());
    patch.archived = Some(!request.undo);
    accept(service, patch)?;
    barrier::durable(service).await?;
    Ok(Response::new(wire::ThreadArchiveResponse {}))
}

pub(super) async fn delete(
    service: &MetadataService,
    client: AuthenticatedClient,
    request: wire::ThreadDeleteRequest,
) -> Result<Response<wire::ThreadDeleteResponse>, Status> {
    let key = existing(service, key(client, &request.thread_id)?).await?;
    let now = unix_now_ns();
    service.inner.facts.deleted(&key, now);
    accept(service, ThreadPatch::delete(key, now))?;
    barrier::durable(service).await?;
    Ok(Response::new(wire::ThreadDeleteResponse {}))
}

/// Fails if the thread is full. Concurrent changes may still fill it.
async fn has_room(service: &MetadataService, patch: &ThreadPatch) -> Result<(), Status> {
    if patch.values.values().all(Option::is_none) {
        return Ok(());
    }
    // Queued values are not counted while the disk cannot be written.
    service.is_behind().await;
    let key = patch.key.clone();
    let found = service.query(move |reader| reader.thread(&key)).await?;
    let before = found.map(|found| found.values).unwrap_or_default();
    let is_touched = |key: &str| patch.values.contains_key(key);
    let others = before.keys().filter(|key| !is_touched(key)).count();
    let set = patch.values.values().flatten().count();
    match others + set <= VALUES_PER_THREAD {
        true => Ok(()),
        false => Err(Status::resource_exhausted(format!(
            "a thread keeps {VALUES_PER_THREAD} keys of metadata at most: take others away first (`baton thread set \
             --remove KEY`)"
        ))),
    }
}

/// The key of an existing thread. Flushes first, because the thread itself may be queued.
async fn existing(service: &MetadataService, key: ThreadKey) -> Result<ThreadKey, Status> {
    barrier::durable(service).await?;
    let asked = key.clone();
    let found = service.query(move |reader| reader.thread(&asked)).await?;
    found.map(|_| key).ok_or_else(unknown)
}

fn accept(service: &MetadataService, patch: ThreadPatch) -> Result<(), Status> {
    service.inner.handle.accept(patch).map_err(|refused| {
        let message = refused.to_string();
        match refused {
            AcceptError::Invalid(_) => Status::invalid_argument(message),
            AcceptError::Full => Status::resource_exhausted(message),
            AcceptError::Stopped => Status::unavailable("the exec-server is shutting down"),
        }
    })
}

fn key(client: AuthenticatedClient, thread_id: &str) -> Result<ThreadKey, Status> {
    if thread_id.is_empty() || thread_id.len() > THREAD_ID_MAX || thread_id.chars().any(char::is_control) {
        return Err(Status::invalid_argument(
            "a thread's id has 1 to 256 bytes and no control character",
        ));
    }
    Ok(ThreadKey {
        owner: client.owner,
        thread_id: thread_id.into(),
    })
}

type Values = BTreeMap<Box<str>, Option<Box<str>>>;

fn values(set: HashMap<String, String>, remove: Vec<String>) -> Result<Values, Status> {
    let bytes: usize = set.iter().map(|(key, value)| key.len() + value.len()).sum();
    let fits = set.len() + remove.len() <= THREAD_METADATA_ENTRIES_MAX && bytes <= THREAD_METADATA_BYTES_MAX;
    let is_key = |key: &String| !key.is_empty() && key.len() <= THREAD_METADATA_KEY_MAX;
    let is_value = |value: &String| value.len() <= THREAD_METADATA_VALUE_MAX;
    if !fits || !set.keys().chain(&remove).all(is_key) || !set.values().all(is_value) {
        return Err(Status::invalid_argument(format!(
            "a change of a thread's metadata has at most {THREAD_METADATA_ENTRIES_MAX} entries and \
             {THREAD_METADATA_BYTES_MAX} bytes, no empty key, no key of more than {THREAD_METADATA_KEY_MAX} bytes and \
             no value of more than {THREAD_METADATA_VALUE_MAX}"
        )));
    }
    let set = set
        .into_iter()
        .map(|(key, value)| (key.into_boxed_str(), Some(value.into_boxed_str())));
    let remove = remove.into_iter().map(|key| (key.into_boxed_str(), None));
    Ok(set.chain(remove).collect())
}

fn unknown() -> Status {
    Status::not_found("you have no thread of this id")
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use baton_channel::key::PublicKey;
    use baton_exec_server::records::{self, Accepted};
    use baton_proto::{Epoch, ProcessId};
    use futures_util::TryStreamExt as _;

    use super::*;
    use crate::metadata::{Durability, Metadata};
    use crate::record::Owner;
    use crate::store::retention::Retention;

    const CLIENT: AuthenticatedClient = AuthenticatedClient {
        owner: Owner([1; 32]),
        sees_ids: true,
    };

    async fn set(service: &MetadataService, thread_id: &str) {
        let request = wire::ThreadUpdateRequest {
            thread_id: thread_id.into(),
            title: Some("t".into()),
            ..wire::ThreadUpdateRequest::default()
        };
        update(service, CLIENT, request).await.unwrap();
    }

    async fn hide(service: &MetadataService, thread_id: &str) {
        let request = wire::ThreadArchiveRequest {
            thread_id: thread_id.into(),
            undo: false,
        };
        archive(service, CLIENT, request).await.unwrap();
    }

    async fn listed(service: &MetadataService) -> Vec<String> {
        let pages = list(service, CLIENT, wire::ThreadsRequest::default())
            .await
            .unwrap();
        let pages: Vec<_> = pages.into_inner().try_collect().await.unwrap();
        let threads = pages.into_iter().flat_map(|page| page.threads);
        threads.map(|thread| thread.thread_id).collect()
    }

    #[tokio::test]
    async fn an_archived_thread_is_listed_again_when_it_is_used_and_not_when_it_is_looked_at() {
        let metadata = Metadata::in_memory(Epoch([1; 16]), Retention::default()).unwrap();
        let service = metadata.service();
        let observer = metadata.records(Durability::Async).observer.unwrap();
        let mut processes = 1..;
        let mut run = |thread_id: &str| {
            let process = records::ProcessKey {
                client: PublicKey::from_bytes(CLIENT.owner.0),
                process: ProcessId([processes.next().unwrap(); 16]),
            };
            let thread = records::Thread {
                id: thread_id.into(),
                title: None,
                metadata: Vec::new(),
            };
            observer.accepted(
                process,
                &Accepted {
                    client_name: "test",
                    argv: &[CString::from(c"true")],
                    cwd: None,
                    thread: Some(&thread),
                    turn: None,
                    step: None,
                    trace: None,
                    parameters: &[0; 32],
                    at_unix_ns: unix_now_ns(),
                },
            );
            process
        };
        let process = run("a");
        assert_eq!(listed(&service).await, ["a"]);
        hide(&service, "a").await;
        // A lookup of its directory does not count as use.
        observer.delivered(process);
        let request = wire::ThreadShowRequest {
            thread_id: "a".into(),
        };
        let shown = show(&service, CLIENT, request).await.unwrap().into_inner();
        assert!(shown.thread.unwrap().archived);
        assert!(listed(&service).await.is_empty());
        run("a");
        assert_eq!(listed(&service).await, ["a"]);
        hide(&service, "a").await;
        set(&service, "a").await;
        assert_eq!(listed(&service).await, ["a"]);
    }
}
