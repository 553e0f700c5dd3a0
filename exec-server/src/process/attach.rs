//! Attaches a call to a process: as its call, in the place of the one before, or beside it as a watcher.

use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_proto::ProcessId;
use baton_proto::exec::{Attach, RunRequest};
use tonic::Streaming;

use super::call::CallContext;
use super::driver::Processes;
use super::ended::EndedEvents;
use super::events::Events;
use super::repeated::RepeatedStart;
use super::state::Cursor;
use super::table::Known;
use super::watcher::Watcher;
use crate::error::AttachError;

/// Attaches the call. Its events follow the one that the client has.
pub(crate) fn attach<B>(
    processes: &Processes<B>,
    client: &Peer,
    id: ProcessId,
    attach: &Attach,
    context: CallContext,
    requests: Streaming<RunRequest>,
) -> Result<Events, AttachError> {
    let table = &processes.table;
    let seen = attach.after_seq;
    let state = match table.find(&(client.key, id)) {
        Some(Known::State(state)) => state,
        Some(Known::Finished(repeated)) => return Ok(finished(repeated, seen)),
        None => return Err(AttachError::Unknown),
    };
    if attach.watch {
        return match Watcher::new(Arc::clone(&state), seen) {
            Ok(watcher) => Ok(Events::watched(watcher)),
            Err(AttachError::Killed) => Ok(finished(state.repeated(), seen)),
            Err(error) => Err(error),
        };
    }
    let lease = match state.attach(seen, requests, context.end.clone()) {
        Ok(lease) => lease,
        Err(AttachError::Killed) => return Ok(finished(state.repeated(), seen)),
        Err(error) => return Err(error),
    };
    // Of a process whose first call was lost before its first event.
    state.announce();
    let cursor = Cursor {
        lease,
        seen,
        is_attached: false,
        tells_stdin: attach.tell_stdin,
    };
    let started_delay = table.started_delay(false).clone();
    Ok(Events::attached(state, started_delay, cursor, context))
}

/// The end of a process. The call is not attached to it.
pub(crate) fn wait<B>(processes: &Processes<B>, client: &Peer, id: ProcessId) -> Result<Events, AttachError> {
    match processes.table.find(&(client.key, id)) {
        Some(Known::State(state)) => Ok(Events::repeated(state.repeated())),
        Some(Known::Finished(repeated)) => Ok(Events::repeated(repeated)),
        None => Err(AttachError::Unknown),
    }
}

fn finished(process: RepeatedStart, seen: u64) -> Events {
    Events::ended(EndedEvents::attached(process, seen))
}
