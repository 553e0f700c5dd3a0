//! `History` and `Show`.

use baton_proto::meta as wire;
use futures_util::stream;
use tonic::{Response, Status};

use super::{Caller, MetaService, Pages, convert, cursor};
use crate::limits::{HISTORY_PAGE, NAME_BYTES};
use crate::store::query::{Cursor, Found, HistoryQuery};

/// Where a stream of pages is.
enum Place {
    Next { after: Option<Cursor>, left: u64 },
    End,
}

pub(super) async fn pages(
    service: &MetaService,
    caller: Caller,
    request: wire::HistoryRequest,
) -> Result<Response<Pages<wire::HistoryPage>>, Status> {
    let place = Place::Next {
        after: cursor(&request.after)?,
        left: match request.limit {
            0 => u64::MAX,
            limit => limit.into(),
        },
    };
    let query = HistoryQuery {
        thread_id: Some(request.thread_id).filter(|thread| !thread.is_empty()),
        since_unix_ns: Some(request.since_unix_ns).filter(|since| *since > 0),
        failed: request.failed,
        ..HistoryQuery::of(caller.owner)
    };
    let behind = service.is_behind().await;
    let service = service.clone();
    let pages = stream::try_unfold(place, move |place| {
        let (service, query) = (service.clone(), query.clone());
        async move {
            let Place::Next { after, left } = place else {
                return Ok(None);
            };
            let query = HistoryQuery {
                after,
                limit: u32::try_from(left).unwrap_or(u32::MAX).min(HISTORY_PAGE),
                ..query
            };
            let page = service.query(move |reader| reader.history(&query)).await?;
            let left = left - page.items.len() as u64;
            let message = wire::HistoryPage {
                records: page
                    .items
                    .iter()
                    .map(|record| convert::record(record, caller.sees_ids))
                    .collect(),
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
    request: wire::ShowRequest,
) -> Result<Response<wire::ShowResponse>, Status> {
    let name = request.name;
    if name.len() > NAME_BYTES {
        return Err(Status::invalid_argument("name is longer than any id"));
    }
    let behind = service.is_behind().await;
    let found = service
        .query(move |reader| reader.find(caller.owner, &name))
        .await?;
    let record = |record| convert::record(record, caller.sees_ids);
    let mut response = wire::ShowResponse {
        behind,
        ..wire::ShowResponse::default()
    };
    match &found {
        Found::Nothing => return Err(Status::not_found("no record of yours has this id or trace id")),
        Found::One(one) => {
            response.record = Some(record(one));
            response.stages = convert::stages(one);
            response.rounded = one.timings_rounded;
        }
        Found::Several(several) => response.several = several.iter().map(record).collect(),
    }
    Ok(Response::new(response))
}
