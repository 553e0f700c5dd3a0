//! The state that a process's driver, its response streams, its request handlers and the table share: its log, its
//! termination, the call that is attached, and whether it is to be killed.
//!
//! One call at a time is attached. It has a [`Lease`], which the next call that attaches ends: the requests and the end
//! of a call whose lease has ended have no effect any more.
//!
//! * [`attaching`]: leases and the calls that attach; [`watching`]: calls beside them;
//! * [`delivery`]: what the response stream gets next;
//! * [`consumption`]: what the client has consumed, and whether there is room for more output.
//!
//! One lock, held for a few instructions at a time and never across an await.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use baton_channel::allow::Revocable;
use baton_export::clock;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Attached, Process, ProcessState as ListedState, Started};
use baton_trace::call::ToldStages;
use baton_trace::call_end::{CallEnd, CallEndCell};
use tokio::sync::watch;
use tonic::Status;

use super::backend::{Exec, ExecState};
use super::grace::Grace;
use super::listing::Description;
use super::repeated::RepeatedStart;
use super::retention::{KeptBytes, RetainedBytes};
use super::signal::{ClientSignal, PendingSignals};
use super::stop::Stop;
use crate::error::RequestError;
use crate::limits::{KEPT_ENCODED_BYTES, KEPT_PROCESS_BYTES, LOG_BYTES};
use crate::log::{EventLog, Keep, OnFull};
use crate::termination::{Close, Exit, StopReason, Termination};

mod attaching;
mod consumption;
mod delivery;
#[cfg(test)]
mod tests;
mod watching;

use self::attaching::StdinProgress;
pub(super) use self::attaching::{Attaching, Lease, StdinPosition};
pub(super) use self::delivery::{Cursor, unnumbered};
pub(super) use self::watching::Watched;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ProcessState {
    inner: Mutex<Inner>,
    termination: watch::Sender<Termination>,
    /// Set when the process was created.
    description: OnceLock<Description>,
    /// The user that the process runs as; `None`: the server's own.
    user: Option<Arc<str>>,
}

#[derive(Debug)]
struct Inner {
    log: EventLog,
    /// The output that waits to be handed over, in its client's share.
    retained: RetainedBytes,
    /// The output that is kept after it was handed over.
    kept: KeptBytes,
    /// Tells what the client of the attached call has consumed; set only with a grace.
    consumed: Option<CallEndCell>,
    /// The driver waits until the client has consumed more.
    awaits_consumption: bool,
    /// The lease of the call that is attached, or was attached last.
    lease: Lease,
    /// A call that has attached, until the driver takes its requests.
    attaching: Option<Attaching>,
    has_terminal: bool,
    /// The first event of the call that has attached, once the driver has taken its requests.
    attached: Option<Attached>,
    stdin: StdinProgress,
    /// The stages of the process, for a call that attaches, once they are known.
    told: Option<ToldStages>,
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
    /// Watchers that wait for the next event.
    watchers: Vec<Waker>,
    /// All watchers.
    watching: usize,
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
    pub(super) fn new(user: Option<Arc<str>>, retained: RetainedBytes, kept: KeptBytes) -> Self {
        Self {
            inner: Mutex::new(Inner {
                log: EventLog::new(LOG_BYTES, OnFull::Block),
                retained,
                kept,
                consumed: None,
                awaits_consumption: false,
                lease: Lease::default(),
                attaching: None,
                has_terminal: false,
                attached: None,
                stdin: StdinProgress::default(),
                told: None,
                starting: None,
                stop: Stop::default(),
                grace: Grace::default(),
                signals: PendingSignals::default(),
                is_ended_by_client: false,
                response: Response::Open,
                session_init: None,
                driver: None,
                follower: None,
                watchers: Vec::new(),
                watching: 0,
            }),
            termination: watch::Sender::default(),
            description: OnceLock::new(),
            user,
        }
    }

    /// The user that the process runs as; `None`: the server's own.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The process has a terminal.
    pub(super) fn set_terminal(&self) {
        self.lock().has_terminal = true;
    }

    /// Sets the description in its client's list.
    pub(super) fn describe(&self, description: Description) {
        let _ = self.description.set(description);
    }

    /// The process as its client's list shows it, without its id; `None` before it was created.
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
    pub(super) fn starts(
        &self,
        pid: u32,
        exec: Arc<dyn Exec>,
        grace: Grace,
        kill_grace: Duration,
        on_full: OnFull,
        consumed: Option<&CallEndCell>,
    ) {
        let mut inner = self.lock();
        inner.log.set_on_full(on_full);
        inner.starting = Some(Starting { pid, exec });
        if !grace.limit().is_zero() {
            inner.log.keep(Keep {
                encoded: KEPT_ENCODED_BYTES,
                memory: KEPT_PROCESS_BYTES,
            });
            inner.begin_call(0, consumed.cloned());
        }
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
            let grace_ms = inner.grace_ms();
            let user = self.user().unwrap_or_default().to_owned();
            self.push(inner, Kind::Started(Started { pid, grace_ms, user }));
        }
    }

    fn push(&self, inner: &mut Inner, kind: Kind) {
        let is_last = matches!(kind, Kind::Closed(_));
        let seq = inner.log.append(kind, clock::now());
        match inner.response {
            Response::Failed(_) | Response::Abandoned => {
                inner.discard(seq);
                return;
            }
            Response::Open if is_last => {
                inner.response = Response::Complete;
                inner.attach_to_the_end();
            }
            Response::Open | Response::Complete => {}
        }
        inner.hand_over_unread();
        inner.make_room();
        inner.count();
        wake(inner.follower.take());
        inner.wake_watchers();
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

    /// The error that ends the response stream, once.
    pub(super) fn failure(&self) -> Option<Status> {
        self.lock().take_failure()
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

    /// Ends the call with this lease with an error and kills the process, unless it is over or another call has
    /// attached.
    pub(super) fn fail_call(&self, lease: Lease, status: Status, why: StopReason) {
        let mut inner = self.lock();
        if inner.lease == lease {
            inner.fail(status, why);
        }
    }

    /// Ends the call that is attached with an error and kills the process, unless it is over.
    pub(super) fn fail(&self, status: Status, why: StopReason) {
        self.lock().fail(status, why);
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
        self.wake_watchers();
        self.stop.order(StopReason::Call(why));
    }

    /// As [`ProcessState::fail`].
    fn fail(&mut self, status: Status, why: StopReason) {
        if !self.is_open() {
            return;
        }
        let last = self.log.last();
        self.discard(last);
        self.response = Response::Failed(status);
        self.wake_watchers();
        self.stop.order(why);
        wake(self.driver.take());
        wake(self.follower.take());
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

    fn grace_ms(&self) -> u32 {
        u32::try_from(self.grace.limit().as_millis()).unwrap_or(u32::MAX)
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
