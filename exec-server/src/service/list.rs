//! `List`: the processes of the caller's key.

use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_proto::ProcessId;
use baton_proto::exec::{ListRequest, ListResponse};
use baton_proto::limits::PAGE_ITEMS_MAX;
use tonic::{Request, Status};

use crate::error::SignalError;
use crate::process::ProcessTable;

/// One page.
pub(super) fn list(table: &ProcessTable, request: Request<ListRequest>) -> Result<ListResponse, Status> {
    let peer = request.extensions().get::<Arc<Peer>>();
    let client = peer.ok_or(SignalError::Unauthenticated)?.key;
    let after = match &request.into_inner().after[..] {
        [] => None,
        after => Some(ProcessId::try_from(after).map_err(|_| malformed())?),
    };
    let (processes, more) = table.list(&client, after, PAGE_ITEMS_MAX);
    Ok(ListResponse { processes, more })
}

/// Client's fault.
fn malformed() -> Status {
    Status::invalid_argument("after must be a process_id, of 16 bytes, or empty")
}
