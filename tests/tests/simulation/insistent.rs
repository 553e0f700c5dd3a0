//! Callers without the client library that do not give their lease up: a caller whose lease another call has taken goes
//! on to send requests, until its call ends. Some of them would kill the process if the exec-server carried them out.

use std::time::Duration;

use baton_core_client::{ProcessId, Signal};
use baton_proto::exec::process_event::Kind as EventKind;
use baton_proto::exec::run_request::Kind;
use baton_proto::exec::{self, Attach, ProcessEvent, RunRequest, Start, Stdin, StdinClose, WindowSize};
use baton_proto::limits::ANSWER_MAX;
use baton_rpc::exec::exec_client::ExecClient;
use bytes::Bytes;
use rustix::process::Signal as SignalNumber;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::caller::{PAUSE, RunCaller, context, failed};
use crate::companion::NUMBERS;
use crate::history::{Attempt, CallKind, CallResult, Position, pattern};

/// Pause between two batches of requests.
const EVERY: Duration = Duration::from_millis(40);

/// Bytes of standard input in a batch.
const CHUNK: usize = 5_000;

/// Batches that are sent without the lease.
const LATE_BATCHES: u32 = 3;

/// Attempts to attach.
const ATTEMPTS: u32 = 2;

const GRACE: Duration = Duration::from_secs(60);

/// The signals by which the attempts of all callers of a process are told apart. A process handles them, and goes on.
const SIGNALS: [(Signal, SignalNumber); 5] = [
    (Signal::Usr1, SignalNumber::USR1),
    (Signal::Usr2, SignalNumber::USR2),
    (Signal::Alrm, SignalNumber::ALARM),
    (Signal::Hup, SignalNumber::HUP),
    (Signal::Urg, SignalNumber::URG),
];

/// The signal of an attempt, and its number.
pub(crate) fn signal_of(attempt: Attempt) -> (Signal, i32) {
    let index = match attempt.number {
        number if number < NUMBERS => 0,
        number => 1 + (number / NUMBERS - 1) * ATTEMPTS + number % NUMBERS,
    };
    let (signal, number) = SIGNALS[index as usize % SIGNALS.len()];
    (signal, number.as_raw())
}

impl RunCaller {
    /// Starts the process, once.
    pub(crate) async fn start_and_insist(&self) {
        let Ok(epoch) = self.channel.connect().await else {
            return;
        };
        let attempt = Attempt {
            run: self.run,
            number: 0,
        };
        let kind = CallKind::Run {
            stdin: Some(self.plan.caller.stdin()),
            recovers: false,
            drops_output: false,
            grace: GRACE,
        };
        let caller = self.begin(attempt, kind);
        let start = Start {
            process_id: self.process().0.to_vec().into(),
            epoch: epoch.0.to_vec().into(),
            argv: vec!["simulated".into(), self.run.0.to_string().into()],
            stdin: true,
            grace_ms: u32::try_from(GRACE.as_millis()).unwrap_or(u32::MAX),
            ..Start::default()
        };
        let call = self.insist(attempt, caller, Kind::Start(start), self.plan.reader_pause);
        self.end_within(attempt, None, call).await;
    }

    /// Attaches to the process, again after a lost session.
    pub(crate) async fn attach_and_insist(
        &self,
        first: Attempt,
        patience: Option<Duration>,
        pause: Duration,
    ) {
        for number in first.number..first.number + ATTEMPTS {
            let attempt = Attempt { number, ..first };
            let caller = self.begin(attempt, CallKind::Attach { recovers: false });
            let ProcessId(id) = self.process();
            let attach = Attach {
                process_id: id.to_vec().into(),
                ..Attach::default()
            };
            let call = self.insist(attempt, caller, Kind::Attach(attach), pause);
            if !self.end_within(attempt, patience, call).await.may_pass() {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Makes a call that begins with `first`, and sends requests until it ends.
    async fn insist(
        &self,
        attempt: Attempt,
        caller: Position,
        first: Kind,
        pause: Duration,
    ) -> Result<(), CallResult> {
        let is_start = matches!(first, Kind::Start(_));
        let (requests, queued) = mpsc::channel(8);
        // The queue has room.
        let _ = requests.try_send(RunRequest { kind: Some(first) });
        let mut request = tonic::Request::new(ReceiverStream::new(queued));
        request.extensions_mut().insert(context(caller));
        let mut client = ExecClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX);
        let called = match is_start {
            true => client.run(request).await,
            false => client.attach(request).await,
        };
        let events = called.map_err(|status| failed(status.into()))?.into_inner();
        let (begin, begins) = oneshot::channel();
        let attached = match is_start {
            true => {
                // Received below.
                let _ = begin.send(Some(0));
                None
            }
            false => Some(begin),
        };
        let requests = self.send_requests(attempt, requests, begins);
        alongside(self.read(attempt, events, attached, pause), requests).await
    }

    /// Reads the events. `attached` is told where standard input continues; `None`: it has ended.
    async fn read(
        &self,
        attempt: Attempt,
        mut events: Streaming<ProcessEvent>,
        mut attached: Option<oneshot::Sender<Option<u64>>>,
        pause: Duration,
    ) -> Result<(), CallResult> {
        let mut seen = 0;
        let mut is_closed = false;
        while let Some(event) = events.message().await.map_err(|status| failed(status.into()))? {
            if let (Some(EventKind::Attached(answer)), Some(attached)) = (&event.kind, attached.take()) {
                let offset = Some(answer.stdin_offset).filter(|_| !answer.stdin_closed);
                // Fails if the requests have ended.
                let _ = attached.send(offset);
            }
            is_closed |= matches!(event.kind, Some(EventKind::Closed(_)));
            self.receive_raw(attempt, &mut seen, event)
                .ok_or_else(|| CallResult::Violated("an event of an unknown kind".into()))?;
            sleep(pause).await;
        }
        match is_closed {
            true => Ok(()),
            false => Err(CallResult::Violated("the stream ended before Closed".into())),
        }
    }

    /// Sends standard input and the signal of the attempt. After another call has taken the lease, it sends requests
    /// that would kill the process.
    async fn send_requests(
        &self,
        attempt: Attempt,
        requests: mpsc::Sender<RunRequest>,
        begins: oneshot::Receiver<Option<u64>>,
    ) {
        let Ok(offset) = begins.await else { return };
        let total = self.plan.caller.stdin();
        let own = |signal: Signal, ends| {
            Kind::Signal(exec::Signal {
                name: signal.name().into(),
                ends,
            })
        };
        let mut next = offset.map(|offset| usize::try_from(offset).unwrap_or(usize::MAX));
        let mut late = 0;
        while late < LATE_BATCHES {
            sleep(EVERY).await;
            let mut batch = vec![own(signal_of(attempt).0, false)];
            if self.history.is_superseded(attempt) {
                late += 1;
                batch.push(Kind::Resize(WindowSize::default()));
                batch.push(own(Signal::Term, true));
            }
            match next {
                Some(from) if from < total => {
                    let to = total.min(from + CHUNK);
                    let data = Bytes::from(pattern(self.run, 0, from, to - from));
                    let offset = from as u64;
                    batch.push(Kind::Stdin(Stdin { offset, data }));
                    next = Some(to);
                }
                Some(from) => {
                    let offset = from as u64;
                    batch.push(Kind::StdinClose(StdinClose { offset }));
                    next = None;
                }
                None => {}
            }
            for kind in batch {
                if requests.send(RunRequest { kind: Some(kind) }).await.is_err() {
                    return;
                }
            }
        }
        // The requests stay open as long as the call.
        std::future::pending::<()>().await;
    }
}

/// Awaits the first future while the second one runs beside it.
async fn alongside<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> T {
    let mut first = std::pin::pin!(first);
    tokio::select! {
        biased;
        ended = &mut first => return ended,
        () = second => {}
    }
    first.await
}
