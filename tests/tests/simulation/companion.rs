//! Further callers of a process, with the same key as the one that started it: they attach to it, watch it, poll it, or
//! wait for its exit.

use std::time::Duration;

use baton_core_client::{Client, Event as RunEvent, RunError};
use baton_proto::exec::PollRequest;
use baton_proto::exec::process_event::Kind;
use baton_proto::limits::ANSWER_MAX;
use baton_rpc::exec::exec_client::ExecClient;
use tokio::time::{Instant, sleep, timeout_at};

use crate::caller::{PAUSE, RunCaller, context, failed};
use crate::history::{Attempt, CallKind, CallResult, Event, Position, ReceivedEvent};
use crate::plan::{Companion, Role};

/// The numbers of attempts of each further caller.
pub(crate) const NUMBERS: u32 = 100;

/// The number of the first attempt to attach to a detached process when all faults have ended.
pub(crate) const COLLECTING: u32 = 10_000;

/// Least pause between two polls.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Polls that fail before the caller gives up.
const POLL_FAILURES: u32 = 3;

/// The number of the first attempt of a further caller.
pub(crate) fn first_number(companion: u32) -> u32 {
    NUMBERS * (companion + 1)
}

/// The further caller that makes this attempt, by its number among those of its run.
pub(crate) fn index_of(attempt: Attempt) -> Option<usize> {
    let number = attempt.number / NUMBERS;
    usize::try_from(number).ok()?.checked_sub(1)
}

impl RunCaller {
    /// Makes the calls of a further caller, beginning with this attempt.
    pub(crate) async fn accompany(&self, attempt: Attempt, companion: &Companion) {
        let pause = companion.reader_pause;
        match companion.role {
            Role::Attach { patience } => {
                self.begin_trace(attempt, CallKind::Attach { recovers: true });
                self.end_within(attempt, patience, self.attach(attempt, pause))
                    .await;
            }
            Role::Insist { patience } => self.attach_and_insist(attempt, patience, pause).await,
            Role::Watch => {
                self.begin_trace(attempt, CallKind::Watch);
                let watched = self.watch(attempt, pause).await.map_err(failed);
                self.end(attempt, watched.err().unwrap_or(CallResult::Complete));
            }
            Role::Poll { wait } => {
                let caller = self.begin(attempt, CallKind::Poll);
                let polled = self.poll(attempt, caller, wait, pause).await;
                self.end(attempt, polled.err().unwrap_or(CallResult::Complete));
            }
            Role::Wait => {
                self.begin_trace(attempt, CallKind::Wait);
                let waited = self.wait(attempt).await.map_err(failed);
                self.end(attempt, waited.err().unwrap_or(CallResult::Complete));
            }
        }
    }

    /// Starts a process that no call is attached to.
    pub(crate) async fn start_detached(&self) {
        let attempt = Attempt {
            run: self.run,
            number: 0,
        };
        let caller = self.begin(attempt, CallKind::Detached);
        let command = self.command(caller).id(self.process());
        let client = Client::over(self.channel.clone());
        let started = client.start_detached(command).await.map_err(failed);
        self.end(attempt, started.err().unwrap_or(CallResult::Complete));
    }

    /// Attaches to a detached process until it has received its end, or the exec-server does not know it.
    pub(crate) async fn collect_detached(&self, limit: Duration) {
        let until = Instant::now() + limit;
        for number in COLLECTING.. {
            let attempt = Attempt {
                run: self.run,
                number,
            };
            self.begin_trace(attempt, CallKind::Attach { recovers: true });
            let call = self.attach(attempt, Duration::ZERO);
            let end = match timeout_at(until, call).await {
                Ok(ended) => ended.err().unwrap_or(CallResult::Complete),
                Err(_) => CallResult::GivenUp,
            };
            let is_over = !end.may_pass() && end != CallResult::Superseded;
            self.end(attempt, end);
            if is_over || Instant::now() >= until {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Begins a call that the client library makes in a new trace.
    fn begin_trace(&self, attempt: Attempt, kind: CallKind) {
        let caller = None;
        self.history.add(Event::Called {
            attempt,
            caller,
            kind,
        });
    }

    /// Attaches to the process, and continues its standard input where the process has taken it.
    async fn attach(&self, attempt: Attempt, reader_pause: Duration) -> Result<(), CallResult> {
        let client = Client::over(self.channel.clone());
        let (run, input) = client.attach(self.process(), 0).await.map_err(failed)?;
        self.add(attempt, 0, ReceivedEvent::Attached);
        let run = run.on_recovery(self.on_recovery(attempt));
        let total = self.plan.caller.stdin();
        let taken = usize::try_from(run.stdin_taken()).unwrap_or(usize::MAX);
        let input = (input, taken.min(total)..total, Duration::ZERO);
        self.follow(attempt, run, input, reader_pause).await
    }

    async fn watch(&self, attempt: Attempt, pause: Duration) -> Result<(), RunError> {
        let client = Client::over(self.channel.clone());
        let mut watch = client.watch(self.process(), 0).await?;
        while let Some(event) = watch.next().await? {
            self.receive(attempt, watch.last_seq(), &event);
            if let RunEvent::Exited { .. } = event {
                self.told(attempt, watch.trace());
            }
            sleep(pause).await;
        }
        Ok(())
    }

    async fn wait(&self, attempt: Attempt) -> Result<(), RunError> {
        let client = Client::over(self.channel.clone());
        let exit = client.wait_for_exit(self.process()).await?;
        self.add(attempt, exit.seq, ReceivedEvent::Exited(exit.status));
        self.told(attempt, exit.trace);
        Ok(())
    }

    /// Asks for the events after those that it has, until it has the last one.
    async fn poll(
        &self,
        attempt: Attempt,
        caller: Position,
        wait: Duration,
        pause: Duration,
    ) -> Result<(), CallResult> {
        let mut client = ExecClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX);
        let (mut seen, mut failures) = (0, 0);
        loop {
            let mut request = tonic::Request::new(PollRequest {
                process_id: self.process().0.to_vec().into(),
                after_seq: seen,
                wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
                ..PollRequest::default()
            });
            request.extensions_mut().insert(context(caller));
            match client.poll(request).await {
                Ok(answer) => {
                    for event in answer.into_inner().events {
                        let is_last = matches!(event.kind, Some(Kind::Closed(_)));
                        self.receive_raw(attempt, &mut seen, event)
                            .ok_or_else(|| CallResult::Violated("an event of an unknown kind".into()))?;
                        if is_last {
                            return Ok(());
                        }
                    }
                }
                Err(status) => {
                    let end = failed(status.into());
                    failures += 1;
                    if !end.may_pass() || failures > POLL_FAILURES {
                        return Err(end);
                    }
                    sleep(PAUSE).await;
                }
            }
            sleep(pause.max(POLL_PAUSE)).await;
        }
    }
}
