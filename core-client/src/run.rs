//! A running command, as a stream of its events.

use std::time::Duration;

use baton_proto::exec::{Exited, OutputStream, ProcessEvent, RunRequest, exited, process_event};
use baton_proto::{ProcessId, Signal};
use baton_trace::call_end::CallEnd;
use baton_trace::command::{CommandExit, TracedCommand};
use baton_trace::family::FamilySummary;
use baton_trace::outcome::Outcome;
use baton_trace::record::CallRecord;
use baton_trace::text::printable;
use baton_trace::w3c::Traceparent;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;

use crate::error::{ProcessError, RunError};
use crate::marker::{MarkerError, MarkerSupport};
use crate::recovery::{OnRecovery, Recovering, Target};
use crate::signal::Signaller;
use crate::terminal::{Resizer, WindowSize};

/// One event of a command. Events arrive in the order in which the exec-server read them, without gaps other than
/// [`Gap`](Self::Gap).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A command with this [`id`](crate::Command::id) was started before, and this start has started nothing. Only
    /// [`Exited`](Self::Exited) and [`Closed`](Self::Closed) of that command follow, when it ends; dropping the [`Run`] does
    /// not affect it. For its output use [`Client::attach`](crate::Client::attach) or
    /// [`Client::watch`](crate::Client::watch).
    Repeated {
        /// Clients can attach to the command.
        attachable: bool,
        /// A client is attached to it.
        attached: bool,
    },
    /// The process has started.
    Started {
        /// Its process id on the remote machine.
        pid: u32,
        /// The user that it runs as, where the exec-server's owner has set one for this client; `None`: the
        /// exec-server's own.
        user: Option<String>,
    },
    /// Bytes of its standard output.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
    /// The process has ended. Output may still follow.
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// When the exec-server observed the exit, by its clock, in nanoseconds since the Unix epoch.
        observed_unix_ns: u64,
    },
    /// Output was lost: the exec-server keeps only so much after a lost session.
    Gap {
        /// The number of events that are missing here.
        events: u64,
    },
    /// The output is closed, and no event follows.
    Closed {
        /// A descendant held a pipe beyond the drain limit; what it writes from now on is lost.
        truncated: bool,
        /// Descendants that the exec-server could not kill with the command. It does not see all of them
        /// (docs/SECURITY.md).
        survivors: u32,
    },
}

/// The exit of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessExit {
    /// The number of the event ([`Run::last_seq`]).
    pub seq: u64,
    /// How it ended.
    pub status: ExitStatus,
    /// When the exec-server observed it, by its clock, in nanoseconds since the Unix epoch.
    pub observed_unix_ns: u64,
    /// Why the exec-server killed the process; `None` if it did not.
    pub call_end: Option<CallEnd>,
    /// The kernel killed it because the memory limit of its cgroup was reached, as the cgroup says.
    pub out_of_memory: bool,
    /// The context of the exec-server's span of the process; `None` if the exec-server gives this client no trace ids.
    pub trace: Option<Traceparent>,
}

impl ProcessExit {
    /// How the command ended, and whose fault it is if it failed: as in the exec-server's record.
    pub fn outcome(&self) -> Outcome {
        let core_dumped = matches!(
            self.status,
            ExitStatus::Signal {
                core_dumped: true,
                ..
            }
        );
        Outcome::of_exit(self.status.into(), core_dumped, self.out_of_memory, self.call_end)
    }

    pub(crate) fn of(seq: u64, exited: &Exited) -> Result<Self, RunError> {
        let trace = exited.trace.as_ref();
        Ok(Self {
            seq,
            status: ExitStatus::of(exited)?,
            observed_unix_ns: exited.observed_unix_ns,
            call_end: CallEnd::from_wire(exited.call_end()),
            out_of_memory: exited.out_of_memory,
            trace: trace.and_then(|trace| Traceparent::decode_binary(&trace.traceparent)),
        })
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code (0 to 255).
    Code(i32),
    /// It was killed by a signal.
    Signal {
        /// The signal's number on the remote machine.
        signal: i32,
        /// Whether it dumped core.
        core_dumped: bool,
    },
}

impl ExitStatus {
    pub(crate) fn of(exited: &Exited) -> Result<Self, RunError> {
        match exited.status {
            // A value that no operating system reports would reach the caller's shell as another code.
            Some(exited::Status::Code(code)) if (0..=255).contains(&code) => Ok(Self::Code(code)),
            Some(exited::Status::Signaled(signaled)) if (1..=127).contains(&signaled.signal) => {
                Ok(Self::Signal {
                    signal: signaled.signal,
                    core_dumped: signaled.core_dumped,
                })
            }
            Some(_) => Err(RunError::Protocol("an exit status that does not exist")),
            None => Err(RunError::Protocol("an exit without a status")),
        }
    }

    /// Whether it exited with code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// The code that a shell would report: the exit code, or 128 + the signal's number.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal { signal, .. } => 128 + signal,
        }
    }
}

impl From<ExitStatus> for CommandExit {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Code(code) => Self::Code(code),
            ExitStatus::Signal { signal, .. } => Self::Signal(signal),
        }
    }
}

/// A running command. Dropping it kills the command and its process group.
#[derive(Debug)]
pub struct Run {
    /// `None` once its call has failed.
    events: Option<Streaming<ProcessEvent>>,
    /// Present if the command outlives its session, and can be attached to again.
    target: Option<Target>,
    /// Present while the session is lost.
    recovering: Option<Recovering>,
    /// The start may repeat an earlier one.
    has_id: bool,
    /// The start repeats an earlier one: of its process only the end is received.
    is_repeated: bool,
    /// The caller has not got all events: output was lost, or it has asked for later ones only.
    has_gap: bool,
    /// `None` if no request follows the start.
    requests: Option<mpsc::Sender<RunRequest>>,
    markers: MarkerSupport,
    record: Option<oneshot::Receiver<CallRecord>>,
    /// Updated with the command's events, for the call record.
    traced_command: Option<TracedCommand>,
    next_seq: Option<u64>,
    received: ReceivedBytes,
    phase: RunPhase,
    trace: Option<Traceparent>,
    exit: Option<ProcessExit>,
    grace: Duration,
    signaller: Signaller,
    has_terminal: bool,
    id: Option<ProcessId>,
    output_bytes: Option<(u64, u64)>,
    stdin_taken: u64,
}

/// The received bytes of output, compared with the exec-server's counts at the end.
#[derive(Debug, Default)]
struct ReceivedBytes {
    stdout: u64,
    stderr: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunPhase {
    Starting,
    /// The start repeats an earlier one.
    Repeated,
    Running,
    Exited,
    Closed,
}

impl Run {
    pub(crate) fn new(
        events: Streaming<ProcessEvent>,
        requests: Option<mpsc::Sender<RunRequest>>,
        record: Option<oneshot::Receiver<CallRecord>>,
        traced_command: Option<TracedCommand>,
    ) -> Self {
        let received = ReceivedBytes::default();
        Self {
            events: Some(events),
            target: None,
            recovering: None,
            has_id: false,
            is_repeated: false,
            has_gap: false,
            requests,
            markers: MarkerSupport::NoFamily,
            record,
            traced_command,
            next_seq: Some(1),
            received,
            phase: RunPhase::Starting,
            trace: None,
            exit: None,
            grace: Duration::ZERO,
            signaller: Signaller::default(),
            has_terminal: false,
            id: None,
            output_bytes: None,
            stdin_taken: 0,
        }
    }

    /// How long the command runs on after its session is lost: what the exec-server grants of
    /// [`Command::grace`](crate::Command::grace), and before [`Event::Started`] all of it. Zero from an exec-server
    /// without graces.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    pub(crate) fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// A command that is attached to again when its session is lost.
    pub(crate) fn recoverable(self, target: Target) -> Self {
        Self {
            target: Some(target),
            ..self
        }
    }

    /// A command whose id the caller has chosen.
    pub(crate) fn with_id(self, has_id: bool) -> Self {
        Self { has_id, ..self }
    }

    /// A command whose events up to `seq` the caller has, or does not want.
    pub(crate) fn after(self, seq: u64) -> Self {
        Self {
            next_seq: seq.checked_add(1),
            phase: match seq {
                0 => RunPhase::Starting,
                _ => RunPhase::Running,
            },
            has_gap: seq > 0,
            ..self
        }
    }

    /// The number (`seq`) of the last event that [`next`](Self::next) has returned; 0 before the first. After
    /// [`Event::Gap`] it is the number of the last missing event. The exec-server counts each command's events from 1.
    pub fn last_seq(&self) -> u64 {
        self.seen()
    }

    /// The context of the exec-server's span of the process, after [`Event::Exited`]. `None` before it, and if the
    /// exec-server gives this client no trace ids.
    pub fn trace(&self) -> Option<Traceparent> {
        self.trace
    }

    /// Why the exec-server killed the process, after [`Event::Exited`]. `None` before it, and if the exec-server did not
    /// kill the process.
    pub fn call_end(&self) -> Option<CallEnd> {
        self.exit.and_then(|exit| exit.call_end)
    }

    /// How the command ended, after [`Event::Exited`]. If [`next`](Self::next) fails, see [`RunError::outcome`].
    pub fn outcome(&self) -> Option<Outcome> {
        self.exit.map(|exit| exit.outcome())
    }

    /// The `seq` of the last event that the caller has.
    pub(crate) fn seen(&self) -> u64 {
        self.next_seq.map_or(u64::MAX, |next| next - 1)
    }

    /// Whether there is a call, which may have ended.
    pub(crate) fn has_call(&self) -> bool {
        self.events.is_some()
    }

    /// Goes on with the events of another call, which follow the last one that the caller has.
    pub(crate) fn continue_with(&mut self, other: Self) {
        self.events = other.events;
    }

    /// The id of the command's process.
    pub fn id(&self) -> Option<ProcessId> {
        self.id
    }

    pub(crate) fn with_process(self, id: Option<ProcessId>) -> Self {
        Self { id, ..self }
    }

    /// The bytes of standard output and of standard error that the exec-server has counted, after [`Event::Closed`].
    pub fn output_bytes(&self) -> Option<(u64, u64)> {
        self.output_bytes
    }

    /// The bytes of standard input that the process had taken when this client attached to it; 0 if it started it.
    pub fn stdin_taken(&self) -> u64 {
        self.stdin_taken
    }

    pub(crate) fn with_stdin_taken(self, stdin_taken: u64) -> Self {
        Self { stdin_taken, ..self }
    }

    /// The id of the command's process: with it, [`Client::attach`](crate::Client::attach) attaches to a command with a
    /// [`grace`](crate::Command::grace). `None` without a grace, or if the exec-server does not attach.
    pub fn process_id(&self) -> Option<ProcessId> {
        self.target.as_ref().map(|target| target.process)
    }

    /// Calls `notify` when the command's session is lost, and when the client is attached to it again. Has no effect on a
    /// command that is not attached to again.
    pub fn on_recovery(mut self, notify: OnRecovery) -> Self {
        if let Some(target) = &mut self.target {
            target.on_recovery = Some(notify);
        }
        self
    }

    pub(crate) fn with_markers(self, markers: MarkerSupport) -> Self {
        Self { markers, ..self }
    }

    pub(crate) fn with_signaller(self, signaller: Signaller) -> Self {
        Self { signaller, ..self }
    }

    /// Sends a signal to the command's process group. It does not wait behind standard input that the command does not
    /// read; [`Stdin::signal`](crate::Stdin::signal) follows the input before it.
    ///
    /// Returns when the exec-server has taken the signal. A signal that was taken and is not sent yet counts once,
    /// however often it is sent. Cancellation safe: a dropped call has sent the signal or not.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] once the command has ended and its output is closed; [`ProcessError`].
    pub async fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        self.signaller.signal(signal).await
    }

    /// Ends the command: sends a signal to its process group, as [`signal`](Self::signal) does, and after
    /// [`Command::kill_grace`](crate::Command::kill_grace) SIGKILL, also if this client is gone by then. A second call
    /// sends its signal, and does not change when SIGKILL follows. A command that a signal has killed afterwards has
    /// the outcome `killed`, with the reason `reset`; one that exits has its own exit code.
    ///
    /// To end it with less patience, drop the [`Run`].
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub async fn terminate(&self, signal: Signal) -> Result<(), ProcessError> {
        self.signaller.terminate(signal).await
    }

    /// Sends signals to this command, in another task than the one that reads its events.
    pub fn signaller(&self) -> Signaller {
        self.signaller.clone()
    }

    pub(crate) fn with_terminal(self, has_terminal: bool) -> Self {
        Self { has_terminal, ..self }
    }

    /// Whether the command has a terminal.
    pub fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    /// Changes the size of the command's terminal. The command's foreground process group gets SIGWINCH.
    ///
    /// It follows the input that was written before. Waits while the queue of requests is full, because the command
    /// reads slowly. If the session of a command with a grace is lost, the last size is sent again. Cancellation safe:
    /// a dropped call has sent nothing.
    ///
    /// # Errors
    /// [`ProcessError::NotSupported`] if the command has no terminal; [`ProcessError::Ended`] once its requests have
    /// ended.
    pub async fn resize(&self, size: WindowSize) -> Result<(), ProcessError> {
        self.resizer().resize(size).await
    }

    /// Changes the size of the command's terminal, in another task than the one that reads its events.
    pub fn resizer(&self) -> Resizer {
        Resizer::new(self.requests.as_ref().filter(|_| self.has_terminal))
    }

    /// Reports that the session with the program has begun: its handshake was acknowledged, or the first request was
    /// sent. Output cannot show this, so the exec-server takes the time at which the report arrives. Requires
    /// [`Command::family`](crate::Command::family). Only the first report of a command counts, and none after its exit.
    ///
    /// Waits while the queue of requests is full, because the command reads its standard input slowly. Cancellation
    /// safe: a dropped call has reported nothing.
    pub async fn session_init_reached(&self) -> Result<(), MarkerError> {
        self.markers.report(self.requests.as_ref()).await
    }

    /// The next event; `None` after [`Event::Closed`]. While the session of a command with a grace is lost, it waits
    /// until the client is attached to it again, or gives up. Cancellation safe.
    pub async fn next(&mut self) -> Result<Option<Event>, RunError> {
        loop {
            let Some(event) = self.message().await? else {
                return match self.phase {
                    RunPhase::Closed => Ok(None),
                    _ => Err(RunError::Protocol(
                        "the stream ended before the command was closed",
                    )),
                };
            };
            let kind = event.kind.ok_or(RunError::Protocol("an empty event"))?;
            let event = match kind {
                process_event::Kind::Attached(_) => {
                    return Err(RunError::Protocol("an Attached that answers no Attach"));
                }
                process_event::Kind::StdinTaken(taken) => {
                    let outbox = self.target.as_ref().and_then(|target| target.outbox.as_ref());
                    if let Some(outbox) = outbox {
                        outbox.taken(taken.offset);
                    }
                    continue;
                }
                process_event::Kind::Gap(gap) => self.gap(gap.first_seq)?,
                process_event::Kind::Repeated(told) => {
                    self.repeated()?;
                    Event::Repeated {
                        attachable: told.attachable,
                        attached: told.attached,
                    }
                }
                kind => {
                    if matches!(kind, process_event::Kind::Exited(_)) && self.phase == RunPhase::Starting {
                        // From an exec-server that does not tell.
                        self.repeated()?;
                    }
                    let is_next = |next| match self.is_repeated {
                        true => next <= event.seq,
                        false => next == event.seq,
                    };
                    if !self.next_seq.is_none_or(is_next) {
                        return Err(RunError::Protocol("an event is missing"));
                    }
                    self.next_seq = event.seq.checked_add(1);
                    self.check(kind)?
                }
            };
            return Ok(Some(event));
        }
    }

    /// The next message, of this call or of the one that continues it. Cancellation safe.
    async fn message(&mut self) -> Result<Option<ProcessEvent>, RunError> {
        loop {
            if let Some(recovering) = &mut self.recovering {
                let ended = recovering.ended().await;
                self.recovering = None;
                self.events = Some(ended?.events);
            }
            let Some(events) = &mut self.events else {
                return Err(RunError::Protocol("the call has failed before"));
            };
            let error = match events.message().await {
                Ok(message) => return Ok(message),
                Err(status) => RunError::from(status),
            };
            // With it ends what sends its requests.
            self.events = None;
            match &self.target {
                Some(_) if error.is_lost_session() && self.phase == RunPhase::Closed => return Ok(None),
                Some(target) if error.is_lost_session() && !self.grace.is_zero() => {
                    let recovering = Recovering::begin(target.clone(), self.seen(), self.grace, error);
                    self.recovering = Some(recovering);
                }
                _ => return Err(error),
            }
        }
    }

    /// The start repeats an earlier one: of its process only the end follows.
    fn repeated(&mut self) -> Result<(), RunError> {
        if !self.has_id || self.phase != RunPhase::Starting {
            return Err(RunError::Protocol(
                "a repeated start that the client has not sent",
            ));
        }
        self.phase = RunPhase::Repeated;
        self.is_repeated = true;
        self.has_gap = true;
        // A lost session is not continued, because that would take the command from its own client.
        self.target = None;
        Ok(())
    }

    /// The events before `first` are lost.
    fn gap(&mut self, first: u64) -> Result<Event, RunError> {
        let next = self
            .next_seq
            .filter(|next| *next < first && self.phase != RunPhase::Closed);
        let next = next.ok_or(RunError::Protocol("a gap where no event is missing"))?;
        if self.phase == RunPhase::Starting {
            self.phase = RunPhase::Running;
        }
        self.next_seq = Some(first);
        self.has_gap = true;
        Ok(Event::Gap { events: first - next })
    }

    /// The call record, after the command is closed; `None` if the call was not recorded.
    pub async fn record(mut self) -> Option<CallRecord> {
        let record = self.record.take()?;
        // The record is complete only after the trailers, which follow `Closed`.
        if let Some(mut events) = self.events.take() {
            while let Ok(Some(_)) = events.message().await {}
        }
        // Without them it is complete when no call can continue this one.
        drop((self.recovering.take(), self.target.take()));
        record.await.ok()
    }

    fn check(&mut self, kind: process_event::Kind) -> Result<Event, RunError> {
        let is_started = matches!(kind, process_event::Kind::Started(_));
        match self.phase {
            RunPhase::Closed => return Err(RunError::Protocol("an event after the last")),
            RunPhase::Starting if !is_started => {
                return Err(RunError::Protocol("an event before it started"));
            }
            RunPhase::Repeated if !matches!(kind, process_event::Kind::Exited(_)) => {
                return Err(RunError::Protocol(
                    "an event of a repeated start that is not its end",
                ));
            }
            RunPhase::Running | RunPhase::Exited if is_started => {
                return Err(RunError::Protocol("started twice"));
            }
            _ => {}
        }
        Ok(match kind {
            process_event::Kind::Started(started) => {
                self.phase = RunPhase::Running;
                self.grace = Duration::from_millis(started.grace_ms.into());
                if let Some(traced_command) = &self.traced_command {
                    traced_command.started(started.pid);
                }
                let user = Some(started.user).filter(|user| !user.is_empty());
                Event::Started {
                    pid: started.pid,
                    user: user.map(|user| printable(&user).into_owned()),
                }
            }
            process_event::Kind::Output(output) => match output.stream() {
                OutputStream::Stdout => {
                    self.received.stdout += output.data.len() as u64;
                    Event::Stdout(output.data)
                }
                OutputStream::Stderr => {
                    self.received.stderr += output.data.len() as u64;
                    Event::Stderr(output.data)
                }
                OutputStream::Unspecified => return Err(RunError::Protocol("output of no stream")),
            },
            process_event::Kind::Exited(exited) => {
                if self.phase == RunPhase::Exited {
                    return Err(RunError::Protocol("exited twice"));
                }
                self.phase = RunPhase::Exited;
                let exit = ProcessExit::of(self.seen(), &exited)?;
                let status = exit.status;
                (self.exit, self.trace) = (Some(exit), exit.trace);
                if let Some(traced_command) = &self.traced_command {
                    traced_command.ended(exit.outcome());
                }
                Event::Exited {
                    status,
                    observed_unix_ns: exited.observed_unix_ns,
                }
            }
            process_event::Kind::Attached(_)
            | process_event::Kind::StdinTaken(_)
            | process_event::Kind::Gap(_)
            | process_event::Kind::Repeated(_) => {
                return Err(RunError::Protocol("an event without a number"));
            }
            process_event::Kind::Closed(closed) => {
                if self.phase != RunPhase::Exited && !self.has_gap {
                    return Err(RunError::Protocol("closed before it exited"));
                }
                let sent = (closed.stdout_bytes, closed.stderr_bytes);
                if !self.has_gap && sent != (self.received.stdout, self.received.stderr) {
                    return Err(RunError::Protocol("output is missing"));
                }
                self.phase = RunPhase::Closed;
                if let Some(target) = &mut self.target {
                    target.receipts.add(target.process);
                    // A writer of standard input learns that nobody reads it any more.
                    target.outbox = None;
                }
                self.output_bytes = Some(sent);
                let family = closed.family.as_ref().and_then(FamilySummary::from_wire);
                if let Some(traced_command) = &self.traced_command {
                    family
                        .into_iter()
                        .for_each(|family| traced_command.measured(family));
                    traced_command.survived_by(closed.survivors);
                }
                Event::Closed {
                    truncated: closed.truncated,
                    survivors: closed.survivors,
                }
            }
        })
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
