//! Continues a command whose session was lost: attaches to its process in another call.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use baton_channel::{Channel, Envelope};
use baton_proto::ProcessId;
use baton_proto::exec::process_event::Kind as EventKind;
use baton_proto::exec::run_request::Kind;
use baton_proto::exec::{Attach, Attached, ProcessEvent, RunRequest};
use baton_proto::limits::ANSWER_MAX;
use baton_rpc::exec::exec_client::ExecClient;
use baton_trace::w3c::ExtractedContext;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Streaming;

use crate::error::RunError;
use crate::limits::{RECOVERY_MARGIN_MAX, RECOVERY_WAIT_FIRST, RECOVERY_WAIT_MAX};
use crate::outbox::Outbox;
use crate::receipts::Receipts;

/// What happens to a command whose session is lost, for a person who watches it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Recovery<'a> {
    /// The session was lost. The command runs on, and the client tries to attach to it again.
    Lost {
        /// Why.
        error: &'a RunError,
        /// For how long the client tries.
        tries_for: Duration,
    },
    /// The client is attached to the command again. Nothing was lost.
    Attached {
        /// The time since the loss.
        after: Duration,
    },
}

/// Called with each [`Recovery`]. Must not block.
pub type OnRecovery = Arc<dyn Fn(&Recovery<'_>) + Send + Sync>;

/// A running command, for calls that attach to it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) channel: Channel,
    pub(crate) process: ProcessId,
    /// Set when the call that starts it is sent. Empty: that of any session.
    pub(crate) epoch: Arc<OnceLock<Bytes>>,
    /// `None` without requests after the start.
    pub(crate) outbox: Option<Arc<Outbox>>,
    pub(crate) on_recovery: Option<OnRecovery>,
    pub(crate) receipts: Arc<Receipts>,
    /// Around all calls of the command.
    pub(crate) envelope: Envelope,
    /// The caller's context, for calls that are not recorded here.
    pub(crate) parent: Option<ExtractedContext>,
    /// The end of the command's timeout.
    pub(crate) deadline: Option<Instant>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

/// The events of a process after those that the client has.
pub(crate) struct Continued {
    pub(crate) events: Streaming<ProcessEvent>,
    /// How long the process outlives a further loss.
    pub(crate) grace: Duration,
    pub(crate) has_terminal: bool,
    /// The bytes of standard input that the process has taken.
    pub(crate) stdin_taken: u64,
}

/// An attempt to attach again, which ends when it is dropped. With the mutex, a [`Run`](crate::Run) can be shared.
pub(crate) struct Recovering(Mutex<BoxFuture<'static, Result<Continued, RunError>>>);

impl Recovering {
    /// Tries to attach for as long as the process runs on, less a margin. `seen` is the last event that the client has.
    pub(crate) fn begin(target: Target, seen: u64, grace: Duration, lost: RunError) -> Self {
        Self(Mutex::new(recover(target, seen, grace, lost).boxed()))
    }

    /// Cancellation safe.
    pub(crate) async fn ended(&mut self) -> Result<Continued, RunError> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).await
    }
}

impl std::fmt::Debug for Recovering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recovering")
    }
}

async fn recover(target: Target, seen: u64, grace: Duration, lost: RunError) -> Result<Continued, RunError> {
    let since = Instant::now();
    let tries_for = grace - (grace / 10).min(RECOVERY_MARGIN_MAX);
    let until = target
        .deadline
        .map_or(since + tries_for, |at| at.min(since + tries_for));
    if let Some(notify) = &target.on_recovery {
        let error = &lost;
        notify(&Recovery::Lost { error, tries_for });
    }
    let mut wait = RECOVERY_WAIT_FIRST;
    let mut why = lost;
    loop {
        // Establishing a session may be given up. A call that attaches may not: its reset would kill the process.
        match timeout_at(until, target.channel.connect()).await {
            Ok(Ok(_)) => match target.attach(seen, false).await {
                Ok(continued) => {
                    if let Some(notify) = &target.on_recovery {
                        let after = since.elapsed();
                        notify(&Recovery::Attached { after });
                    }
                    return Ok(continued);
                }
                Err(error) if !error.is_lost_session() && !error.may_pass() => return Err(error),
                Err(error) => why = error,
            },
            Ok(Err(status)) => {
                let error = RunError::from(status);
                if !error.may_pass() {
                    return Err(error);
                }
                why = error;
            }
            Err(_) => {}
        }
        if target.deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(RunError::TimedOut);
        }
        if Instant::now() + wait >= until {
            return Err(RunError::NotRecovered {
                why: Box::new(why),
                process: target.process,
                left: (since + grace).saturating_duration_since(Instant::now()),
            });
        }
        // No jitter here: the attempts to connect have it.
        sleep(wait).await;
        wait = (wait * 2).min(RECOVERY_WAIT_MAX);
    }
}

impl Target {
    /// Whether its start was sent, over a session with an exec-server that attaches.
    pub(crate) fn is_sent(&self) -> bool {
        self.epoch.get().is_some()
    }

    /// Attaches to the process. `is_first`: this client has sent it nothing before.
    pub(crate) async fn attach(&self, seen: u64, is_first: bool) -> Result<Continued, RunError> {
        let attach = RunRequest {
            kind: Some(Kind::Attach(Attach {
                process_id: self.process.0.to_vec().into(),
                epoch: self.epoch.get().cloned().unwrap_or_default(),
                after_seq: seen,
                tell_stdin: self.outbox.is_some(),
                watch: false,
                since_unix_ns: 0,
            })),
        };
        let (attached, is_attached) = oneshot::channel::<Attached>();
        let outbox = self.outbox.clone();
        let more = stream::once(is_attached).filter_map(move |attached| {
            let requests = attached.ok().zip(outbox.clone());
            std::future::ready(requests.map(|(attached, outbox)| {
                outbox.attached(&attached, is_first);
                outbox.requests(attached.stdin_offset)
            }))
        });
        let requests = stream::iter([attach]).chain(more.flatten());
        let mut request = tonic::Request::new(Box::pin(requests));
        if let Some(deadline) = self.deadline {
            // A timeout of zero would mean none.
            let left = deadline.saturating_duration_since(Instant::now());
            request.set_timeout(left.max(Duration::from_millis(1)));
        }
        request.extensions_mut().insert(self.envelope.clone());
        if let Some(parent) = &self.parent {
            request.extensions_mut().insert(parent.clone());
        }
        let mut events = ExecClient::new(self.channel.clone())
            .max_decoding_message_size(ANSWER_MAX)
            .attach(request)
            .await?
            .into_inner();
        match events.message().await?.and_then(|event| event.kind) {
            Some(EventKind::Attached(answer)) => {
                // Fails without further requests, or if the call has ended.
                let _ = attached.send(answer);
                Ok(Continued {
                    events,
                    grace: Duration::from_millis(answer.grace_ms.into()),
                    has_terminal: answer.terminal,
                    stdin_taken: answer.stdin_offset,
                })
            }
            _ => Err(RunError::Protocol("an Attach that was not answered by Attached")),
        }
    }
}
