//! Signals to a command's process group.
//!
//! [`Run::signal`](crate::Run::signal) makes a call of its own, which overtakes everything that the run has sent: a
//! signal must not wait behind standard input that the command does not read. [`Stdin::signal`](crate::Stdin::signal)
//! is a request of the run, in order with the input before it, and so is a signal to a command whose exec-server stops.

use std::fmt;

use baton_channel::Channel;
use baton_proto::exec::run_request::Kind;
use baton_proto::exec::{self, RunRequest, SignalRequest};
use baton_proto::limits::ANSWER_MAX;
use baton_proto::{ProcessId, Signal};
use baton_rpc::exec::exec_client::ExecClient;
use baton_trace::w3c::ExtractedContext;
use tokio::sync::mpsc;

use crate::error::ProcessError;
use crate::limits::SIGNAL_TIMEOUT;

/// Sends signals to the process group of one command. Cheap to clone; independent of the [`Run`](crate::Run) that it is
/// from, so that one task can read the command's events while another sends signals.
#[derive(Clone, Default)]
pub struct Signaller(Option<Target>);

/// A command on an exec-server that takes signals.
#[derive(Clone)]
struct Target {
    channel: Channel,
    process: ProcessId,
    /// The context of the command's call.
    parent: Option<ExtractedContext>,
    /// The queue of the command's requests, while it takes some.
    requests: Option<mpsc::WeakSender<RunRequest>>,
}

impl Signaller {
    /// For a command on an exec-server that takes signals. The default is one for any other exec-server.
    pub(crate) fn new(channel: Channel, process: ProcessId) -> Self {
        Self(Some(Target {
            channel,
            process,
            parent: None,
            requests: None,
        }))
    }

    /// For the command of a call with this context and these requests.
    pub(crate) fn of_run(
        channel: Channel,
        process: ProcessId,
        parent: Option<ExtractedContext>,
        requests: Option<&mpsc::Sender<RunRequest>>,
    ) -> Self {
        Self(Some(Target {
            channel,
            process,
            parent,
            requests: requests.map(mpsc::Sender::downgrade),
        }))
    }

    /// Whether the exec-server takes signals.
    pub fn is_supported(&self) -> bool {
        self.0.is_some()
    }

    /// As [`Run::signal`](crate::Run::signal).
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        self.send(signal, false).await
    }

    /// As [`Run::terminate`](crate::Run::terminate).
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn terminate(&self, signal: Signal) -> Result<(), ProcessError> {
        self.send(signal, true).await
    }

    async fn send(&self, signal: Signal, ends: bool) -> Result<(), ProcessError> {
        let target = self.0.as_ref().ok_or(ProcessError::NotSupported)?;
        let signal = to_wire(signal, ends);
        // An exec-server that stops takes no further call, and the call of the command is still open.
        if !target.channel.is_connected() && target.send_in_run(&signal).await {
            return Ok(());
        }
        let sent = target.call(&signal).await;
        // The exec-server has just begun to stop. If the session is lost instead, so is the call of the command.
        let is_refused = matches!(&sent, Err(ProcessError::Rpc(_) | ProcessError::Session(_)));
        if is_refused && target.send_in_run(&signal).await {
            return Ok(());
        }
        sent
    }
}

impl Target {
    /// Sends the signal by a call of its own.
    async fn call(&self, signal: &exec::Signal) -> Result<(), ProcessError> {
        let message = SignalRequest {
            process_id: self.process.0.to_vec().into(),
            signal: Some(signal.clone()),
        };
        let mut request = tonic::Request::new(message);
        request.set_timeout(SIGNAL_TIMEOUT);
        if let Some(parent) = &self.parent {
            request.extensions_mut().insert(parent.clone());
        }
        let client = ExecClient::new(self.channel.clone());
        let mut client = client.max_decoding_message_size(ANSWER_MAX);
        client.signal(request).await?;
        Ok(())
    }

    /// Queues the signal behind the requests of the command's call. Returns false if there is no such call any more.
    async fn send_in_run(&self, signal: &exec::Signal) -> bool {
        let Some(requests) = self.requests.as_ref().and_then(mpsc::WeakSender::upgrade) else {
            return false;
        };
        let request = RunRequest {
            kind: Some(Kind::Signal(signal.clone())),
        };
        requests.send(request).await.is_ok()
    }
}

impl fmt::Debug for Signaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signaller")
            .field("process", &self.0.as_ref().map(|target| target.process))
            .finish_non_exhaustive()
    }
}

/// The message for a signal.
pub(crate) fn to_wire(signal: Signal, ends: bool) -> exec::Signal {
    exec::Signal {
        name: signal.name().into(),
        ends,
    }
}
