//! `History` and `Show`.

use std::num::NonZeroU64;

use baton_proto::limits::TURN_MAX;
use baton_proto::metadata as wire;
use baton_trace::outcome::{Fault, OutcomeKind};
use tonic::{Response, Status};

use super::pages::{ListRange, PageInfo, Pages, pages};
use super::{AuthenticatedClient, MetadataService, convert};
use crate::limits::{HISTORY_PAGE, NAME_BYTES};
use crate::store::query::{FoundRecords, HistoryQuery, ProcessRecord};
use crate::store::sqlite::Reader;

pub(super) async fn list(
    service: &MetadataService,
    client: AuthenticatedClient,
    request: wire::HistoryRequest,
) -> Result<Response<Pages<wire::HistoryPage>>, Status> {
    let range = ListRange::new(&request.after, request.limit, HISTORY_PAGE)?;
    let query = HistoryQuery {
        thread_id: Some(request.thread_id).filter(|thread| !thread.is_empty()),
        turn: turn(request.turn)?,
        step: Some(request.step).filter(|step| !step.is_empty()),
        since_unix_ns: Some(request.since_unix_ns).filter(|since| *since > 0),
        failed: request.failed,
        outcomes: all_of(
            &request.outcomes,
            OutcomeKind::ALL.len(),
            "outcomes",
            convert::asked_outcome,
        )?,
        faults: all_of(&request.faults, Fault::ALL.len(), "faults", convert::asked_fault)?,
        ..HistoryQuery::of(client.owner)
    };
    let read = move |reader: &Reader, after, limit| {
        reader.history(&HistoryQuery {
            after,
            limit,
            ..query.clone()
        })
    };
    let message = move |records: &[ProcessRecord], PageInfo { next, behind }| {
        let records = records.iter();
        wire::HistoryPage {
            records: records
                .map(|record| convert::record(record, client.sees_ids))
                .collect(),
            next: next.into(),
            behind,
        }
    };
    Ok(pages(service, range, read, message).await)
}

/// The requested turn.
fn turn(asked: u64) -> Result<Option<NonZeroU64>, Status> {
    match asked {
        0..=TURN_MAX => Ok(NonZeroU64::new(asked)),
        _ => Err(Status::invalid_argument(format!(
            "`turn` is a number up to {TURN_MAX}"
        ))),
    }
}

/// The requested values of a list: each is known, and there are at most as many as values exist.
fn all_of<T>(
    asked: &[i32],
    most: usize,
    field: &str,
    one: impl Fn(i32) -> Option<T>,
) -> Result<Vec<T>, Status> {
    if asked.len() > most {
        return Err(Status::invalid_argument(format!(
            "`{field}` has more values than exist"
        )));
    }
    let unknown = || Status::invalid_argument(format!("`{field}` has a value that cannot be asked for"));
    asked
        .iter()
        .map(|number| one(*number).ok_or_else(unknown))
        .collect()
}

pub(super) async fn show(
    service: &MetadataService,
    client: AuthenticatedClient,
    request: wire::ShowRequest,
) -> Result<Response<wire::ShowResponse>, Status> {
    let name = request.name;
    if name.len() > NAME_BYTES {
        return Err(Status::invalid_argument("`name` is longer than an id can be"));
    }
    let behind = service.is_behind().await;
    let found = service
        .query(move |reader| reader.find(client.owner, &name))
        .await?;
    let record = |record| convert::record(record, client.sees_ids);
    let mut response = wire::ShowResponse {
        behind,
        ..wire::ShowResponse::default()
    };
    match &found {
        FoundRecords::Nothing => return Err(Status::not_found("no record of yours has this id or trace id")),
        FoundRecords::One(one) => {
            response.record = Some(record(one));
            response.stages = convert::stages(one);
            response.rounded = one.timings_rounded;
        }
        FoundRecords::Several(several) => response.several = several.iter().map(record).collect(),
    }
    Ok(Response::new(response))
}
