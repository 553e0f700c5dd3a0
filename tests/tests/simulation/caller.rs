//! The program on a client's machine. It makes the calls of the plan, records the events that it receives, and, when
//! all faults have ended, attaches to the detached processes that it has started, and retries until a command runs.
//! After a crash it continues with the calls that it had not begun.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_channel::ticket::Ticket;
use baton_channel::{Channel, ChannelConfig};
use baton_core_client::{
    Client, Command, Event as RunEvent, ExitStatus, OnFull, OnRecovery, Recovery, Run, RunError, Seed,
    StartFailure, Stdin, Traceparent,
};
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{OutputStream, ProcessEvent, RunRequest, Start, exited, run_request};
use baton_proto::{Epoch, ProcessId};
use baton_rpc::exec::exec_client::ExecClient;
use baton_trace::recorder::Recorder;
use baton_trace::w3c::TraceContext;
use baton_trace::{SpanId, TraceFlags, TraceId};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Streaming;

use crate::companion;
use crate::history::{
    Attempt, CallKind, CallResult, Event, History, Output, Position, ReceivedEvent, RunId, pattern,
};
use crate::network;
use crate::plan::{Caller, Plan, RunPlan};

/// Time after the last fault to detect broken connections (the longest watchdog waits 35 s) and to make new ones.
const RECOVERY: Duration = Duration::from_secs(60);

/// Pause between two attempts.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// A client's machine, across restarts.
pub(crate) struct ClientMachine {
    pub(crate) client: usize,
    pub(crate) plan: Arc<Plan>,
    pub(crate) history: History,
    pub(crate) ticket: Ticket,
    pub(crate) seed: Rc<Seed>,
    /// The first attempts that were made before a crash. They are not made again.
    begun: Arc<Mutex<HashSet<Attempt>>>,
}

impl ClientMachine {
    pub(crate) fn new(
        client: usize,
        plan: Arc<Plan>,
        history: History,
        ticket: Ticket,
        seed: Rc<Seed>,
    ) -> Self {
        Self {
            client,
            plan,
            history,
            ticket,
            seed,
            begun: Arc::default(),
        }
    }

    /// Runs the client program once, from its start to its crash.
    pub(crate) async fn run(self: Rc<Self>) -> turmoil::Result {
        let config = ChannelConfig {
            recorder: Recorder::to(Arc::new(self.history.clone())),
            network: Some(network::network()),
            ..ChannelConfig::default()
        };
        let channel = Channel::with_config(self.ticket.clone(), self.seed.client_key()?, config);
        let mut calls = JoinSet::new();
        let of = |run, plan: &RunPlan| RunCaller {
            run,
            plan: plan.clone(),
            seed: self.plan.seed,
            history: self.history.clone(),
            channel: channel.clone(),
        };
        for (run, plan) in self.plan.runs_of(self.client) {
            let caller = of(run, plan);
            let begins = self.begins(Attempt { run, number: 0 }, plan.at);
            calls.spawn(async move {
                if begins.await {
                    caller.call().await;
                }
            });
            if plan.caller == Caller::Detached {
                let caller = of(run, plan);
                let attempt = Attempt {
                    run,
                    number: companion::COLLECTING,
                };
                let begins = self.begins(attempt, self.plan.faults_end);
                // Beside the other calls: they may wait for a process that is blocked until this one reads.
                calls.spawn(async move {
                    if begins.await {
                        caller.collect_detached(RECOVERY).await;
                    }
                });
            }
        }
        for (run, plan, index, companion) in self.plan.companions_of(self.client) {
            let caller = of(run, plan);
            let companion = companion.clone();
            let attempt = Attempt {
                run,
                number: companion::first_number(index),
            };
            let begins = self.begins(attempt, plan.at + companion.after);
            calls.spawn(async move {
                if begins.await {
                    caller.accompany(attempt, &companion).await;
                }
            });
        }
        while let Some(call) = calls.join_next().await {
            call?;
        }
        let now = turmoil::sim_elapsed().unwrap_or_default();
        sleep(self.plan.faults_end.saturating_sub(now)).await;
        let ran = timeout(RECOVERY, self.recover(&channel)).await.is_ok();
        self.history.add(Event::Recovered {
            client: self.client,
            ran,
        });
        channel.close().await;
        // The machine stays up after the program has ended.
        std::future::pending().await
    }

    /// Waits until the time of a call, in virtual time since the start of the simulation. Returns false if it was made
    /// before.
    fn begins(&self, attempt: Attempt, at: Duration) -> impl Future<Output = bool> + Send + use<> {
        let wait = at.saturating_sub(turmoil::sim_elapsed().unwrap_or_default());
        let begun = Arc::clone(&self.begun);
        async move {
            sleep(wait).await;
            begun
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(attempt)
        }
    }

    async fn recover(&self, channel: &Channel) {
        let client = Client::over(channel.clone());
        // A range of run ids for each client, above those of the plan.
        let first = 1_000_000 * (self.client as u32 + 1);
        for run in first.. {
            let attempt = Attempt {
                run: RunId(run),
                number: 0,
            };
            let caller = position(self.plan.seed, attempt);
            self.history.add(Event::Called {
                attempt,
                caller: Some(caller),
                kind: CallKind::Run {
                    stdin: None,
                    recovers: true,
                    drops_output: false,
                    // The default.
                    grace: Duration::from_secs(60),
                },
            });
            let command = Command::new("simulated")
                .arg(run.to_string())
                .parent(context(caller));
            let end = match client.run(command).await {
                Ok(output) => {
                    self.receive(attempt, ReceivedEvent::Started);
                    self.receive(
                        attempt,
                        ReceivedEvent::Output(Output::Stdout, output.stdout.into()),
                    );
                    self.receive(attempt, ReceivedEvent::Exited(output.status));
                    self.receive(
                        attempt,
                        ReceivedEvent::Closed {
                            truncated: output.truncated,
                        },
                    );
                    CallResult::Complete
                }
                Err(error) => failed(error),
            };
            let ran = end == CallResult::Complete;
            self.history.add(Event::Ended { attempt, end });
            if ran {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    fn receive(&self, attempt: Attempt, received: ReceivedEvent) {
        let seq = 0;
        self.history.add(Event::Received {
            attempt,
            seq,
            received,
        });
    }
}

/// The caller of one run.
pub(crate) struct RunCaller {
    pub(crate) run: RunId,
    pub(crate) plan: RunPlan,
    pub(crate) seed: u64,
    pub(crate) history: History,
    pub(crate) channel: Channel,
}

impl RunCaller {
    async fn call(&self) {
        match self.plan.caller {
            Caller::Library { .. } => drop(self.call_library(0).await),
            Caller::Repeating { attempts } => self.repeat(attempts).await,
            Caller::Detached => self.start_detached().await,
            Caller::Insistent { .. } => self.start_and_insist().await,
        }
    }

    /// Makes a call of this number through the client library, if the plan says so.
    pub(crate) async fn call_library(&self, number: u32) -> Option<CallResult> {
        let Caller::Library {
            stdin,
            patience,
            drain,
            grace,
        } = self.plan.caller
        else {
            return None;
        };
        let attempt = Attempt {
            run: self.run,
            number,
        };
        let kind = CallKind::Run {
            stdin: stdin.map(|(bytes, _)| bytes),
            recovers: !grace.is_zero(),
            drops_output: self.plan.drops_output,
            grace,
        };
        let command = self
            .command(self.begin(attempt, kind))
            .drain(drain)
            .grace(grace)
            .on_recovery(self.on_recovery(attempt));
        let call = self.through_library(attempt, command, stdin);
        Some(self.end_within(attempt, patience, call).await)
    }

    /// The command of the run.
    pub(crate) fn command(&self, caller: Position) -> Command {
        let command = Command::new("simulated")
            .arg(self.run.0.to_string())
            .parent(context(caller))
            .on_full(match self.plan.drops_output {
                true => OnFull::Drop,
                false => OnFull::Block,
            });
        match self.plan.companions.is_empty() {
            true => command,
            false => command.id(self.process()),
        }
    }

    /// The id of its process, unless the client library has chosen one.
    pub(crate) fn process(&self) -> ProcessId {
        process_id(self.seed, self.run)
    }

    /// Awaits a call, and drops it when the caller's patience ends.
    pub(crate) async fn end_within(
        &self,
        attempt: Attempt,
        patience: Option<Duration>,
        call: impl Future<Output = Result<(), CallResult>>,
    ) -> CallResult {
        let ended = match patience {
            Some(patience) => timeout(patience, call).await.map_err(|_| CallResult::GivenUp),
            None => Ok(call.await),
        };
        let end = ended.unwrap_or_else(Err).err().unwrap_or(CallResult::Complete);
        self.end(attempt, end.clone());
        end
    }

    /// Records the loss of a session when the client library notices it.
    pub(crate) fn on_recovery(&self, attempt: Attempt) -> OnRecovery {
        let history = self.history.clone();
        Arc::new(move |recovery: &Recovery<'_>| {
            if let Recovery::Lost { .. } = recovery {
                history.add(Event::SessionLost { attempt });
            }
        })
    }

    async fn through_library(
        &self,
        attempt: Attempt,
        command: Command,
        stdin: Option<(usize, Duration)>,
    ) -> Result<(), CallResult> {
        let client = Client::over(self.channel.clone());
        let Some((bytes, pause)) = stdin else {
            return self.collect(attempt, &client, command).await.map_err(failed);
        };
        let (run, input) = client.start(command).await.map_err(failed)?;
        let input = (input, 0..bytes, pause);
        self.follow(attempt, run, input, self.plan.reader_pause).await
    }

    /// Reads the events of a run, and sends these bytes of standard input.
    pub(crate) async fn follow(
        &self,
        attempt: Attempt,
        mut run: Run,
        (mut input, bytes, input_pause): (Stdin, Range<usize>, Duration),
        reader_pause: Duration,
    ) -> Result<(), CallResult> {
        let data = Bytes::from(pattern(self.run, 0, bytes.start, bytes.len()));
        // Concurrent with the events, as the two pipes of a program are.
        let feed = async move {
            for from in (0..data.len()).step_by(10_000) {
                sleep(input_pause).await;
                if input
                    .write(data.slice(from..data.len().min(from + 10_000)))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            let _ = input.close().await;
        };
        let follow = async {
            while let Some(event) = run.next().await.map_err(failed)? {
                self.receive(attempt, run.last_seq(), &event);
                if let RunEvent::Exited { .. } = event {
                    self.told(attempt, run.trace());
                }
                sleep(reader_pause).await;
            }
            Ok(())
        };
        let mut feed = std::pin::pin!(feed);
        let mut follow = std::pin::pin!(follow);
        tokio::select! {
            biased;
            followed = &mut follow => return followed,
            () = &mut feed => {}
        }
        follow.await
    }

    /// Runs a command without standard input: collects its output as most callers do, or, when the reader is slow,
    /// event by event.
    async fn collect(&self, attempt: Attempt, client: &Client, command: Command) -> Result<(), RunError> {
        if !self.plan.reader_pause.is_zero() {
            let (mut run, input) = client.start(command).await?;
            drop(input);
            while let Some(event) = run.next().await? {
                self.receive(attempt, run.last_seq(), &event);
                sleep(self.plan.reader_pause).await;
            }
            return Ok(());
        }
        let output = client.run(command).await;
        if let Err(RunError::OutputLost(events)) = output {
            self.add(attempt, 0, ReceivedEvent::Gap(events));
        }
        let output = output?;
        let received = [
            ReceivedEvent::Started,
            ReceivedEvent::Output(Output::Stdout, output.stdout.into()),
            ReceivedEvent::Output(Output::Stderr, output.stderr.into()),
            ReceivedEvent::Exited(output.status),
            ReceivedEvent::Closed {
                truncated: output.truncated,
            },
        ];
        for received in received {
            self.add(attempt, 0, received);
        }
        Ok(())
    }

    /// Sends the same `Start`, with the epoch of the first connection, until it succeeds or `attempts` attempts have
    /// failed.
    async fn repeat(&self, attempts: u32) {
        let process = self.process();
        let mut epoch = None;
        for number in 0..attempts {
            if epoch.is_none() {
                // No call was made yet, so a failure is not recorded as one.
                epoch = self.channel.connect().await.ok();
            }
            let Some(epoch) = epoch else {
                sleep(PAUSE).await;
                continue;
            };
            let attempt = Attempt {
                run: self.run,
                number,
            };
            let kind = CallKind::Run {
                stdin: None,
                recovers: false,
                drops_output: false,
                grace: Duration::ZERO,
            };
            let caller = self.begin(attempt, kind);
            let end = match self.start_once(attempt, caller, process, epoch).await {
                Ok(()) => CallResult::Complete,
                Err(status) => failed(status.into()),
            };
            let is_over = end == CallResult::Complete;
            self.end(attempt, end);
            if is_over {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn start_once(
        &self,
        attempt: Attempt,
        caller: Position,
        process: ProcessId,
        epoch: Epoch,
    ) -> Result<(), tonic::Status> {
        let start = Start {
            process_id: process.0.to_vec().into(),
            epoch: epoch.0.to_vec().into(),
            argv: vec!["simulated".into(), self.run.0.to_string().into()],
            tell_repeated: true,
            ..Start::default()
        };
        let mut request = tonic::Request::new(tokio_stream::once(RunRequest {
            kind: Some(run_request::Kind::Start(start)),
        }));
        request.extensions_mut().insert(context(caller));
        let mut client = ExecClient::new(self.channel.clone());
        let mut events: Streaming<ProcessEvent> = client.run(request).await?.into_inner();
        let mut seen = 0;
        while let Some(event) = events.message().await? {
            self.receive_raw(attempt, &mut seen, event)
                .ok_or_else(|| tonic::Status::internal("an event of an unknown kind"))?;
            sleep(self.plan.reader_pause).await;
        }
        Ok(())
    }

    /// Begins a call in a trace of the caller.
    pub(crate) fn begin(&self, attempt: Attempt, kind: CallKind) -> Position {
        let caller = position(self.seed, attempt);
        self.history.add(Event::Called {
            attempt,
            caller: Some(caller),
            kind,
        });
        caller
    }

    pub(crate) fn end(&self, attempt: Attempt, end: CallResult) {
        self.history.add(Event::Ended { attempt, end });
    }

    pub(crate) fn add(&self, attempt: Attempt, seq: u64, received: ReceivedEvent) {
        self.history.add(Event::Received {
            attempt,
            seq,
            received,
        });
    }

    pub(crate) fn told(&self, attempt: Attempt, trace: Option<Traceparent>) {
        let trace = trace.map(|trace| trace.trace_id());
        self.history.add(Event::Told { attempt, trace });
    }

    /// Adds an event of a call without the client library. `seen` is the last number that it has. `None`: the event is
    /// none.
    pub(crate) fn receive_raw(&self, attempt: Attempt, seen: &mut u64, event: ProcessEvent) -> Option<()> {
        let mut seq = event.seq;
        let received = match event.kind? {
            Kind::Started(_) => ReceivedEvent::Started,
            Kind::Output(output) => match output.stream() {
                OutputStream::Stdout => ReceivedEvent::Output(Output::Stdout, output.data),
                OutputStream::Stderr => ReceivedEvent::Output(Output::Stderr, output.data),
                OutputStream::Unspecified => return None,
            },
            Kind::Exited(exited) => {
                let trace = exited
                    .trace
                    .and_then(|trace| Traceparent::decode_binary(&trace.traceparent));
                self.told(attempt, trace);
                ReceivedEvent::Exited(match exited.status? {
                    exited::Status::Code(code) => ExitStatus::Code(code),
                    exited::Status::Signaled(by) => ExitStatus::Signal {
                        signal: by.signal,
                        core_dumped: by.core_dumped,
                    },
                })
            }
            Kind::Closed(closed) => ReceivedEvent::Closed {
                truncated: closed.truncated,
            },
            Kind::Gap(gap) => {
                seq = gap.first_seq.checked_sub(1)?;
                ReceivedEvent::Gap(seq.checked_sub(*seen)?)
            }
            Kind::Repeated(_) => ReceivedEvent::Repeated,
            Kind::Attached(_) => ReceivedEvent::Attached,
            Kind::StdinTaken(_) => return Some(()),
        };
        *seen = seq.max(*seen);
        self.add(attempt, seq, received);
        Some(())
    }

    pub(crate) fn receive(&self, attempt: Attempt, seq: u64, event: &RunEvent) {
        let received = match event {
            RunEvent::Repeated { .. } => ReceivedEvent::Repeated,
            RunEvent::Started { .. } => ReceivedEvent::Started,
            RunEvent::Stdout(data) => ReceivedEvent::Output(Output::Stdout, data.clone()),
            RunEvent::Stderr(data) => ReceivedEvent::Output(Output::Stderr, data.clone()),
            RunEvent::Exited { status, .. } => ReceivedEvent::Exited(*status),
            RunEvent::Gap { events } => ReceivedEvent::Gap(*events),
            RunEvent::Closed { truncated, .. } => ReceivedEvent::Closed {
                truncated: *truncated,
            },
        };
        self.add(attempt, seq, received);
    }
}

/// The result of a call that ended with an error.
pub(crate) fn failed(error: RunError) -> CallResult {
    match error {
        RunError::Start {
            failure: StartFailure::Superseded,
            ..
        } => CallResult::Superseded,
        RunError::Start {
            failure: StartFailure::UnknownProcess | StartFailure::NoGrace | StartFailure::Lost,
            ..
        } => CallResult::Unknown,
        RunError::Protocol(_) => CallResult::Violated(error.to_string()),
        RunError::Connect(_) => CallResult::Unreached(error.to_string()),
        error => CallResult::Failed(error.to_string()),
    }
}

/// The caller's span in a trace of its own, identical in every replay.
fn position(seed: u64, attempt: Attempt) -> Position {
    let mut rng = of_call(seed, attempt);
    Position {
        trace: TraceId::from(rng.random::<u128>() | 1),
        span: SpanId::from(rng.random::<u64>() | 1),
    }
}

pub(crate) fn context(position: Position) -> TraceContext {
    TraceContext {
        trace_id: position.trace,
        span_id: position.span,
        flags: TraceFlags::SAMPLED,
        ..TraceContext::new_root(true)
    }
}

fn process_id(seed: u64, run: RunId) -> ProcessId {
    let mut id = [0; 16];
    of_call(
        seed,
        Attempt {
            run,
            number: u32::MAX,
        },
    )
    .fill_bytes(&mut id);
    ProcessId(id)
}

fn of_call(seed: u64, attempt: Attempt) -> StdRng {
    StdRng::seed_from_u64(seed ^ (u64::from(attempt.run.0) << 32) ^ u64::from(attempt.number) << 8 ^ 0x5eed)
}
