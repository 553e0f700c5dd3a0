//! `Flush`, and the barriers at the end of other requests.

use std::sync::Arc;

use baton_proto::metadata as wire;
use baton_trace::call::ServerCall;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::{AuthenticatedClient, MetadataService};
use crate::barrier::FlushError;
use crate::limits::FLUSH_MAX;
use crate::link::Link;

pub(super) async fn flush(
    service: &MetadataService,
    client: AuthenticatedClient,
    request: Request<wire::FlushRequest>,
) -> Result<Response<wire::FlushResponse>, Status> {
    let call = request.extensions().get::<Arc<ServerCall>>();
    let link = call.and_then(|call| Link::to(call.context()));
    let handle = &service.inner.handle;
    handle.acknowledge_of(client.owner, request.get_ref().acknowledge_dropped);
    let failed = |cause: String, dropped| wire::FlushResponse {
        failures: vec![wire::Failure { cause, pending: true }],
        dropped,
        ..wire::FlushResponse::default()
    };
    let response = match timeout(FLUSH_MAX, handle.flush_of(client.owner, link)).await {
        Err(_elapsed) => failed(
            format!("the disk has not answered for {} s", FLUSH_MAX.as_secs()),
            0,
        ),
        Ok(result) => match result {
            Ok(flushed) => wire::FlushResponse {
                generation: flushed.generation.number(),
                durable: true,
                ..wire::FlushResponse::default()
            },
            Err(FlushError::Failed { cause, dropped }) => failed(cause.kind.to_string(), dropped),
            Err(FlushError::Dropped { count }) => wire::FlushResponse {
                dropped: count,
                ..wire::FlushResponse::default()
            },
            Err(error) => return Err(status(&error)),
        },
    };
    let upkeep = handle.upkeep_failing();
    Ok(Response::new(wire::FlushResponse {
        in_memory: service.inner.is_in_memory,
        upkeep_failure: upkeep.map_or_else(String::new, |error| error.kind.to_string()),
        ..response
    }))
}

/// Waits until everything accepted is on disk. Records that were given up before do not fail this request.
pub(super) async fn durable(service: &MetadataService) -> Result<(), Status> {
    match timeout(FLUSH_MAX, service.inner.handle.flush()).await {
        Ok(Ok(_) | Err(FlushError::Dropped { .. })) => Ok(()),
        Ok(Err(error)) => Err(status(&error)),
        Err(_elapsed) => Err(Status::unavailable(
            "not written yet: the disk has not answered; it is tried again",
        )),
    }
}

/// Without SQLite's message, which contains paths that only the server's owner may see.
fn status(error: &FlushError) -> Status {
    match error {
        FlushError::Failed { cause, .. } => {
            Status::unavailable(format!("not written yet: {}; it is tried again", cause.kind))
        }
        FlushError::Dropped { .. } => Status::data_loss(error.to_string()),
        FlushError::Stopped => Status::unavailable("the exec-server is shutting down"),
        FlushError::TooMany => Status::resource_exhausted(error.to_string()),
    }
}
