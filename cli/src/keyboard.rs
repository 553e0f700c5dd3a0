//! Forwards what is typed on a raw terminal to a command, and finds the escapes in it.
//!
//! Keys wait in a queue of their own while the command does not take them: `~.` must work when nothing else does.

use std::future::pending;
use std::io;
use std::sync::Arc;

use baton_core_client::Stdin;
use bytes::Bytes;
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use crate::error::CliError;
use crate::escapes::{Escape, EscapeDetector, Typed};
use crate::limits::KEYS_QUEUE;

/// Ctrl-C, as a raw terminal has it.
const CTRL_C: u8 = 3;

/// An escape that was typed. What is typed after it waits for the answer: [`stay`](Self::stay), or it is dropped when
/// Baton leaves.
#[derive(Debug)]
pub(crate) struct EscapeRequest {
    pub(crate) escape: Escape,
    stays: oneshot::Sender<()>,
}

impl EscapeRequest {
    /// Baton does not leave.
    pub(crate) fn stay(self) {
        // Fails if the command has ended.
        let _ = self.stays.send(());
    }
}

/// The keyboard of a raw terminal.
pub(crate) struct Keyboard {
    detector: EscapeDetector,
    requests: mpsc::Sender<EscapeRequest>,
    is_lost: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Keyboard {
    /// `is_lost` says whether the connection to the command is lost.
    pub(crate) fn new(
        requests: mpsc::Sender<EscapeRequest>,
        is_lost: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        Self {
            detector: EscapeDetector::default(),
            requests,
            is_lost,
        }
    }

    /// Forwards `chunks` to `stdin` until either ends. A read error is sent to `cut`, and the input then stays open.
    pub(crate) async fn forward(
        self,
        stdin: Stdin,
        chunks: mpsc::Receiver<io::Result<Bytes>>,
        cut: oneshot::Sender<CliError>,
    ) {
        let (queue, waiting) = mpsc::channel(KEYS_QUEUE);
        tokio::join!(write(stdin, waiting), self.read(chunks, queue, cut));
    }

    /// Queues keys until the input ends, or the command no longer takes any.
    async fn read(
        mut self,
        mut chunks: mpsc::Receiver<io::Result<Bytes>>,
        queue: mpsc::Sender<Bytes>,
        cut: oneshot::Sender<CliError>,
    ) {
        while let Some(chunk) = chunks.recv().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(source) => {
                    if is_hang_up(&source) {
                        self.request(Escape::HangUp).await;
                    }
                    // Fails if the command has ended.
                    let _ = cut.send(CliError::Input(source));
                    return pending().await;
                }
            };
            if chunk.contains(&CTRL_C) && (self.is_lost)() {
                self.request(Escape::Interrupt).await;
            }
            for part in self.detector.feed(&chunk) {
                match part {
                    Typed::Keys(keys) => {
                        if queue.send(keys.into()).await.is_err() {
                            return;
                        }
                    }
                    Typed::Escape(escape) => self.request(escape).await,
                }
            }
        }
        // No key ends the input of a raw terminal.
        self.request(Escape::HangUp).await;
        if let Some(held) = self.detector.finish() {
            // Fails if the command has ended.
            let _ = queue.send(held.into()).await;
        }
    }

    /// Asks, and waits for the answer. When Baton leaves, this does not return: the command's input must not end,
    /// because that would end a shell that is detached from.
    async fn request(&self, escape: Escape) {
        let (stays, answer) = oneshot::channel();
        let request = EscapeRequest { escape, stays };
        if self.requests.send(request).await.is_err() || answer.await.is_err() {
            pending().await
        }
    }
}

/// Whether the terminal is gone, which is what EIO means of one in the foreground.
pub(crate) fn is_hang_up(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Writes what is queued, then the end of input.
async fn write(mut stdin: Stdin, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(keys) = waiting.recv().await {
        if stdin.write(keys).await.is_err() {
            // The command no longer reads; its next event states why.
            return;
        }
    }
    // Fails if the command has ended.
    let _ = stdin.close().await;
}
