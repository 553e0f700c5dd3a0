//! The state that a process's driver, its response streams, its request handlers and the table share: its log, its
//! termination, the call that is attached, and whether it is to be killed.
//!
//! One call at a time is attached. It has a [`Lease`], which the next call that attaches ends: the requests and the end
//! of a call whose lease has ended have no effect any more.
//!
//! One lock, held for a few instructions at a time and never across an await.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use baton_channel::allow::Revocable;
use baton_export::clock;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{
    Attached, Gap, Process, ProcessEvent, ProcessState as ListedState, Repeated, RunRequest, Started,
    StdinTaken,
};
use baton_trace::call::ToldStages;
use baton_trace::call_end::{CallEnd, CallEndCell};
use tokio::sync::watch;
use tonic::{Status, Streaming};

use super::backend::{Exec, ExecState};
use super::grace::Grace;
use super::listing::Description;
use super::repeated::RepeatedStart;
use super::retention::{KeptBytes, RetainedBytes};
use super::signal::{ClientSignal, PendingSignals};
use super::stop::Stop;
use crate::error::{AttachError, RequestError};
use crate::limits::{
    KEPT_ENCODED_BYTES, KEPT_PROCESS_BYTES, LOG_BYTES, STDIN_TOLD_BYTES, UNCONSUMED_MIN_BYTES, WATCHERS_MAX,
};
use crate::log::{EventLog, Keep, Next, OnFull};
use crate::termination::{Close, Exit, StopReason, Termination};

#[cfg(test)]
mod tests;

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

/// Distinguishes the calls that were attached to one process: a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Lease(u64);

/// What the driver takes over from a call that attaches.
#[derive(Debug)]
pub(super) struct Attaching {
    pub(super) lease: Lease,
    pub(super) requests: Streaming<RunRequest>,
    /// Why the call was cut short, once it was, if the transport sets it.
    pub(super) end: Option<CallEndCell>,
}

/// Where the standard input of a process continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StdinPosition {
    /// The bytes that were written.
    pub(super) offset: u64,
    pub(super) is_closed: bool,
}

/// The input that the process has taken.
#[derive(Debug, Default)]
struct StdinProgress {
    taken: u64,
    /// What the client was told.
    told: u64,
}

/// What a response stream has received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub(super) lease: Lease,
    /// The `seq` of the last event.
    pub(super) seen: u64,
    /// It has got its `Attached`, or gets none.
    pub(super) is_attached: bool,
    pub(super) tells_stdin: bool,
}

/// What a watcher gets.
#[derive(Debug)]
pub(super) enum Watched {
    Event(ProcessEvent),
    Gap(Gap),
    /// There was the last event.
    End,
    /// The process is killed, and its log is gone.
    Abandoned,
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

    /// The call with this lease ends, and the process runs on as after a lost session.
    pub(super) fn release(&self, lease: Lease) {
        let mut inner = self.lock();
        if inner.lease != lease {
            return;
        }
        if inner.is_open() {
            inner.grace.begin(CallEnd::ClientLost, clock::now());
        }
        // What else the transport says of the call has no effect.
        inner.lease = Lease(lease.0 + 1);
        inner.hand_over_unread();
        wake(inner.driver.take());
    }

    /// A client that polls has everything up to `seq`. While no call is attached, this makes room for more.
    pub(super) fn polled(&self, seq: u64) {
        let mut inner = self.lock();
        if inner.grace.ends().is_none() {
            return;
        }
        let has_made_room = inner.log.received(seq);
        inner.count();
        if has_made_room || inner.awaits_consumption {
            wake(inner.driver.take());
        }
    }

    /// The answer to a start that repeats that of this process.
    pub(super) fn as_repeated(&self) -> Repeated {
        let inner = self.lock();
        let attachable = !inner.grace.limit().is_zero() && !inner.is_abandoned();
        Repeated {
            attachable,
            attached: attachable && inner.is_open() && inner.grace.ends().is_none(),
        }
    }

    /// Attaches a call that has everything up to `seq`, in the place of the one before. Its requests go to the driver.
    pub(super) fn attach(
        &self,
        seq: u64,
        requests: Streaming<RunRequest>,
        end: Option<CallEndCell>,
    ) -> Result<Lease, AttachError> {
        let mut inner = self.lock();
        inner.check_reader(seq)?;
        inner.lease = Lease(inner.lease.0 + 1);
        let lease = inner.lease;
        inner.begin_call(seq, end.clone());
        inner.grace.stop();
        inner.stdin.told = inner.stdin.taken;
        inner.attached = None;
        inner.attaching = Some(Attaching { lease, requests, end });
        if !inner.is_open() {
            inner.attach_to_the_end();
        }
        wake(inner.driver.take());
        // The call before learns that its lease has ended.
        wake(inner.follower.take());
        Ok(lease)
    }

    /// A watcher begins that has everything up to `seq`, and wants nothing from before `since`. Returns the `seq` that it
    /// begins after. [`end_watch`](Self::end_watch) follows.
    pub(super) fn begin_watch(&self, seq: u64, since: Option<Instant>) -> Result<u64, AttachError> {
        let mut inner = self.lock();
        inner.check_reader(seq)?;
        if inner.watching >= WATCHERS_MAX {
            return Err(AttachError::TooManyWatchers);
        }
        inner.watching += 1;
        Ok(seq.max(since.map_or(0, |since| inner.log.seq_before(since))))
    }

    pub(super) fn end_watch(&self) {
        let mut inner = self.lock();
        inner.watching = inner.watching.saturating_sub(1);
    }

    /// The first event of a watcher.
    pub(super) fn watched(&self) -> Attached {
        let inner = self.lock();
        inner.attached_at(StdinPosition {
            offset: inner.stdin.taken,
            is_closed: true,
        })
    }

    /// What a watcher gets next that has everything up to `seen`.
    pub(super) fn poll_watched(&self, cx: &mut Context<'_>, seen: u64) -> Poll<Watched> {
        let mut inner = self.lock();
        if inner.is_abandoned() {
            return Poll::Ready(Watched::Abandoned);
        }
        match inner.log.next_after(seen) {
            Some(Next::Event(event)) => return Poll::Ready(Watched::Event(event)),
            Some(Next::Gap { first }) => return Poll::Ready(Watched::Gap(Gap { first_seq: first })),
            None if !inner.is_open() => return Poll::Ready(Watched::End),
            None => {}
        }
        if !inner.watchers.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.watchers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The requests of a call that has attached since, for the driver.
    pub(super) fn take_attaching(&self) -> Option<Attaching> {
        self.lock().attaching.take()
    }

    /// The driver reads the requests of the call with this lease. The process takes input from here on.
    pub(super) fn attached(&self, lease: Lease, stdin: StdinPosition) {
        let mut inner = self.lock();
        if inner.lease == lease {
            inner.attached = Some(inner.attached_at(stdin));
            wake(inner.follower.take());
        }
    }

    /// The process, which has a grace, has taken this many bytes of input.
    pub(super) fn stdin_taken(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.stdin.taken = bytes;
        if inner.stdin.is_worth_telling() {
            wake(inner.follower.take());
        }
    }

    /// Sets the stages that a call which attaches tells its caller, if one may.
    pub(super) fn set_told(&self, told: impl FnOnce() -> ToldStages) {
        let mut inner = self.lock();
        if !inner.grace.limit().is_zero() {
            inner.told = Some(told());
        }
    }

    /// The stages of the process, once they are known.
    pub(super) fn told(&self) -> Option<ToldStages> {
        self.lock().told.clone()
    }

    /// How long the log of the process is kept after its end; `None`: not at all.
    pub(super) fn kept_for(&self) -> Option<Duration> {
        let inner = self.lock();
        let is_kept = !inner.is_abandoned() && !inner.grace.limit().is_zero();
        is_kept.then(|| inner.grace.limit())
    }

    /// Whether this client keeps more output than the processes that it may have at once.
    pub(super) fn keeps_too_much(&self) -> bool {
        self.lock().kept.is_over_all()
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

    /// Whether a pipe may be read. If not, the driver is woken when it may.
    pub(super) fn has_room(&self) -> bool {
        let mut inner = self.lock();
        inner.is_abandoned()
            || inner.log.has_room() && inner.retained.has_room(inner.driver.as_ref()) && inner.may_hold_more()
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

    /// Hands the next event to the transport, and wakes the driver if there is room now. `None` after the last one.
    pub(super) fn poll_event(
        &self,
        cx: &mut Context<'_>,
        cursor: &mut Cursor,
    ) -> Poll<Option<Result<ProcessEvent, Status>>> {
        let mut inner = self.lock();
        if cursor.lease != inner.lease {
            return Poll::Ready(Some(Err(AttachError::Superseded.into())));
        }
        if let Some(failure) = inner.take_failure() {
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(event) = inner.about_call(cursor) {
            inner.log.tell(&event);
            return Poll::Ready(Some(Ok(event)));
        }
        if cursor.is_attached {
            match inner.log.next_after(cursor.seen) {
                Some(Next::Event(event)) => {
                    cursor.seen = event.seq;
                    if inner.hand_over(event.seq) || inner.awaits_consumption {
                        wake(inner.driver.take());
                    }
                    return Poll::Ready(Some(Ok(event)));
                }
                Some(Next::Gap { first }) if !inner.is_abandoned() => {
                    cursor.seen = first - 1;
                    let gap = unnumbered(Kind::Gap(Gap { first_seq: first }));
                    inner.log.tell(&gap);
                    return Poll::Ready(Some(Ok(gap)));
                }
                Some(Next::Gap { .. }) | None => {}
            }
            if !inner.is_open() {
                return Poll::Ready(None);
            }
        } else if inner.is_abandoned() {
            return Poll::Ready(Some(Err(AttachError::Killed.into())));
        }
        register(&mut inner.follower, cx);
        Poll::Pending
    }

    /// The error that ends the response stream, once.
    pub(super) fn failure(&self) -> Option<Status> {
        self.lock().take_failure()
    }

    /// Ready when there is an event after `Started`, or the response has ended, or another call has attached. The
    /// response stream must not wait at the same time, because both register the same waker.
    pub(super) fn poll_more_than_started(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.log.last() > 1 || !inner.is_open() || inner.lease != Lease::default() {
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

    /// The call with this lease was cut short. Begins the grace, or kills the process if it has none for this reason,
    /// unless the process is over or another call has attached.
    pub(super) fn detach(&self, lease: Lease, why: CallEnd) {
        let mut inner = self.lock();
        if !inner.is_open() || inner.lease != lease {
            return;
        }
        inner.follower = None;
        match inner.grace.begin(why, clock::now()) {
            Some(why) => inner.abandon(why),
            None => inner.hand_over_unread(),
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

    /// Whether a call that has everything up to `seq` may read the log.
    fn check_reader(&self, seq: u64) -> Result<(), AttachError> {
        if self.starting.is_none() && self.log.last() == 0 {
            // It is not spawned yet, and will not be if its call is cut short.
            return Err(AttachError::Unknown);
        }
        if self.grace.limit().is_zero() {
            return Err(AttachError::NoGrace);
        }
        if self.is_abandoned() {
            return Err(AttachError::Killed);
        }
        let last = self.log.last();
        match seq > last {
            true => Err(AttachError::NotYet { last, received: seq }),
            false => Ok(()),
        }
    }

    fn wake_watchers(&mut self) {
        self.watchers.drain(..).for_each(Waker::wake);
    }

    /// The process is over, and its driver takes no requests any more.
    fn attach_to_the_end(&mut self) {
        if self.attaching.take().is_some() {
            self.attached = Some(self.attached_at(StdinPosition {
                offset: self.stdin.taken,
                is_closed: true,
            }));
        }
    }

    fn attached_at(&self, stdin: StdinPosition) -> Attached {
        Attached {
            stdin_offset: stdin.offset,
            stdin_closed: stdin.is_closed,
            grace_ms: self.grace_ms(),
            last_seq: self.log.last(),
            terminal: self.has_terminal,
        }
    }

    fn grace_ms(&self) -> u32 {
        u32::try_from(self.grace.limit().as_millis()).unwrap_or(u32::MAX)
    }

    /// The next event that is not of the process, if it is due.
    fn about_call(&mut self, cursor: &mut Cursor) -> Option<ProcessEvent> {
        if !cursor.is_attached {
            let attached = self.attached?;
            cursor.is_attached = true;
            return Some(unnumbered(Kind::Attached(attached)));
        }
        if !cursor.tells_stdin || !self.stdin.is_worth_telling() {
            return None;
        }
        self.stdin.told = self.stdin.taken;
        let offset = self.stdin.taken;
        Some(unnumbered(Kind::StdinTaken(StdinTaken { offset })))
    }

    /// As [`EventLog::hand_to_call`].
    fn hand_over(&mut self, seq: u64) -> bool {
        self.consume();
        let has_made_room = self.log.hand_to_call(seq);
        self.count();
        has_made_room
    }

    /// A call is attached whose client has everything up to `seq`. The caller wakes the driver.
    fn begin_call(&mut self, seq: u64, consumed: Option<CallEndCell>) {
        self.consumed = consumed.filter(|cell| cell.consumed().is_some());
        self.log.begin_call(seq, self.consumed.is_some());
        self.count();
    }

    /// Takes over what the client has consumed.
    fn consume(&mut self) {
        if let Some(bytes) = self.consumed.as_ref().and_then(CallEndCell::consumed) {
            self.log.consumed(bytes);
        }
    }

    /// Whether a pipe may be read, as far as the client's consumption is concerned. If not, the driver is woken when it
    /// may.
    ///
    /// This cannot deadlock: a process with a client that consumes everything is read again, whatever the budget is and
    /// whatever other processes do.
    /// 1. What waits in the log is taken by the transport, because its client consumes, so `waiting_bytes` become less
    ///    than the headers of `Started` and `Exited`. Each event that is taken wakes the driver.
    /// 2. The client then consumes everything that was sent. It holds back less than one batch of credit
    ///    ([`CREDIT_BATCH`](baton_channel::limits::CREDIT_BATCH)), and each `Credit` wakes the driver.
    /// 3. So less than one batch, and the rest of an event that begins before it, counts as not consumed. Together with
    ///    the headers that is less than [`UNCONSUMED_MIN_BYTES`], which a process may always have.
    fn may_hold_more(&mut self) -> bool {
        self.awaits_consumption = false;
        if self.holds_enough_room() {
            return true;
        }
        let Some(driver) = self.driver.clone() else {
            // It was woken since its turn began, and asks again.
            return false;
        };
        if let Some(cell) = &self.consumed {
            cell.wake_when_consumed(&driver);
        }
        self.kept.await_room(driver);
        // What happened before the driver was listed has not woken it.
        self.awaits_consumption = !self.holds_enough_room();
        !self.awaits_consumption
    }

    fn holds_enough_room(&mut self) -> bool {
        if !self.log.holds_unconsumed() {
            return true;
        }
        self.consume();
        self.count();
        self.log.unconsumed_encoded() + self.log.waiting_bytes() < UNCONSUMED_MIN_BYTES
            || self.log.unconsumed_encoded() < KEPT_ENCODED_BYTES
                && self.log.unconsumed_bytes() < KEPT_PROCESS_BYTES
                && self.kept.may_hold_more()
    }

    /// Where full logs drop output and no call is attached, all output is only kept.
    fn hand_over_unread(&mut self) {
        if self.log.drops() && self.grace.ends().is_some() {
            let last = self.log.last();
            self.log.hand_over(last);
        }
    }

    /// Drops output beyond the client's share, where full logs do.
    fn make_room(&mut self) {
        while self.log.drops() {
            self.retained.set(self.log.waiting_bytes());
            if self.retained.has_room(None) || !self.log.drop_oldest_waiting() {
                return;
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
        self.retained.set(self.log.waiting_bytes());
        self.kept.set(self.log.kept_bytes());
        if self.log.kept_bytes() > 0 && self.kept.is_over() {
            self.log.evict_handed_over();
            self.kept.set(self.log.kept_bytes());
        }
        let is_live = self.is_open() && self.log.holds_unconsumed();
        self.kept
            .set_unconsumed(if is_live { self.log.unconsumed_bytes() } else { 0 });
    }
}

impl StdinProgress {
    fn is_worth_telling(&self) -> bool {
        self.taken - self.told >= STDIN_TOLD_BYTES
    }
}

/// An event about the call.
pub(super) fn unnumbered(kind: Kind) -> ProcessEvent {
    ProcessEvent {
        seq: 0,
        kind: Some(kind),
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
