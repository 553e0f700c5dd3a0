//! A remote command's standard input.

use baton_proto::Signal;
use baton_proto::exec::{RunRequest, Stdin as Chunk, StdinClose, run_request::Kind};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::error::ProcessError;
use crate::limits;
use crate::marker::{MarkerError, MarkerSupport};
use crate::signal::to_wire;

/// The command or the call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command no longer reads its standard input")]
pub struct StdinError;

/// Writes a remote command's standard input. Dropping it closes the input; so does [`close`](Self::close).
#[derive(Debug)]
pub struct Stdin {
    sender: Option<mpsc::Sender<RunRequest>>,
    offset: u64,
    markers: MarkerSupport,
    takes_signals: bool,
}

impl Stdin {
    pub(crate) fn new(sender: mpsc::Sender<RunRequest>, markers: MarkerSupport, takes_signals: bool) -> Self {
        Self {
            sender: Some(sender),
            offset: 0,
            markers,
            takes_signals,
        }
    }

    /// Reports that the session with the program has begun, as
    /// [`Run::session_init_reached`](crate::Run::session_init_reached) does. The report follows the input that was
    /// written before.
    ///
    /// Cancellation safe: a dropped call has reported nothing.
    pub async fn session_init_reached(&self) -> Result<(), MarkerError> {
        self.markers.report(self.sender.as_ref()).await
    }

    /// Sends a signal to the command's process group, after the command has taken the input that was written before.
    /// While the command does not read, the signal waits; [`Run::signal`](crate::Run::signal) does not.
    ///
    /// Cancellation safe: a dropped call has sent nothing.
    ///
    /// # Errors
    /// [`ProcessError::NotSupported`], or [`ProcessError::Ended`] once the call has ended.
    pub async fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        if !self.takes_signals {
            return Err(ProcessError::NotSupported);
        }
        let sent = self.send(Kind::Signal(to_wire(signal, false))).await;
        sent.map_err(|StdinError| ProcessError::Ended)
    }

    /// Queues bytes in chunks of [`limits::STDIN_CHUNK`]; waits while the command reads slowly.
    ///
    /// Not cancellation safe: a dropped call may have sent a part of the bytes.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), StdinError> {
        while !data.is_empty() {
            let data = data.split_to(data.len().min(limits::STDIN_CHUNK));
            let len = data.len() as u64;
            self.send(Kind::Stdin(Chunk {
                offset: self.offset,
                data,
            }))
            .await?;
            self.offset += len;
        }
        Ok(())
    }

    /// Ends the input. The command continues.
    pub async fn close(mut self) -> Result<(), StdinError> {
        let closed = self
            .send(Kind::StdinClose(StdinClose { offset: self.offset }))
            .await;
        self.sender = None;
        closed
    }

    async fn send(&self, kind: Kind) -> Result<(), StdinError> {
        let sender = self.sender.as_ref().ok_or(StdinError)?;
        sender
            .send(RunRequest { kind: Some(kind) })
            .await
            .map_err(|_| StdinError)
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            let close = RunRequest {
                kind: Some(Kind::StdinClose(StdinClose { offset: self.offset })),
            };
            if let Err(mpsc::error::TrySendError::Full(close)) = sender.try_send(close)
                && let Ok(runtime) = tokio::runtime::Handle::try_current()
            {
                // The queue is full of input: a task waits to queue the end.
                runtime.spawn(async move { sender.send(close).await });
            }
        }
    }
}
