//! What a process's driver, its follower, its request pump and the table have in common: its log, and whether it
//! should stop.
//!
//! One lock, held for a few instructions at a time and never across an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{ProcessEvent, Started};
use baton_trace::call_end::CallEnd;
use tonic::Status;

use super::backend::{Exec, ExecState};
use super::ends::{End, Ended, Ends};
use super::kept::Kept;
use crate::error::RequestError;
use crate::limits::LOG_BYTES;
use crate::log::EventLog;
use crate::records::StopReason;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    ends: Ends,
}

#[derive(Debug)]
struct State {
    log: EventLog,
    /// What the log counts for its client.
    kept: Kept,
    /// Until `Started` is in the log.
    starting: Option<Starting>,
    /// The first reason counts.
    stop: Option<StopReason>,
    /// Nobody will read the log: events are no longer kept, so that a full log does not keep the child from ending.
    abandoned: bool,
    /// Ends the response stream in place of what is still in the log.
    failure: Option<Status>,
    closed: bool,
    driver: Option<Waker>,
    follower: Option<Waker>,
}

/// A process that may not have executed yet.
#[derive(Debug)]
struct Starting {
    pid: u32,
    exec: Arc<dyn Exec>,
}

impl Shared {
    pub(super) fn new(kept: Kept) -> Self {
        Self {
            state: Mutex::new(State {
                log: EventLog::new(LOG_BYTES),
                kept,
                starting: None,
                stop: None,
                abandoned: false,
                failure: None,
                closed: false,
                driver: None,
                follower: None,
            }),
            ends: Ends::new(),
        }
    }

    /// What stays of the process.
    pub(super) fn ended(&self) -> Ended {
        self.ends.ended()
    }

    /// What is known of its end so far.
    pub(super) fn end(&self) -> End {
        self.ends.end()
    }

    /// It will be closed so, as event `seq`: whoever comes after it is told, though the event is not in the log yet.
    pub(super) fn closes(&self, seq: u64, closed: &Kind) {
        self.ends.note(seq, closed);
    }

    /// There is a process. `Started` is appended before its first event, or by [`Shared::announce`].
    pub(super) fn starts(&self, pid: u32, exec: Arc<dyn Exec>) {
        self.lock().starting = Some(Starting { pid, exec });
    }

    /// Appends `Started`, unless it is there, and wakes the follower; false if it cannot be said yet.
    pub(super) fn announce(&self) -> bool {
        let mut state = self.lock();
        let executed = match &state.starting {
            Some(starting) => matches!(starting.exec.state(), ExecState::Executed(_)),
            None => true,
        };
        if executed {
            self.started(&mut state);
        }
        executed
    }

    /// Appends an event, which tells that the process has executed, and wakes the follower.
    pub(super) fn append(&self, kind: Kind) {
        let mut state = self.lock();
        self.started(&mut state);
        self.push(&mut state, kind);
    }

    /// The `seq` of the event that the driver appends next. Nobody else appends but for `Started`, which counts from when there is a process.
    pub(super) fn next_seq(&self) -> u64 {
        let state = self.lock();
        state.log.next_seq() + u64::from(state.starting.is_some())
    }

    fn started(&self, state: &mut State) {
        if let Some(Starting { pid, exec }) = state.starting.take() {
            // It has executed; asked for it, it lets go of what it was given for that.
            exec.state();
            self.push(state, Kind::Started(Started { pid }));
        }
    }

    fn push(&self, state: &mut State, kind: Kind) {
        state.closed |= matches!(kind, Kind::Closed(_));
        self.ends.note(state.log.next_seq(), &kind);
        let seq = state.log.append(kind);
        if state.abandoned {
            state.evict(seq);
            return;
        }
        state.count();
        wake(state.follower.take());
    }

    /// Whether a pipe may be read. The driver is woken when that becomes true.
    pub(super) fn has_room(&self) -> bool {
        let state = self.lock();
        state.abandoned || state.log.has_room() && state.kept.has_room(state.driver.as_ref())
    }

    /// Whether the driver is to kill the process group; `cx` is woken when that changes or when there is room again.
    pub(super) fn should_stop(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.lock();
        register(&mut state.driver, cx);
        state.stop.is_some()
    }

    /// Why the process is to be killed, if it is.
    pub(super) fn stopped(&self) -> Option<StopReason> {
        self.lock().stop
    }

    /// Takes the next event after `seen` out of the log, and lets the driver read on if that made room. `None` after
    /// the last one.
    pub(super) fn poll_event(
        &self,
        cx: &mut Context<'_>,
        seen: u64,
    ) -> Poll<Option<Result<ProcessEvent, Status>>> {
        let mut state = self.lock();
        if let Some(failure) = state.failure.take() {
            state.abandoned = true;
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(event) = state.log.next_after(seen) {
            if state.evict(event.seq) {
                wake(state.driver.take());
            }
            return Poll::Ready(Some(Ok(event)));
        }
        if state.closed || state.abandoned {
            return Poll::Ready(None);
        }
        register(&mut state.follower, cx);
        Poll::Pending
    }

    /// Why there is nothing to follow, once.
    pub(super) fn failure(&self) -> Option<Status> {
        self.lock().failure.take()
    }

    /// Ready when something has happened since the process started, or to it before it could. One waiter beside the follower, before it.
    pub(super) fn poll_more_than_started(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.log.last() > 1 || state.closed || state.abandoned {
            return Poll::Ready(());
        }
        register(&mut state.follower, cx);
        Poll::Pending
    }

    /// Notes an acknowledgement.
    pub(super) fn acknowledge(&self, seq: u64) -> Result<(), RequestError> {
        self.lock().log.acknowledge(seq)
    }

    /// Kills the process, because the server shuts down; whoever follows it sees its end.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stop.get_or_insert(StopReason::Call(CallEnd::ShutDown));
        wake(state.driver.take());
    }

    /// Nobody follows the process any more, because its call ended so: kills it unless it is over.
    pub(super) fn abandon(&self, why: CallEnd) {
        let mut state = self.lock();
        if state.closed || state.abandoned {
            return;
        }
        let last = state.log.last();
        state.evict(last);
        state.abandoned = true;
        state.stop.get_or_insert(StopReason::Call(why));
        wake(state.driver.take());
    }

    /// Ends the call with an error and kills the process, unless it is over.
    pub(super) fn fail(&self, status: Status, why: StopReason) {
        let mut state = self.lock();
        if state.closed || state.abandoned {
            return;
        }
        let last = state.log.last();
        state.evict(last);
        state.failure = Some(status);
        state.abandoned = true;
        state.stop.get_or_insert(why);
        wake(state.driver.take());
        wake(state.follower.take());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// As [`EventLog::evict`].
    fn evict(&mut self, seq: u64) -> bool {
        let has_made_room = self.log.evict(seq);
        self.count();
        has_made_room
    }

    fn count(&mut self) {
        self.kept.set(self.log.bytes());
    }
}

fn register(slot: &mut Option<Waker>, cx: &mut Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
