//! The state that a process's driver, its response stream, its request handler and the table share: its log, its
//! termination, and whether it is to be killed.
//!
//! One lock, held for a few instructions at a time and never across an await.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use baton_channel::allow::Revocable;
use baton_export::clock;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Process, ProcessEvent, ProcessState as ListedState, Started};
use baton_trace::call_end::CallEnd;
use tokio::sync::watch;
use tonic::Status;

use super::backend::{Exec, ExecState};
use super::grace::Grace;
use super::listing::Description;
use super::repeated::RepeatedStart;
use super::retention::RetainedBytes;
use super::signal::{ClientSignal, PendingSignals};
use super::stop::Stop;
use crate::error::RequestError;
use crate::limits::LOG_BYTES;
use crate::log::{EventLog, Next, OnFull};
use crate::termination::{Close, Exit, StopReason, Termination};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ProcessState {
    inner: Mutex<Inner>,
    termination: watch::Sender<Termination>,
    /// Set when the process was created.
    description: OnceLock<Description>,
}

#[derive(Debug)]
struct Inner {
    log: EventLog,
    /// The log's bytes in its client's share.
    retained: RetainedBytes,
    /// `None` once `Started` is in the log.
    starting: Option<Starting>,
    stop: Stop,
    grace: Grace,
    /// Of the client, until the driver takes them.
    signals: PendingSignals,
    /// The client has sent a signal that ends.
    is_ended_by_client: bool,
    response: Response,
    /// When session init was reported, until the driver takes it.
    session_init: Option<Instant>,
    driver: Option<Waker>,
    follower: Option<Waker>,
}

/// The response stream that reads the log.
#[derive(Debug)]
enum Response {
    /// The log is read, or is kept during the grace.
    Open,
    /// The log has `Closed`.
    Complete,
    /// Its next item is this error, in place of what is still in the log. Then it is abandoned.
    Failed(Status),
    /// The log is not read any more: events are not retained, so that a full log does not block the child.
    Abandoned,
}

/// What the driver has to know before each of its turns.
#[derive(Debug)]
pub(super) struct Orders {
    /// The process group is to be killed, with this time between SIGTERM and SIGKILL.
    pub(super) stop: Option<Duration>,
    /// The signals that the client has sent since the last turn.
    pub(super) signals: PendingSignals,
    /// The end of the grace, while it runs.
    pub(super) grace_ends: Option<Instant>,
}

/// A process that may not have executed yet.
#[derive(Debug)]
struct Starting {
    pid: u32,
    exec: Arc<dyn Exec>,
}

impl ProcessState {
    pub(super) fn new(retained: RetainedBytes) -> Self {
        Self {
            inner: Mutex::new(Inner {
                log: EventLog::new(LOG_BYTES, OnFull::Block),
                retained,
                starting: None,
                stop: Stop::default(),
                grace: Grace::default(),
                signals: PendingSignals::default(),
                is_ended_by_client: false,
                response: Response::Open,
                session_init: None,
                driver: None,
                follower: None,
            }),
            termination: watch::Sender::default(),
            description: OnceLock::new(),
        }
    }

    /// Sets what its client is told of the process.
    pub(super) fn describe(&self, description: Description) {
        let _ = self.description.set(description);
    }

    /// What its client is told of the process, without its id; `None` before it was created.
    pub(super) fn listed(&self) -> Option<Process> {
        let description = self.description.get()?;
        let inner = self.lock();
        let state = match inner.grace.ends() {
            _ if self.exit().is_some() => ListedState::Exited,
            _ if inner.stop.reason().is_some() || inner.is_ended_by_client => ListedState::Ending,
            Some(_) => ListedState::Detached,
            None => ListedState::Running,
        };
        Some(description.listed(state))
    }

    /// The answer to a repeated start.
    pub(super) fn repeated(&self) -> RepeatedStart {
        RepeatedStart::of_live(self.termination.subscribe())
    }

    /// The termination, as far as it is known.
    pub(super) fn termination(&self) -> Termination {
        *self.termination.borrow()
    }

    /// Its exit, if it is known.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.termination.borrow().exit().copied()
    }

    /// Sets its exit. The caller appends the event.
    pub(super) fn set_exited(&self, exit: Exit) {
        self.termination.send_replace(Termination::Exited(exit));
    }

    /// Sets the end of its output: repeated starts are answered from here on. The caller appends the event.
    pub(super) fn set_closed(&self, exit: Exit, close: Close) {
        self.termination.send_replace(Termination::Closed(exit, close));
    }

    /// The process was created. `Started` is appended before its first event, or by [`ProcessState::announce`].
    /// It may have been stopped before.
    pub(super) fn starts(&self, pid: u32, exec: Arc<dyn Exec>, grace: Grace, kill_grace: Duration) {
        let mut inner = self.lock();
        inner.starting = Some(Starting { pid, exec });
        inner.grace = grace;
        inner.stop.set_kill_grace(kill_grace);
    }

    /// Appends `Started` if it is not in the log, and wakes the response stream. Returns false if the process has not
    /// executed yet.
    pub(super) fn announce(&self) -> bool {
        let mut inner = self.lock();
        let executed = match &inner.starting {
            Some(starting) => matches!(starting.exec.state(), ExecState::Executed(_)),
            None => true,
        };
        if executed {
            self.started(&mut inner);
        }
        executed
    }

    /// Appends an event, which shows that the process has executed, and wakes the response stream.
    pub(super) fn append(&self, kind: Kind) {
        let mut inner = self.lock();
        self.started(&mut inner);
        self.push(&mut inner, kind);
    }

    /// The `seq` of the event that the driver appends next. Only `Started` is appended by others; it is counted from
    /// the creation of the process on.
    pub(super) fn next_seq(&self) -> u64 {
        let inner = self.lock();
        inner.log.next_seq() + u64::from(inner.starting.is_some())
    }

    fn started(&self, inner: &mut Inner) {
        if let Some(Starting { pid, exec }) = inner.starting.take() {
            // The process has executed. This call drops the image of its program.
            exec.state();
            let grace_ms = u32::try_from(inner.grace.limit().as_millis()).unwrap_or(u32::MAX);
            self.push(inner, Kind::Started(Started { pid, grace_ms }));
        }
    }

    fn push(&self, inner: &mut Inner, kind: Kind) {
        let is_last = matches!(kind, Kind::Closed(_));
        let seq = inner.log.append(kind);
        match inner.response {
            Response::Failed(_) | Response::Abandoned => {
                inner.discard(seq);
                return;
            }
            Response::Open if is_last => inner.response = Response::Complete,
            Response::Open | Response::Complete => {}
        }
        inner.count();
        wake(inner.follower.take());
    }

    /// Whether a pipe may be read. If not, the driver is woken when it may.
    pub(super) fn has_room(&self) -> bool {
        let inner = self.lock();
        inner.is_abandoned() || inner.log.has_room() && inner.retained.has_room(inner.driver.as_ref())
    }

    /// The driver's orders. `cx` is woken when they change, and when there is room again.
    pub(super) fn orders(&self, cx: &mut Context<'_>) -> Orders {
        let mut inner = self.lock();
        register(&mut inner.driver, cx);
        Orders {
            stop: inner.stop.grace(),
            signals: std::mem::take(&mut inner.signals),
            grace_ends: inner.grace.ends(),
        }
    }

    /// Why the process is to be killed, if it is.
    pub(super) fn stopped(&self) -> Option<StopReason> {
        self.lock().stop.reason()
    }

    /// Whether the client has sent a signal that ends.
    pub(super) fn is_ended_by_client(&self) -> bool {
        self.lock().is_ended_by_client
    }

    /// Takes the next event after `seen` out of the log, and wakes the driver if there is room now. `None` after the
    /// last one.
    pub(super) fn poll_event(
        &self,
        cx: &mut Context<'_>,
        seen: u64,
    ) -> Poll<Option<Result<ProcessEvent, Status>>> {
        let mut inner = self.lock();
        if let Some(failure) = inner.take_failure() {
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(Next::Event(event)) = inner.log.next_after(seen) {
            if inner.discard(event.seq) {
                wake(inner.driver.take());
            }
            return Poll::Ready(Some(Ok(event)));
        }
        if !inner.is_open() {
            return Poll::Ready(None);
        }
        register(&mut inner.follower, cx);
        Poll::Pending
    }

    /// The error that ends the response stream, once.
    pub(super) fn failure(&self) -> Option<Status> {
        self.lock().take_failure()
    }

    /// Ready when there is an event after `Started`, or the response has ended. The response stream must not wait at
    /// the same time, because both register the same waker.
    pub(super) fn poll_more_than_started(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.log.last() > 1 || !inner.is_open() {
            return Poll::Ready(());
        }
        register(&mut inner.follower, cx);
        Poll::Pending
    }

    /// Stores an acknowledgement.
    pub(super) fn acknowledge(&self, seq: u64) -> Result<(), RequestError> {
        self.lock().log.acknowledge(seq)
    }

    /// Stores the time at which session init was reported, for the driver, which handles requests before pipes.
    pub(super) fn session_init(&self, at: Instant) {
        self.lock().session_init.get_or_insert(at);
    }

    /// Takes the time at which session init was reported.
    pub(super) fn take_session_init(&self) -> Option<Instant> {
        self.lock().session_init.take()
    }

    /// Kills the process, because the server shuts down. Its response stream stays open until the end.
    pub(super) fn stop(&self) {
        let mut inner = self.lock();
        inner.stop.order(StopReason::Call(CallEnd::ShutDown));
        wake(inner.driver.take());
    }

    /// Sends a signal of the client to the process group, at the driver's next turn.
    pub(super) fn signal(&self, signal: ClientSignal) {
        let mut inner = self.lock();
        inner.is_ended_by_client |= signal.ends;
        inner.signals.add(signal);
        wake(inner.driver.take());
    }

    /// The call was cut short. Begins the grace, or kills the process if it has none for this reason, unless the
    /// process is over.
    pub(super) fn detach(&self, why: CallEnd) {
        let mut inner = self.lock();
        if !inner.is_open() {
            return;
        }
        inner.follower = None;
        if let Some(why) = inner.grace.begin(why, clock::now()) {
            inner.abandon(why);
        }
        wake(inner.driver.take());
    }

    /// Kills the process if its grace has passed, unless it is over. Returns [`Orders::stop`].
    pub(super) fn end_grace(&self, now: Instant) -> Option<Duration> {
        let mut inner = self.lock();
        if let Some(why) = inner.grace.due(now)
            && inner.is_open()
        {
            inner.abandon(why);
        }
        inner.stop.grace()
    }

    /// Ends the call with an error and kills the process, unless it is over.
    pub(super) fn fail(&self, status: Status, why: StopReason) {
        let mut inner = self.lock();
        if !inner.is_open() {
            return;
        }
        let last = inner.log.last();
        inner.discard(last);
        inner.response = Response::Failed(status);
        inner.stop.order(why);
        wake(inner.driver.take());
        wake(inner.follower.take());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client's key was removed from the allow-list, and no session watches it: during the grace, or while the process
/// group has time to end that the client has stated.
impl Revocable for ProcessState {
    fn revoke(&self) {
        let mut inner = self.lock();
        match inner.is_open() {
            true => inner.abandon(CallEnd::Revoked),
            // The response has ended, and descendants may be left in the group.
            false => inner.stop.order(StopReason::Call(CallEnd::Revoked)),
        }
        wake(inner.driver.take());
    }
}

impl Inner {
    /// The process is to be killed, and its log is not read any more. The caller wakes the driver.
    fn abandon(&mut self, why: CallEnd) {
        let last = self.log.last();
        self.discard(last);
        self.response = Response::Abandoned;
        self.stop.order(StopReason::Call(why));
    }

    fn is_open(&self) -> bool {
        matches!(self.response, Response::Open)
    }

    fn is_abandoned(&self) -> bool {
        matches!(self.response, Response::Failed(_) | Response::Abandoned)
    }

    fn take_failure(&mut self) -> Option<Status> {
        match std::mem::replace(&mut self.response, Response::Abandoned) {
            Response::Failed(status) => Some(status),
            other => {
                self.response = other;
                None
            }
        }
    }

    /// As [`EventLog::discard`].
    fn discard(&mut self, seq: u64) -> bool {
        let has_made_room = self.log.discard(seq);
        self.count();
        has_made_room
    }

    fn count(&mut self) {
        self.retained.set(self.log.bytes());
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
