//! The task of one process: reads its pipes, watches its exit, writes its stdin, kills and reaps it.
//!
//! The task owns the process for the process table. It is separate from the RPC that started the process, so that the
//! exit is observed while the client reads nothing, and the process does not depend on its call. Within one wake-up the
//! order is: requests, signals, stop, pipes, exit, deadlines. Pipes come before the exit, because a short command's
//! output and exit often arrive together, and its output should come first. The exit never waits for a pipe, since one
//! turn reads at most [`READS_PER_TURN`] times.

use std::ffi::CStr;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use baton_channel::Revocations;
use baton_channel::allow::{Peer, Revocable};
use baton_export::clock;
use baton_proto::exec::exited::Status;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Output, OutputStream, RunRequest};
use baton_trace::call::{ServerCall, ToldStages};
use baton_trace::call_end::{CallDeadline, CallEnd, CallEndCell};
use baton_trace::command::TracedCommand;
use baton_trace::outcome::Outcome;
use baton_trace::record::Anchor;
use baton_trace::stage::exec;
use baton_trace::w3c::TraceContext;
use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::AsyncRead;
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep_until};
use tonic::Streaming;

use super::backend::{Backend, Exec, ExecState, ProcessGroup, Running};
use super::call::CallContext;
use super::events::Events;
use super::grace::Grace;
use super::kill::Kill;
use super::launch::Launch;
use super::lifecycle::Lifecycle;
use super::listing::Description;
use super::output::ReadBuffer;
use super::reporter::LifecycleReporter;
use super::signal::PendingSignals;
use super::state::{Attaching, Lease, Orders, ProcessState};
use super::stdin::{self, Stdin};
use super::table::{ProcessTable, Registration, StartEntry};
use super::ticker::Wait;
use crate::error::{RequestError, StartError, exit_status_lost};
use crate::limits::{DETACHED_GRACE, KILL_GRACE, READS_PER_TURN};
use crate::records::{Accepted, Records};
use crate::termination::{Close, Exit, StopReason, is_out_of_memory};
use crate::user::Users;

/// The backend, table and settings that all processes of a server use. Clones share the table.
#[derive(Debug, Clone)]
pub(crate) struct Processes<B> {
    pub(crate) backend: B,
    pub(crate) table: Arc<ProcessTable>,
    /// The working directory of a process whose start names none; `None` is the server's own.
    pub(crate) home: Option<Arc<CStr>>,
    pub(crate) records: Records,
    pub(crate) users: Users,
    /// The limit of a start's grace.
    pub(crate) max_grace: Duration,
    /// `None` where no key is ever revoked.
    pub(crate) revocations: Option<Revocations>,
}

/// Starts a process and returns its events; for a repeated start, the events of the first one's termination. Waits only
/// for the gate, if there is one, and not for the child's exec. If the future is dropped before the gate has answered,
/// nothing runs.
pub(crate) async fn run<B: Backend>(
    processes: &Processes<B>,
    client: &Peer,
    mut launch: Launch,
    CallContext { call, end, deadline }: CallContext,
    requests: Streaming<RunRequest>,
) -> Result<Events, StartError> {
    let Processes {
        backend,
        table,
        home,
        records,
        users,
        max_grace,
        revocations,
    } = processes;
    let accepted = clock::now();
    launch.start_in(home.as_deref());
    let (drain, family, tells_stdin) = (launch.drain, launch.family, launch.tells_stdin);
    let (is_detached, on_full) = (launch.is_detached, launch.on_full);
    if is_detached && (max_grace.is_zero() || client.options().command().is_some()) {
        return Err(StartError::NotDetachable);
    }
    let grace = match is_detached {
        true => DETACHED_GRACE,
        false => launch.grace.min(*max_grace),
    };
    let kill_grace = launch.kill_grace;
    // A process without either grace ends with its session, which is watched.
    let may_outlive = !grace.is_zero() || kill_grace > KILL_GRACE;
    let revocations = revocations.as_ref().filter(|_| may_outlive).cloned();
    let key = (client.key, launch.process_id);
    table.received(&client.key, &launch.received);
    let user = launch.user().cloned();
    let mut registration = match table.register(key, user.clone(), launch.parameters, accepted)? {
        StartEntry::New(registration) => registration,
        StartEntry::Existing(repeated, told) => {
            let told = Some(told).filter(|_| launch.tells_repeated);
            return Ok(Events::repeated(repeated, told));
        }
    };
    records.is_new(registration.key()).await?;
    let context = call.as_ref().map(|call| call.context_of(exec::PROCESS));
    let childs_context = call.as_deref().map(childs_context);
    if let Some(call) = &call {
        call.set_command(|| launch.traced_command(&client.name));
    }
    let has_stdin = launch.stdin;
    let anchor = call.as_ref().map_or_else(clock::anchor, |call| *call.anchor());
    let mut reporter =
        LifecycleReporter::accepted(records, registration.key(), anchor, accepted, |at_unix_ns| {
            Accepted {
                client_name: &client.name,
                argv: &launch.argv,
                cwd: launch.cwd.as_deref(),
                thread: launch.thread.as_deref(),
                turn: launch.turn,
                step: launch.step.as_deref(),
                trace: context.as_ref(),
                parameters: &launch.parameters,
                at_unix_ns,
            }
        });
    let user = user.map(|user| UserOfCommand {
        users: users.clone(),
        client: client.name.clone(),
        user,
    });
    let state = registration.state().clone();
    let mut description = Description::of(&launch);
    let spawned = async {
        let begun = durable(records, call.as_deref(), &state, accepted).await?;
        Ok((begun, backend.spawn(launch, childs_context.as_ref())?))
    };
    let (begun, running) = match spawned.await {
        Ok(spawned) => spawned,
        Err(error) => {
            tell_refused(user.as_ref(), &error);
            reporter.refused(&error, clock::now());
            if let Some(traced_command) = traced_command(&call) {
                traced_command.ended(Outcome::FailedToStart(error.start_failure()));
            }
            return Err(error);
        }
    };
    let Running {
        exec,
        group,
        stdin,
        stdout,
        stderr,
        terminal,
    } = running;
    let spawned = clock::now();
    registration.set_started();
    reporter.started(group.pid(), spawned);
    description.pid = group.pid();
    description.started_unix_ns = anchor.unix_ns_of(spawned);
    if terminal.is_some() {
        state.set_terminal();
    }
    state.describe(description);
    if let Some(traced_command) = traced_command(&call) {
        traced_command.started(group.pid());
    }
    // A client waits for `Started` to send input, or to leave.
    let started_delay = table.started_delay(has_stdin || is_detached).clone();
    let events = Events::new(
        state.clone(),
        started_delay,
        end.clone(),
        reporter.delivery(),
        tells_stdin,
        is_detached,
    );
    let deadline = deadline.map(|CallDeadline(at)| at);
    let has_grace = !grace.is_zero();
    let grace = Grace::new(grace, deadline);
    state.starts(
        group.pid(),
        exec.clone(),
        grace,
        kill_grace,
        on_full,
        end.as_ref(),
    );
    let mut driver = Driver::<B> {
        exec,
        group,
        stdout: Some(stdout),
        stderr: Some(stderr),
        spent: (None, None),
        buffer: ReadBuffer::new(),
        turn: OutputStream::Stdout,
        lifecycle: Lifecycle::new(begun, spawned, drain, family),
        kill: Kill::Idle,
        has_sent_sigkill: false,
        kill_grace,
        timer: None,
        state: state.clone(),
        reporter,
        progress: None,
        registration,
        anchor,
        call,
        lease: Lease::default(),
        end,
        context,
        sees_ids: client.sees_ids(),
        has_grace,
        is_in_grace: false,
        revocations,
        user,
    };
    tokio::spawn(async move {
        let stdin = Stdin::new(stdin);
        let pump = |requests| {
            let terminal = terminal.as_deref();
            stdin::pump(requests, &stdin, family.is_some(), has_grace, terminal, &state)
        };
        driver.drive(pin!(Some(pump(requests))), &stdin, pump).await;
        // The answer is sent before the rest is dropped.
        yield_now().await;
    });
    Ok(events)
}

/// The parent of the child's own spans. It is `process.wait`, whose time is the child's. `process` has further
/// children, and Jaeger's critical path follows only one of them. Where `process.wait` is not exported, it is
/// `process`.
fn childs_context(call: &ServerCall) -> TraceContext {
    call.context_of(match call.is_exported() {
        true => exec::PROCESS_WAIT,
        false => exec::PROCESS,
    })
}

/// Waits until the gate reports this start as durable, if there is a gate. Returns the time at which the spawn begins.
async fn durable(
    records: &Records,
    call: Option<&ServerCall>,
    state: &ProcessState,
    accepted: Instant,
) -> Result<Instant, StartError> {
    if records.gate.is_none() {
        return Ok(accepted);
    }
    records.durable().await?;
    let now = clock::now();
    if let Some(call) = call {
        call.record(exec::START_DURABLE, accepted, now);
    }
    match state.stopped() {
        Some(_) => Err(StartError::ShuttingDown),
        None => Ok(now),
    }
}

/// The command in the spans of a call, if they are recorded.
fn traced_command(call: &Option<Arc<ServerCall>>) -> Option<&TracedCommand> {
    call.as_deref().and_then(ServerCall::command)
}

/// The result of a check for the process's exit.
enum ExitCheck {
    /// No exit, or an exit that was reported before.
    Unchanged,
    Exited,
    /// The child exited because it could not execute its program.
    NotExecuted,
}

struct Driver<B: Backend> {
    exec: Arc<dyn Exec>,
    group: B::Group,
    /// `None` at its end.
    stdout: Option<B::Stdout>,
    /// `None` at its end.
    stderr: Option<B::Stderr>,
    /// The pipes at their end.
    spent: (Option<B::Stdout>, Option<B::Stderr>),
    buffer: ReadBuffer,
    /// The pipe to read next.
    turn: OutputStream,
    lifecycle: Lifecycle,
    kill: Kill,
    /// The process group has got SIGKILL from this process.
    has_sent_sigkill: bool,
    /// The time that the client states between a signal that ends and SIGKILL.
    kill_grace: Duration,
    /// `None` for most processes, which never have a deadline.
    timer: Option<Pin<Box<Sleep>>>,
    state: Arc<ProcessState>,
    reporter: LifecycleReporter,
    /// Pending from the first event that was not reported to the observer until its report.
    progress: Option<Wait>,
    registration: Registration,
    /// The clock readings that all times of the process are computed from.
    anchor: Anchor,
    call: Option<Arc<ServerCall>>,
    /// The lease of the call whose requests are read.
    lease: Lease,
    /// The reason why that call was cut short, if the transport sets it.
    end: Option<CallEndCell>,
    /// The `process` stage's.
    context: Option<TraceContext>,
    /// Whether the client may receive trace ids.
    sees_ids: bool,
    /// Whether another call may attach.
    has_grace: bool,
    /// The session of its call was lost, and no other call has attached.
    is_in_grace: bool,
    /// `None` without a grace, and once the process is watched.
    revocations: Option<Revocations>,
    /// `None` for the server's own.
    user: Option<UserOfCommand>,
}

/// The user that a command runs as, and whose command it is.
struct UserOfCommand {
    users: Users,
    client: String,
    user: Arc<str>,
}

/// Tells the exec-server's owner if nothing runs because of the user.
fn tell_refused(user: Option<&UserOfCommand>, error: &StartError) {
    if let (Some(UserOfCommand { users, client, user }), StartError::User(error)) = (user, error) {
        users.refused(client, user, error);
    }
}

impl<B: Backend> Driver<B> {
    /// Drives the process to its end. `requests` are those of the call that starts it; `pump` handles those of a call
    /// that attaches.
    async fn drive<F: Future<Output = Result<(), RequestError>>>(
        &mut self,
        mut requests: Pin<&mut Option<F>>,
        stdin: &Stdin<B::Stdin>,
        pump: impl Fn(Streaming<RunRequest>) -> F,
    ) {
        poll_fn(|cx| {
            if self.has_grace
                && let Some(Attaching {
                    lease,
                    requests: new,
                    end,
                }) = self.state.take_attaching()
            {
                requests.set(None);
                (self.lease, self.end) = (lease, end);
                self.state.attached(lease, stdin.rewind());
                requests.set(Some(pump(new)));
            }
            if let Some(pending) = requests.as_mut().as_pin_mut()
                && let Poll::Ready(end) = pending.poll(cx)
            {
                requests.set(None);
                self.requests_ended(end);
            }
            // Before the pipes: output that this task has not read came after the report.
            if self.lifecycle.has_family()
                && let Some(at) = self.state.take_session_init()
            {
                self.lifecycle.session_init(at);
            }
            let poll = self.poll(cx);
            if self.is_in_grace {
                // Requests that wait for the child to read its input would keep the lost session's memory.
                requests.set(None);
                stdin.rewind();
            }
            poll
        })
        .await;
    }

    /// The requests of the call have ended. An error, unless the process has exited, shows that the call was cut short,
    /// or that the client violates the protocol.
    fn requests_ended(&self, end: Result<(), RequestError>) {
        let Err(error) = end else { return };
        if self.lifecycle.has_exited() {
            return;
        }
        let why = match (error, &self.end) {
            // The requests of a call that was cut short end like this. The reason is set before they end.
            (RequestError::Unreadable | RequestError::StdinCut, Some(end)) => match end.get() {
                Some(why) => return self.state.detach(self.lease, why),
                None => CallEnd::Violation,
            },
            (RequestError::Unreadable | RequestError::StdinCut, None) => CallEnd::Reset,
            _ => CallEnd::Violation,
        };
        self.state
            .fail_call(self.lease, error.into(), StopReason::Call(why));
    }

    /// Ready when the process is reaped.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Orders {
            stop,
            signals,
            mut grace_ends,
        } = self.state.orders(cx);
        self.send(signals);
        if let Some(grace) = stop {
            self.begin_kill(clock::now(), grace);
        }
        self.is_in_grace = grace_ends.is_some();
        if self.is_in_grace {
            self.watch_revocation();
        }
        self.read(cx);
        self.tell_progress(cx);
        match self.check_exit(cx) {
            ExitCheck::Unchanged => {}
            ExitCheck::Exited => {
                B::release_child_ends(self.stdout.as_mut(), self.stderr.as_mut());
                self.read(cx);
            }
            ExitCheck::NotExecuted => {
                self.registration.set_not_started();
                self.retire();
                return Poll::Ready(());
            }
        }
        loop {
            let now = clock::now();
            if grace_ends.is_some_and(|at| at <= now) {
                grace_ends = None;
                if let Some(grace) = self.state.end_grace(now) {
                    self.begin_kill(now, grace);
                    // The log is not kept any more, so there is room to read the pipes.
                    cx.waker().wake_by_ref();
                }
            }
            if self.kill.is_due(now) {
                self.has_sent_sigkill = true;
                self.group.signal(Signal::KILL);
                self.group.kill_descendants(now);
            }
            self.close(cx, now);
            let is_killed = !self.kill.is_pending() && self.group.poll_killed(cx).is_ready();
            if self.lifecycle.is_closed() && is_killed {
                self.retire();
                return Poll::Ready(());
            }
            if self.poll_timer(cx, grace_ends).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Sends the client's signals.
    fn send(&mut self, signals: PendingSignals) {
        if signals.ends() {
            self.will_kill(clock::now(), self.kill_grace);
        }
        if signals.kills() {
            self.has_sent_sigkill = true;
            self.will_kill(clock::now(), Duration::ZERO);
        }
        for signal in signals.into_signals() {
            self.group.signal(signal);
        }
    }

    /// Begins to kill the process group, unless that has begun before, with a grace as short.
    fn begin_kill(&mut self, now: Instant, grace: Duration) {
        if self.will_kill(now, grace) {
            self.group.signal(Signal::TERM);
            self.group.terminate_descendants();
        }
    }

    /// Sets when SIGKILL follows. Returns whether this changes anything.
    fn will_kill(&mut self, now: Instant, grace: Duration) -> bool {
        let is_news = self.kill.begin(now, grace);
        if is_news {
            self.lifecycle.kill_begins();
            if grace > KILL_GRACE {
                self.watch_revocation();
            }
        }
        is_news
    }

    /// Why the process has ended with this status, if it was killed.
    fn stopped(&self, status: &io::Result<Status>) -> Option<StopReason> {
        let stopped = self.state.stopped();
        // The client has given the command up, as by a reset of its call. One that exits by itself was not killed.
        let is_given_up = matches!(status, Ok(Status::Signaled(_))) && self.state.is_ended_by_client();
        stopped.or(is_given_up.then_some(StopReason::Call(CallEnd::Reset)))
    }

    /// Watches whether the client's key is revoked: during the grace, and after its call, no session does.
    fn watch_revocation(&mut self) {
        if let Some(revocations) = self.revocations.take() {
            let state: Weak<dyn Revocable> = Arc::<ProcessState>::downgrade(&self.state);
            revocations.watch(self.registration.key().client, state);
        }
    }

    /// Reads the pipes in turns while there is room, so that neither starves the other.
    fn read(&mut self, cx: &mut Context<'_>) {
        let mut idle = 0;
        for _ in 0..READS_PER_TURN {
            if self.stdout.is_none() && self.stderr.is_none() {
                return;
            }
            if !self.state.has_room() {
                self.lifecycle.pause(clock::now());
                return;
            }
            if self.lifecycle.is_paused() {
                self.lifecycle.resume(clock::now());
            }
            let (chunk, other) = match self.turn {
                OutputStream::Stderr => (read(&mut self.buffer, cx, &mut self.stderr), OutputStream::Stdout),
                _ => (read(&mut self.buffer, cx, &mut self.stdout), OutputStream::Stderr),
            };
            let took = self.took(self.turn, chunk);
            self.turn = other;
            idle = if took { 0 } else { idle + 1 };
            if idle == 2 {
                return;
            }
        }
        // There may be more output, and nothing else wakes this task.
        cx.waker().wake_by_ref();
    }

    /// Appends output from a pipe. Returns true if the pipe may have more now.
    fn took(&mut self, stream: OutputStream, chunk: Poll<io::Result<Bytes>>) -> bool {
        let Poll::Ready(chunk) = chunk else { return false };
        let now = clock::now();
        match chunk {
            Ok(data) if !data.is_empty() => {
                self.lifecycle.output(stream, &data, now);
                self.state.append(Kind::Output(Output {
                    stream: stream.into(),
                    data,
                }));
                if self.progress.is_none() && self.reporter.is_enabled() {
                    self.progress = Some(self.registration.progress().waiting());
                }
                true
            }
            // A pipe that cannot be read has no more output.
            Ok(_) | Err(_) => {
                self.lifecycle.end_of_file(stream, now);
                match stream {
                    OutputStream::Stderr => self.spent.1 = self.stderr.take(),
                    OutputStream::Stdout | OutputStream::Unspecified => self.spent.0 = self.stdout.take(),
                }
                false
            }
        }
    }

    /// Reports the `seq` of the last event to the observer, once for all events since the last report.
    fn tell_progress(&mut self, cx: &mut Context<'_>) {
        if let Some(progress) = &mut self.progress
            && progress.as_mut().poll(cx).is_ready()
        {
            self.progress = None;
            self.reporter.progressed(self.state.next_seq() - 1);
        }
    }

    /// Appends the exit as soon as it is known. If nothing ran, the call fails with the reason.
    fn check_exit(&mut self, cx: &mut Context<'_>) -> ExitCheck {
        if self.lifecycle.has_exited() {
            return ExitCheck::Unchanged;
        }
        let Poll::Ready(status) = self.group.poll_exit(cx) else {
            return ExitCheck::Unchanged;
        };
        let now = clock::now();
        match self.exec.state() {
            ExecState::Failed(error) => {
                tell_refused(self.user.as_ref(), &error);
                self.reporter.refused(&error, now);
                if let Some(traced_command) = traced_command(&self.call) {
                    traced_command.ended(Outcome::FailedToStart(error.start_failure()));
                }
                self.state.fail(error.into(), StopReason::ServerFault);
                return ExitCheck::NotExecuted;
            }
            ExecState::Executed(Some(at)) => self.lifecycle.executed(at, now),
            ExecState::Executed(None) | ExecState::Pending => {}
        }
        self.lifecycle.exit(now);
        if self.kill == Kill::Idle && !matches!(status, Ok(Status::Code(_))) {
            self.lifecycle.killed();
        }
        let trace = self
            .context
            .as_ref()
            .filter(|_| self.sees_ids)
            .map(TraceContext::to_carrier);
        let next = self.state.next_seq();
        let stopped = self.stopped(&status);
        let out_of_memory = status.as_ref().is_ok_and(|status| {
            let says_cgroup = || self.group.is_out_of_memory();
            is_out_of_memory(*status, self.has_sent_sigkill, says_cgroup)
        });
        let exit = Exit {
            // An exit whose status was lost has no event.
            seq: if status.is_ok() { next } else { next - 1 },
            status: status.ok(),
            stopped,
            out_of_memory,
            at_unix_ns: self.anchor.unix_ns_of(now),
            traceparent: trace
                .as_ref()
                .and_then(|trace| trace.traceparent[..].try_into().ok()),
        };
        // The observer comes before the client, so that a flush that the client requests covers the exit.
        self.reporter.exited(&exit);
        if let Some(traced_command) = traced_command(&self.call) {
            traced_command.ended(exit.outcome());
        }
        self.state.set_exited(exit);
        match exit.event(trace) {
            Some(event) => self.state.append(event),
            None => self.state.fail(exit_status_lost(), StopReason::ServerFault),
        }
        ExitCheck::Exited
    }

    /// Closes the process when it is over: records its stages, calls the observer, reaps the process, and only then
    /// appends `Closed`. A process that is killed is over when none of its descendants is left.
    fn close(&mut self, cx: &mut Context<'_>, mut now: Instant) {
        let Some(exit) = self.state.exit() else { return };
        if self.lifecycle.is_complete()
            && let Some(at) = self.kill.hand_over(now)
        {
            self.group.kill_descendants(at);
        }
        let (output, survivors) = match self.kill {
            Kill::Done => match self.group.poll_killed(cx) {
                Poll::Pending => return,
                Poll::Ready(survivors) => {
                    // The end of the pipes may be there before the runtime tells.
                    B::writers_killed(self.stdout.as_mut(), self.stderr.as_mut());
                    self.read(cx);
                    now = clock::now();
                    // Who still holds a pipe could not be killed, and is not waited for.
                    (self.lifecycle.cut(now), survivors)
                }
            },
            Kill::Idle | Kill::Terminating { .. } => (self.lifecycle.close(now), 0),
        };
        let Some(output) = output else { return };
        let close = Close {
            seq: self.state.next_seq(),
            at_unix_ns: self.anchor.unix_ns_of(now),
            output,
            survivors,
        };
        let family = self.lifecycle.family();
        // Dropped here: the record of a call that was cut short is complete when all references are gone.
        let call = self.call.take();
        if let Some(call) = &call {
            for (stage, start, end) in self.lifecycle.stages() {
                call.record(stage, start, end);
            }
            if let Some(command) = call.command() {
                family.into_iter().for_each(|family| command.measured(family));
                command.survived_by(survivors);
            }
            if call.is_recording() {
                self.state.set_told(|| ToldStages {
                    call_id: call.call_id(),
                    anchor: *call.anchor(),
                    stages: call.stages_for_caller(),
                });
            }
        }
        self.reporter
            .closed(&exit, &close, &self.lifecycle, call.as_deref());
        drop(call);
        self.state.set_closed(exit, close);
        if !self.kill.is_pending() {
            self.retire();
        }
        self.state.append(close.event(family.as_ref()));
    }

    fn retire(&mut self) {
        self.group.reap();
        self.registration.release();
    }

    /// Ready when a deadline has passed; else pending, with the timer set to the next one.
    fn poll_timer(&mut self, cx: &mut Context<'_>, grace_ends: Option<Instant>) -> Poll<()> {
        let deadline = [self.lifecycle.deadline(), self.kill.deadline(), grace_ends]
            .into_iter()
            .flatten()
            .min();
        let Some(deadline) = deadline else {
            self.timer = None;
            return Poll::Pending;
        };
        let deadline = deadline.into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

fn read<R: AsyncRead + Unpin>(
    buffer: &mut ReadBuffer,
    cx: &mut Context<'_>,
    pipe: &mut Option<R>,
) -> Poll<io::Result<Bytes>> {
    match pipe {
        Some(pipe) => buffer.poll_read(cx, pipe),
        None => Poll::Pending,
    }
}
