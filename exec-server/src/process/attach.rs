//! Attaches a call to a process: as its call, in the place of the one before, or beside it as a watcher.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_channel::allow::Peer;
use baton_export::clock;
use baton_proto::ProcessId;
use baton_proto::exec::{Attach, ProcessEvent, RunRequest};
use baton_proto::limits::POLL_EVENTS_MAX;
use futures_util::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::call::CallContext;
use super::driver::Processes;
use super::ended::EndedEvents;
use super::events::Events;
use super::repeated::RepeatedStart;
use super::state::{Cursor, ProcessState};
use super::table::Known;
use super::watcher::Watcher;
use crate::error::AttachError;
use crate::limits::{POLL_BYTES, POLL_WAIT_MAX};

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
    check_user(processes, client, &state)?;
    if attach.watch {
        return watched(state, seen, since(attach.since_unix_ns));
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

/// Refuses a process of another user than the client's commands have now: its output is that user's.
fn check_user<B>(processes: &Processes<B>, client: &Peer, state: &ProcessState) -> Result<(), AttachError> {
    match state.user() == processes.users.name_for(client).as_deref() {
        true => Ok(()),
        false => Err(AttachError::OtherUser),
    }
}

/// A time of this machine's wall clock; `None` without one, and if it is before the clock began.
fn since(unix_ns: u64) -> Option<Instant> {
    let anchor = clock::anchor();
    let ago = Duration::from_nanos(anchor.unix_ns.saturating_sub(unix_ns));
    let ahead = Duration::from_nanos(unix_ns.saturating_sub(anchor.unix_ns));
    match unix_ns {
        0 => None,
        _ => anchor.instant.checked_sub(ago)?.checked_add(ahead),
    }
}

fn watched(state: Arc<ProcessState>, seen: u64, since: Option<Instant>) -> Result<Events, AttachError> {
    match Watcher::new(Arc::clone(&state), seen, since) {
        Ok(watcher) => Ok(Events::watched(watcher)),
        Err(AttachError::Killed) => Ok(finished(state.repeated(), seen)),
        Err(error) => Err(error),
    }
}

/// The events of a process after `seen`, beside its call: those that exist, or else the first that happens in `wait`.
pub(crate) async fn poll<B>(
    processes: &Processes<B>,
    client: &Peer,
    id: ProcessId,
    seen: u64,
    wait: Duration,
) -> Result<Vec<ProcessEvent>, Status> {
    let mut events = match processes.table.find(&(client.key, id)) {
        Some(Known::State(state)) => {
            check_user(processes, client, &state)?;
            state.polled(seen);
            watched(state, seen, None)?
        }
        Some(Known::Finished(repeated)) => finished(repeated, seen),
        None => return Err(AttachError::Unknown.into()),
    };
    // Attached.
    events.next().await.transpose()?;
    let Ok(first) = timeout(wait.min(POLL_WAIT_MAX), events.next()).await else {
        return Ok(Vec::new());
    };
    let mut found: Vec<_> = first.transpose()?.into_iter().collect();
    let mut bytes = 0;
    while bytes < POLL_BYTES && found.len() < POLL_EVENTS_MAX {
        match events.next().now_or_never() {
            Some(Some(Ok(event))) => {
                bytes += event.encoded_len();
                found.push(event);
            }
            Some(Some(Err(_)) | None) | None => break,
        }
    }
    Ok(found)
}

/// The end of a process. The call is not attached to it.
pub(crate) fn wait<B>(processes: &Processes<B>, client: &Peer, id: ProcessId) -> Result<Events, AttachError> {
    match processes.table.find(&(client.key, id)) {
        Some(Known::State(state)) => Ok(Events::repeated(state.repeated(), None)),
        Some(Known::Finished(repeated)) => Ok(Events::repeated(repeated, None)),
        None => Err(AttachError::Unknown),
    }
}

fn finished(process: RepeatedStart, seen: u64) -> Events {
    Events::ended(EndedEvents::attached(process, seen))
}
