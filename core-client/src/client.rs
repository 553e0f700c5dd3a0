//! The client of one exec-server: one warm session, any number of commands.

use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use baton_channel::{Channel, ChannelConfig, Envelope, RecordTo};
use baton_proto::exec::{ProcessEvent, RunRequest, Start, WaitRequest, process_event, run_request};
use baton_proto::header::USER;
use baton_proto::limits::{ANSWER_MAX, WARM_STATE_MAX};
use baton_proto::warm::PingRequest;
use baton_proto::{Epoch, Features, ProcessId};
use baton_rpc::exec::exec_client::ExecClient;
use baton_rpc::warm::warm_client::WarmClient;
use baton_trace::command::{CallerIds, TracedCommand};
use baton_trace::record::CallRecord;
use baton_trace::w3c::ExtractedContext;
use bytes::Bytes;
use futures_util::future::Either;
use futures_util::stream::{self, Stream};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Streaming};

use crate::command::Command;
use crate::error::{RunError, StartFailure};
use crate::files::Files;
use crate::limits;
use crate::marker::MarkerSupport;
use crate::outbox::Outbox;
use crate::receipts::Receipts;
use crate::records::Records;
use crate::recovery::{Continued, Recovering, Target};
use crate::run::{Event, ExitStatus, ProcessExit, Run};
use crate::signal::Signaller;
use crate::stdin::Stdin;
use crate::watch::Watch;
use crate::workspace::{RootFinder, Workspace};
use baton_channel::key::StaticKey;
use baton_channel::ticket::Ticket;

mod detached;

/// A client of one exec-server. Cheap to clone; clones share the session. The session ends when the last clone and the
/// last [`Run`] are dropped, and commands that still run are killed.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    roots: RootFinder,
    receipts: Arc<Receipts>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

/// What [`Client::ping`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingedSession {
    /// The session of the call before.
    Kept,
    /// There was no session, or it had ended. A new one was established.
    Established,
}

/// The queue of requests that follow the start: its sender and its receiver.
type RequestQueue = (mpsc::Sender<RunRequest>, mpsc::Receiver<RunRequest>);

/// A command that has run to its end.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// A descendant held a pipe beyond the drain limit, so output may be missing.
    pub truncated: bool,
    /// Descendants that the exec-server could not kill with the command.
    pub survivors: u32,
    /// The call record, if [`Command::trace`] requested it.
    pub record: Option<CallRecord>,
}

impl Client {
    /// A client that connects at its first command.
    pub fn new(ticket: Ticket, key: StaticKey) -> Self {
        Self::with_config(ticket, key, ChannelConfig::default())
    }

    /// Like [`new`](Self::new), with a configuration.
    pub fn with_config(ticket: Ticket, key: StaticKey, config: ChannelConfig) -> Self {
        Self::over(Channel::with_config(ticket, key, config))
    }

    /// A client over an existing channel, which other services may share.
    pub fn over(channel: Channel) -> Self {
        let roots = RootFinder::over(Files::over(channel.clone()));
        Self {
            channel,
            roots,
            receipts: Arc::default(),
        }
    }

    /// Connects now instead of at the first command. Returns the exec-server's epoch.
    pub async fn connect(&self) -> Result<Epoch, RunError> {
        Ok(self.channel.connect().await?)
    }

    /// Makes one round trip through the session, which it establishes if there is none. A session that turns out to
    /// have ended is established again, once. Returns whether the session was still there.
    ///
    /// # Errors
    /// [`RunError`]: the exec-server was not reached, or does not allow this client.
    pub async fn ping(&self) -> Result<PingedSession, RunError> {
        let was_connected = self.channel.is_connected();
        let before = self.channel.connects();
        let mut pinged = self.ping_once().await;
        if was_connected && matches!(pinged, Err(RunError::Session(_))) {
            pinged = self.ping_once().await;
        }
        pinged?;
        Ok(match was_connected && self.channel.connects() == before {
            true => PingedSession::Kept,
            false => PingedSession::Established,
        })
    }

    async fn ping_once(&self) -> Result<(), RunError> {
        let mut client = WarmClient::new(self.channel.clone()).max_decoding_message_size(WARM_STATE_MAX);
        match client.ping(PingRequest {}).await {
            Ok(_) => Ok(()),
            // An exec-server without the service answered, which is a round trip too.
            Err(status) if status.code() == Code::Unimplemented => Ok(()),
            Err(status) => Err(status.into()),
        }
    }

    /// Whether there is a session that takes calls, as far as is known without a round trip.
    pub fn is_connected(&self) -> bool {
        self.channel.is_connected()
    }

    /// A client with the same ticket, key and options, and a session of its own.
    pub fn sibling(&self) -> Self {
        Self::over(self.channel.sibling())
    }

    /// The channel, for further services.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The records of the commands that ran under this client's key, its threads, and barriers. Uses the same session.
    pub fn records(&self) -> Records {
        Records::over(self.channel.clone())
    }

    /// Looks at files on the exec-server's machine. Uses the same session.
    pub fn files(&self) -> Files {
        self.roots.files().clone()
    }

    /// Finds project roots. A new workspace has kept no root. Uses the same session.
    pub fn workspace(&self) -> Workspace {
        Workspace::over(self.roots.clone())
    }

    /// Finds project roots, and keeps none.
    pub(crate) fn roots(&self) -> &RootFinder {
        &self.roots
    }

    /// Ends the session after everything queued was sent: the exec-server learns of a run that was just dropped before
    /// this returns. A later command starts a new session.
    pub async fn close(&self) {
        self.channel.close().await;
    }

    /// Runs a command without standard input to its end and collects its output. Dropping the future kills it.
    pub async fn run(&self, command: Command) -> Result<Output, RunError> {
        let max_output = command.max_output;
        let mut run = self.call(command, None).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut exit, mut closed) = (None, (false, 0));
        while let Some(event) = run.next().await? {
            match event {
                Event::Started { .. } => {}
                Event::Stdout(data) => stdout.extend_from_slice(&data),
                Event::Stderr(data) => stderr.extend_from_slice(&data),
                Event::Exited { status, .. } => exit = Some(status),
                Event::Gap { events } => return Err(RunError::OutputLost(events)),
                Event::Repeated { .. } => return Err(RunError::Repeated),
                Event::Closed { truncated, survivors } => closed = (truncated, survivors),
            }
            if stdout.len() + stderr.len() > max_output {
                return Err(RunError::TooMuchOutput(max_output));
            }
        }
        let status = exit.ok_or(RunError::Protocol("closed before it exited"))?;
        Ok(Output {
            status,
            stdout,
            stderr,
            truncated: closed.0,
            survivors: closed.1,
            record: run.record().await,
        })
    }

    /// Starts a command. Returns its events and its standard input.
    pub async fn start(&self, command: Command) -> Result<(Run, Stdin), RunError> {
        let (requests, queued) = mpsc::channel(limits::OUTBOX);
        let has_family = command.family.is_some();
        let has_terminal = command.has_terminal();
        let run = self.call(command, Some((requests.clone(), queued))).await?;
        let markers = match has_family {
            false => MarkerSupport::NoFamily,
            true if self.channel.features().has(Features::MARKERS) => MarkerSupport::Sent,
            true => MarkerSupport::NotSupported,
        };
        let stdin = Stdin::new(requests, markers, self.takes_signals());
        Ok((run.with_markers(markers).with_terminal(has_terminal), stdin))
    }

    /// Whether the exec-server of the current session takes signals.
    fn takes_signals(&self) -> bool {
        self.channel.features().has(Features::SIGNALS)
    }

    /// Attaches to a command that a client with this key started with a [`grace`](Command::grace), by the id of its
    /// process. Its events begin after `after_seq`, counted from 1 (0: from the first one that is kept). Another client
    /// that is attached to it gets an error, and the command goes on. Dropping the [`Run`] kills the command.
    ///
    /// # Errors
    /// [`RunError::Start`]: there is no such command, or it has no grace.
    pub async fn attach(&self, process: ProcessId, after_seq: u64) -> Result<(Run, Stdin), RunError> {
        let (requests, queued) = mpsc::channel(limits::OUTBOX);
        let target = Target {
            channel: self.channel.clone(),
            process,
            epoch: Arc::default(),
            outbox: Some(Outbox::new(queued)),
            on_recovery: None,
            receipts: Arc::clone(&self.receipts),
            envelope: Envelope::new(),
            parent: None,
            deadline: None,
        };
        let Continued {
            events,
            grace,
            has_terminal,
            stdin_taken,
        } = target.attach(after_seq, true).await?;
        let signaller = match self.takes_signals() {
            true => Signaller::of_run(self.channel.clone(), process, None, Some(&requests)),
            false => Signaller::default(),
        };
        let run = Run::new(events, Some(requests.clone()), None, None)
            .with_grace(grace)
            .with_process(Some(process))
            .with_stdin_taken(stdin_taken)
            .with_signaller(signaller)
            .with_terminal(has_terminal)
            .after(after_seq)
            .recoverable(target);
        let stdin = Stdin::new(requests, MarkerSupport::NoFamily, self.takes_signals());
        Ok((run, stdin))
    }

    /// Watches a command that a client with this key started with a [`grace`](Command::grace), beside the call that runs
    /// it, after the event `after_seq` (0: from the first one that is kept).
    ///
    /// # Errors
    /// [`RunError::Start`]: there is no such command, or it has no grace.
    pub async fn watch(&self, process: ProcessId, after_seq: u64) -> Result<Watch, RunError> {
        Watch::begin(self.channel.clone(), process, after_seq, 0).await
    }

    /// As [`watch`](Self::watch), without the events that were logged before a time, by the exec-server's clock, in
    /// nanoseconds since the Unix epoch. If there are any, the first event is an [`Event::Gap`]. An exec-server without
    /// feature 10 leaves nothing out.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub async fn watch_since(&self, process: ProcessId, unix_ns: u64) -> Result<Watch, RunError> {
        Watch::begin(self.channel.clone(), process, 0, unix_ns).await
    }

    /// Waits for the end of a command that this client's key started, by the id of its process: with or without a grace,
    /// while it runs and for some minutes after. It takes nothing from the command's own client, and its answer does not
    /// wait for output that nobody reads. If the session is lost it asks again. Dropping the future does not affect the
    /// command.
    ///
    /// # Errors
    /// [`RunError::Start`]: there is no such command. [`RunError::Rpc`] from an exec-server that does not wait.
    pub async fn wait(&self, process: ProcessId) -> Result<ExitStatus, RunError> {
        Ok(self.wait_for_exit(process).await?.status)
    }

    /// As [`wait`](Self::wait), with all that the exec-server tells of the exit.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_for_exit(&self, process: ProcessId) -> Result<ProcessExit, RunError> {
        let mut epoch = Bytes::new();
        loop {
            match self.wait_once(process, &mut epoch).await {
                Err(error) if error.is_lost_session() => {}
                ended => return ended,
            }
        }
    }

    async fn wait_once(&self, process: ProcessId, epoch: &mut Bytes) -> Result<ProcessExit, RunError> {
        if epoch.is_empty() {
            *epoch = self.connect().await?.0.to_vec().into();
        }
        let request = WaitRequest {
            process_id: process.0.to_vec().into(),
            epoch: epoch.clone(),
        };
        let mut client = ExecClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX);
        let mut events = client.wait(request).await?.into_inner();
        let event = events.message().await?;
        let seq = event.as_ref().map_or(0, |event| event.seq);
        match event.and_then(|event| event.kind) {
            Some(process_event::Kind::Exited(exited)) => ProcessExit::of(seq, &exited),
            _ => Err(RunError::Protocol("a Wait that was not answered by Exited")),
        }
    }

    /// The fingerprint of a command's method, arguments and directory. Only calls of a turn have one, because only
    /// they can repeat each other.
    fn fingerprint(&self, start: &Start) -> Option<String> {
        if start.turn == 0 {
            return None;
        }
        let before = [METHOD.as_bytes(), &start.cwd];
        let arguments = start.argv.iter().map(|argument| &argument[..]);
        let fingerprint = self.channel.fingerprint(before.into_iter().chain(arguments));
        Some(fingerprint.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Makes the call. Without `requests` the request stream ends after the start.
    async fn call(&self, mut command: Command, requests: Option<RequestQueue>) -> Result<Run, RunError> {
        self.check_features(&command).await?;
        let user = self.checked_user(command.user.as_deref()).await?;
        let (requests, queued) = requests.unzip();
        let (parent, timeout) = (command.parent.clone(), command.timeout);
        let (grace, has_id) = (command.grace, command.has_id());
        let on_recovery = command.on_recovery.take();
        let names = command.names();
        let Described {
            mut start,
            record_to,
            record,
            traced_command,
        } = self.describe(command, requests.is_some());
        start.received = self.receipts.take();
        let process = ProcessId::try_from(&start.process_id[..]);
        let began = tokio::time::Instant::now();
        let (queue, target) = match grace.is_zero() {
            true => (queued.map(Queue::Plain), None),
            false => {
                let outbox = queued.map(Outbox::new);
                let target = Target {
                    channel: self.channel.clone(),
                    process: process.map_err(|_| RunError::Protocol("a process id that is none"))?,
                    epoch: Arc::default(),
                    outbox: outbox.clone(),
                    on_recovery,
                    receipts: Arc::clone(&self.receipts),
                    envelope: Envelope::new(),
                    parent: parent.clone(),
                    // One too far away to count is none.
                    deadline: timeout.and_then(|timeout| began.checked_add(timeout)),
                };
                (outbox.map(Queue::Kept), Some(target))
            }
        };
        let again = target.as_ref().map(|_| start.clone());
        let epoch = target.as_ref().map(|target| &target.epoch);
        let extensions = CallExtensions {
            timeout,
            user: user.clone(),
            parent: parent.clone(),
            record_to,
            traced_command: traced_command.clone(),
            envelope: target.as_ref().map(|target| target.envelope.clone()),
        };
        let request = extensions.request(self.requests(start, queue, epoch));
        let sent = self.send(request).await;
        let events = match (sent, target.clone(), again) {
            (Ok(events), ..) => events,
            (Err(error), Some(target), Some(start)) if error.is_lost_session() && target.is_sent() => {
                let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
                // Boxed: few calls need it, and it is large.
                let lost = LostStart {
                    start,
                    user,
                    timeout: left,
                    grace,
                };
                let continued = self.clone().start_lost(lost, target, error).boxed();
                continued.await.map_err(|error| error.naming(names))?
            }
            (Err(error), ..) => return Err(error.naming(names)),
        };
        let features = self.channel.features();
        let granted = match features.has(Features::OUTLIVES_SESSION) {
            true => grace,
            false => Duration::ZERO,
        };
        let signaller = match process {
            Ok(process) if self.takes_signals() => {
                Signaller::of_run(self.channel.clone(), process, parent, requests.as_ref())
            }
            _ => Signaller::default(),
        };
        let run = Run::new(events, requests, record, traced_command)
            .with_grace(granted)
            .with_id(has_id)
            .with_process(process.ok())
            .with_signaller(signaller);
        Ok(match target {
            Some(target) if target.is_sent() => run.recoverable(target),
            Some(Target {
                outbox: Some(outbox), ..
            }) => {
                outbox.is_not_reported();
                run
            }
            Some(_) | None => run,
        })
    }

    /// The header of a command that has to run as this user.
    async fn checked_user(&self, user: Option<&str>) -> Result<Option<AsciiMetadataValue>, RunError> {
        let Some(user) = user else { return Ok(None) };
        let is_name = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_graphic());
        let value = user.parse().ok().filter(|_| is_name).ok_or(RunError::UserName)?;
        // An exec-server that does not know the header would run the command as any user.
        self.connect().await?;
        match self.channel.features().has(Features::USERS) {
            true => Ok(Some(value)),
            false => Err(RunError::NoUsers),
        }
    }

    /// Refuses a command whose exec-server would ignore what it does not know, and run something else.
    async fn check_features(&self, command: &Command) -> Result<(), RunError> {
        let needs = [
            (
                command.needs_terminals(),
                Features::TERMINALS,
                RunError::NoTerminals,
            ),
            (command.needs_detached(), Features::DETACHED, RunError::NoDetached),
        ];
        for (is_needed, feature, error) in needs {
            if is_needed {
                self.connect().await?;
                if !self.channel.features().has(feature) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The start of a command, and what its call is recorded as.
    fn describe(&self, mut command: Command, has_stdin: bool) -> Described {
        let (trace, record_to) = (command.trace, command.record_to.take());
        let label = command.label.take();
        let start = command.into_start(has_stdin);
        let is_recorded = trace || record_to.is_some() || self.channel.is_recording();
        let fingerprint = |start: &Start| self.fingerprint(start);
        let traced_command = is_recorded
            .then(|| traced_command(label, &start, fingerprint))
            .flatten();
        let (record_to, record) = match record_to {
            None if trace => {
                let (record_to, record) = RecordTo::channel();
                (Some(record_to), Some(record))
            }
            given => (given, None),
        };
        Described {
            start,
            record_to,
            record,
            traced_command,
        }
    }

    async fn send(
        &self,
        request: tonic::Request<impl Stream<Item = RunRequest> + Send + 'static>,
    ) -> Result<Streaming<ProcessEvent>, RunError> {
        let mut client = ExecClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX);
        Ok(client.run(request).await?.into_inner())
    }

    /// Continues a command whose session was lost before its first event. If its start did not arrive, it is repeated: a
    /// process of one id never runs twice.
    async fn start_lost(
        self,
        LostStart {
            start,
            user,
            timeout,
            grace,
        }: LostStart,
        target: Target,
        mut lost: RunError,
    ) -> Result<Streaming<ProcessEvent>, RunError> {
        for _ in 0..limits::START_ATTEMPTS {
            match Recovering::begin(target.clone(), 0, grace, lost).ended().await {
                Ok(continued) => return Ok(continued.events),
                Err(RunError::Start {
                    failure: StartFailure::UnknownProcess,
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
            let queue = target.outbox.clone().map(Queue::Kept);
            let extensions = CallExtensions {
                timeout,
                user: user.clone(),
                parent: target.parent.clone(),
                envelope: Some(target.envelope.clone()),
                ..CallExtensions::default()
            };
            let requests = self.requests(start.clone(), queue, Some(&target.epoch));
            lost = match self.send(extensions.request(requests)).await {
                Ok(events) => return Ok(events),
                Err(error) if error.is_lost_session() => error,
                Err(error) => return Err(error),
            };
        }
        Err(lost)
    }

    /// The start, and what follows it.
    fn requests(
        &self,
        mut start: Start,
        queue: Option<Queue>,
        epoch: Option<&Arc<OnceLock<Bytes>>>,
    ) -> impl Stream<Item = RunRequest> + Send + use<> {
        let channel = self.channel.clone();
        let epoch_of_start = epoch.cloned();
        // Built when the call is sent, because the epoch of the exec-server is known only then.
        let first = stream::once(async move {
            let epoch_of_session = || channel.epoch().map(|epoch| Bytes::from(epoch.0.to_vec()));
            start.epoch = match epoch_of_start.filter(|_| channel.features().has(Features::ATTACH)) {
                // A repeated start has the epoch of the first.
                Some(epoch) => epoch
                    .get_or_init(|| epoch_of_session().unwrap_or_default())
                    .clone(),
                None => epoch_of_session().unwrap_or_default(),
            };
            RunRequest {
                kind: Some(run_request::Kind::Start(start)),
            }
        });
        first.chain(match queue {
            None => Either::Left(Either::Left(stream::empty())),
            Some(Queue::Plain(queued)) => Either::Left(Either::Right(ReceiverStream::new(queued))),
            Some(Queue::Kept(outbox)) => Either::Right(outbox.requests(0)),
        })
    }
}

/// A start whose session was lost.
struct LostStart {
    start: Start,
    user: Option<AsciiMetadataValue>,
    timeout: Option<Duration>,
    grace: Duration,
}

/// A command that is ready to be sent.
struct Described {
    start: Start,
    record_to: Option<RecordTo>,
    record: Option<oneshot::Receiver<CallRecord>>,
    traced_command: Option<TracedCommand>,
}

/// What a call's request has beside its messages.
#[derive(Default)]
struct CallExtensions {
    timeout: Option<Duration>,
    user: Option<AsciiMetadataValue>,
    parent: Option<ExtractedContext>,
    record_to: Option<RecordTo>,
    traced_command: Option<TracedCommand>,
    envelope: Option<Envelope>,
}

impl CallExtensions {
    fn request<S>(self, requests: S) -> tonic::Request<Pin<Box<S>>> {
        let mut request = tonic::Request::new(Box::pin(requests));
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        if let Some(user) = self.user {
            request.metadata_mut().insert(USER, user);
        }
        let extensions = request.extensions_mut();
        insert(extensions, self.parent);
        insert(extensions, self.record_to);
        insert(extensions, self.traced_command);
        insert(extensions, self.envelope);
        request
    }
}

fn insert<T: Clone + Send + Sync + 'static>(extensions: &mut tonic::Extensions, value: Option<T>) {
    if let Some(value) = value {
        extensions.insert(value);
    }
}

/// Where the requests after a start come from.
enum Queue {
    Plain(mpsc::Receiver<RunRequest>),
    /// Of a command that may be attached to again.
    Kept(Arc<Outbox>),
}

/// The method that a fingerprint covers.
const METHOD: &str = "baton.exec.v1.Exec/Run";

/// The description of a command in spans, without arguments, directory and variables but for their keyed `fingerprint`.
/// `None` for a start that the exec-server will refuse.
fn traced_command(
    label: Option<String>,
    start: &Start,
    fingerprint: impl FnOnce(&Start) -> Option<String>,
) -> Option<TracedCommand> {
    let process = ProcessId::try_from(&start.process_id[..]).ok()?;
    let named = |id| Some(id).filter(|id: &&str| !id.is_empty());
    let ids = CallerIds {
        thread: named(&start.thread_id),
        turn: NonZeroU64::new(start.turn),
        step: named(&start.step),
    };
    let command = TracedCommand::new(label, start.argv.first()?, process, ids);
    Some(match fingerprint(start) {
        Some(fingerprint) => command.with_fingerprint(fingerprint),
        None => command,
    })
}
