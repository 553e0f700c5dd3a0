//! Threads: the list, one of them, and what changes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use baton_proto::limits::{
    THREAD_ID_MAX, THREAD_METADATA_BYTES_MAX, THREAD_METADATA_ENTRIES_MAX, THREAD_METADATA_KEY_MAX,
    THREAD_METADATA_VALUE_MAX, THREAD_TITLE_MAX,
};
use baton_proto::meta as wire;
use baton_trace::record::unix_now_ns;
use futures_util::stream;
use tonic::{Response, Status};

use super::{Caller, MetaService, Pages, barrier, convert, cursor};
use crate::limits::THREADS_PAGE;
use crate::machine::Refused;
use crate::record::{ThreadKey, ThreadPatch};
use crate::store::query::{Cursor, ThreadsQuery};

enum Place {
    Next { after: Option<Cursor>, left: u64 },
    End,
}

pub(super) async fn pages(
    service: &MetaService,
    caller: Caller,
    request: wire::ThreadsRequest,
) -> Result<Response<Pages<wire::ThreadsPage>>, Status> {
    let place = Place::Next {
        after: cursor(&request.after)?,
        left: match request.limit {
            0 => u64::MAX,
            limit => limit.into(),
        },
    };
    let behind = service.is_behind().await;
    let service = service.clone();
    let pages = stream::try_unfold(place, move |place| {
        let service = service.clone();
        async move {
            let Place::Next { after, left } = place else {
                return Ok(None);
            };
            let query = ThreadsQuery {
                owner: caller.owner,
                archived: request.archived,
                after,
                limit: u32::try_from(left).unwrap_or(u32::MAX).min(THREADS_PAGE),
            };
            let page = service.query(move |reader| reader.threads(&query)).await?;
            let left = left - page.items.len() as u64;
            let message = wire::ThreadsPage {
                threads: page.items.iter().map(convert::thread).collect(),
                next: page
                    .next
                    .map(|next| next.to_bytes().to_vec().into())
                    .unwrap_or_default(),
                behind,
            };
            let place = match page.next {
                Some(next) if left > 0 => Place::Next {
                    after: Some(next),
                    left,
                },
                _ => Place::End,
            };
            Ok(Some((message, place)))
        }
    });
    Ok(Response::new(Pages(Box::pin(pages))))
}

pub(super) async fn show(
    service: &MetaService,
    caller: Caller,
    request: wire::ThreadShowRequest,
) -> Result<Response<wire::ThreadShowResponse>, Status> {
    let key = key(caller, &request.thread_id)?;
    let behind = service.is_behind().await;
    let facts = Arc::clone(&service.inner.facts);
    let found = service.query(move |reader| {
        let Some(found) = reader.thread(&key)? else {
            return Ok(None);
        };
        // Found before, and looked at again: the branch may be another by now.
        let facts = found.facts.as_ref().map(|before| facts.look(&key, &before.cwd));
        Ok(Some((found, facts)))
    });
    let (found, facts) = found.await?.ok_or_else(unknown)?;
    Ok(Response::new(wire::ThreadShowResponse {
        thread: Some(convert::thread(&found)),
        values: found.values.into_iter().collect::<HashMap<_, _>>(),
        facts: facts.as_ref().map(convert::facts),
        behind,
    }))
}

pub(super) fn update(
    service: &MetaService,
    caller: Caller,
    request: wire::ThreadUpdateRequest,
) -> Result<Response<wire::ThreadUpdateResponse>, Status> {
    let mut patch = ThreadPatch::touch(key(caller, &request.thread_id)?, unix_now_ns());
    if let Some(title) = request.title {
        if title.len() > THREAD_TITLE_MAX {
            return Err(too_large("title"));
        }
        patch.title = Some(Some(title.into_boxed_str()).filter(|title| !title.is_empty()));
    }
    patch.values = values(request.set, request.remove)?;
    accept(service, patch)?;
    Ok(Response::new(wire::ThreadUpdateResponse {}))
}

pub(super) async fn archive(
    service: &MetaService,
    caller: Caller,
    request: wire::ThreadArchiveRequest,
) -> Result<Response<wire::ThreadArchiveResponse>, Status> {
    let key = existing(service, key(caller, &request.thread_id)?).await?;
    let mut patch = ThreadPatch::touch(key, unix_now_ns());
    patch.archived = Some(!request.undo);
    accept(service, patch)?;
    barrier::durable(service).await?;
    Ok(Response::new(wire::ThreadArchiveResponse {}))
}

pub(super) async fn delete(
    service: &MetaService,
    caller: Caller,
    request: wire::ThreadDeleteRequest,
) -> Result<Response<wire::ThreadDeleteResponse>, Status> {
    let key = existing(service, key(caller, &request.thread_id)?).await?;
    accept(service, ThreadPatch::delete(key, unix_now_ns()))?;
    barrier::durable(service).await?;
    Ok(Response::new(wire::ThreadDeleteResponse {}))
}

/// The key of a thread that is there. What was accepted before is on disk then: the thread itself may be.
async fn existing(service: &MetaService, key: ThreadKey) -> Result<ThreadKey, Status> {
    barrier::durable(service).await?;
    let asked = key.clone();
    let found = service.query(move |reader| reader.thread(&asked)).await?;
    found.map(|_| key).ok_or_else(unknown)
}

fn accept(service: &MetaService, patch: ThreadPatch) -> Result<(), Status> {
    service.inner.meta.accept(patch).map_err(|refused| {
        let message = refused.to_string();
        match refused {
            Refused::Invalid(_) => Status::invalid_argument(message),
            Refused::Full => Status::resource_exhausted(message),
            Refused::Stopped => Status::unavailable("the exec-server is shutting down"),
        }
    })
}

fn key(caller: Caller, thread_id: &str) -> Result<ThreadKey, Status> {
    if thread_id.is_empty() || thread_id.len() > THREAD_ID_MAX || thread_id.chars().any(char::is_control) {
        return Err(Status::invalid_argument(
            "a thread's id has 1 to 256 bytes and no control character",
        ));
    }
    Ok(ThreadKey {
        owner: caller.owner,
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
        return Err(too_large("metadata"));
    }
    let set = set
        .into_iter()
        .map(|(key, value)| (key.into_boxed_str(), Some(value.into_boxed_str())));
    let remove = remove.into_iter().map(|key| (key.into_boxed_str(), None));
    Ok(set.chain(remove).collect())
}

fn too_large(what: &str) -> Status {
    Status::invalid_argument(format!(
        "the {what} of a thread is larger than docs/PROTOCOL.md allows"
    ))
}

fn unknown() -> Status {
    Status::not_found("you have no thread of this id")
}
