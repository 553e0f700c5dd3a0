//! `Signal`: a signal to a process of the caller's key, by its id.
//!
//! The key is the scope of an id, so another key's process cannot be addressed, and is not told apart from one that does
//! not exist.

use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_proto::ProcessId;
use baton_proto::exec::SignalRequest;
use tonic::Request;

use crate::error::SignalError;
use crate::process::{ClientSignal, ProcessTable};
use crate::records::ProcessKey;

/// Sends the signal. The process's driver delivers it at its next turn.
pub(super) fn signal(table: &ProcessTable, request: Request<SignalRequest>) -> Result<(), SignalError> {
    let peer = request.extensions().get::<Arc<Peer>>();
    let client = peer.ok_or(SignalError::Unauthenticated)?.key;
    let SignalRequest { process_id, signal } = request.into_inner();
    let signal = ClientSignal::try_from(signal.unwrap_or_default())?;
    // No process has an id of another length.
    let process = ProcessId::try_from(&process_id[..]).map_err(|_| SignalError::UnknownProcess)?;
    table.signal(ProcessKey { client, process }, signal)
}
