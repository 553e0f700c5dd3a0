//! The client's requests after `Start` or `Attach`: stdin by offset, signals, acknowledgements, and reports of markers.
//!
//! Requests are read only as fast as the child reads its stdin: one chunk is held at a time, and the transport's flow
//! control stops the client. An `Ack` behind a chunk that the child does not read waits too. That cannot deadlock,
//! because output never depends on an `Ack`: an event leaves the log when it is handed to the transport, and the
//! child's output depends only on the transport's credit, which the client grants by reading. A `Signal` behind such a
//! chunk waits as well: a client that does not want that calls `Exec/Signal`, because no bounded read ahead could find a
//! signal behind all the chunks that the client may have sent before.

use std::io;

use baton_export::clock;
use baton_proto::exec::RunRequest;
use baton_proto::exec::marker_reached::Marker;
use baton_proto::exec::run_request::Kind;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tonic::Streaming;

use super::signal::ClientSignal;
use super::state::{ProcessState, StdinPosition};
use super::terminal::{Terminal, WindowSizeError, window_size};
use crate::error::RequestError;

/// The standard input of one process, for the requests of one call after the other. The lock is free while no requests
/// are handled.
#[derive(Debug)]
pub(super) struct Stdin<W>(Mutex<Input<W>>);

#[derive(Debug)]
struct Input<W> {
    /// `None` without stdin, and after its end. On an error it is left open: a child that is about to be killed must not
    /// see an end of file that its client did not send.
    pipe: Option<W>,
    order: Order,
    /// The bytes that were written.
    written: u64,
    /// What was received and not written.
    chunk: Bytes,
}

impl<W> Stdin<W> {
    pub(super) fn new(pipe: Option<W>) -> Self {
        let order = match pipe {
            Some(_) => Order::Open { offset: 0 },
            None => Order::NotAsked,
        };
        Self(Mutex::new(Input {
            pipe,
            order,
            written: 0,
            chunk: Bytes::new(),
        }))
    }

    /// Prepares for the requests of another call: what was received and not written is forgotten, and the client sends
    /// it again. Requests must not be handled at the same time; then this says that the input has ended.
    pub(super) fn rewind(&self) -> StdinPosition {
        let Ok(mut input) = self.0.try_lock() else {
            debug_assert!(false, "requests are handled");
            return StdinPosition {
                offset: 0,
                is_closed: true,
            };
        };
        input.chunk = Bytes::new();
        if let Order::Open { .. } = input.order {
            input.order = Order::Open {
                offset: input.written,
            };
        }
        StdinPosition {
            offset: input.written,
            is_closed: !matches!(input.order, Order::Open { .. }),
        }
    }
}

impl<W: AsyncWrite + Unpin> Input<W> {
    /// Writes the chunk. A child that has closed its stdin, as `head` does, is no error: the rest is discarded.
    /// Cancellation safe: what was not written stays in the chunk.
    async fn write(&mut self) {
        while let Some(pipe) = &mut self.pipe
            && !self.chunk.is_empty()
        {
            match pipe.write(&self.chunk).await {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    self.chunk.advance(count);
                    self.written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
        if self.pipe.is_none() {
            self.written += self.chunk.len() as u64;
            self.chunk = Bytes::new();
        }
    }
}

impl<W: AsyncWrite + Unpin> Input<W> {
    /// Ends the input, if its client has. Cancellation safe: the requests of another call finish it.
    async fn finish(&mut self) {
        if self.order == Order::Closed
            && let Some(pipe) = &mut self.pipe
        {
            // A terminal gets the end as input. Nothing is left to end if the process has closed its side.
            let _ = pipe.shutdown().await;
            self.pipe = None;
        }
    }
}

/// Handles the requests of one call until they end.
pub(super) async fn pump(
    mut requests: Streaming<RunRequest>,
    stdin: &Stdin<impl AsyncWrite + Unpin>,
    has_family: bool,
    has_grace: bool,
    terminal: Option<&Terminal>,
    state: &ProcessState,
) -> Result<(), RequestError> {
    let mut input = stdin.0.lock().await;
    input.finish().await;
    while let Some(request) = requests.message().await.map_err(|_| RequestError::Unreadable)? {
        match request.kind {
            Some(Kind::Stdin(stdin)) => {
                input.order.data(stdin.offset, stdin.data.len())?;
                input.chunk = stdin.data;
                input.write().await;
                if has_grace {
                    state.stdin_taken(input.written);
                }
            }
            Some(Kind::StdinClose(close)) => {
                input.order.close(close.offset)?;
                input.finish().await;
            }
            Some(Kind::Ack(ack)) => state.acknowledge(ack.seq)?,
            Some(Kind::Signal(signal)) => {
                let signal = ClientSignal::try_from(signal).map_err(|_| RequestError::UnknownSignal)?;
                state.signal(signal);
            }
            Some(Kind::Marker(reached)) => {
                if !has_family {
                    return Err(RequestError::MarkerWithoutFamily);
                }
                match reached.marker() {
                    Marker::SessionInit => state.session_init(clock::now()),
                    Marker::Unspecified => return Err(RequestError::UnknownMarker),
                }
            }
            Some(Kind::Resize(size)) => {
                let terminal = terminal.ok_or(RequestError::NoTerminal)?;
                terminal.resize(window_size(&size).map_err(|WindowSizeError| RequestError::WindowSize)?);
            }
            Some(Kind::Start(_)) => return Err(RequestError::SecondStart),
            Some(Kind::Attach(_)) => return Err(RequestError::LateAttach),
            None => return Err(RequestError::Unknown),
        }
    }
    input.order.end()
}

/// Checks the order of stdin requests. No IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    NotAsked,
    Open { offset: u64 },
    Closed,
}

impl Order {
    fn data(&mut self, received: u64, len: usize) -> Result<(), RequestError> {
        let expected = self.expect(received)?;
        *self = Order::Open {
            offset: expected.saturating_add(len as u64),
        };
        Ok(())
    }

    fn close(&mut self, received: u64) -> Result<(), RequestError> {
        self.expect(received)?;
        *self = Order::Closed;
        Ok(())
    }

    /// The requests have ended.
    fn end(self) -> Result<(), RequestError> {
        match self {
            Order::Open { .. } => Err(RequestError::StdinCut),
            Order::NotAsked | Order::Closed => Ok(()),
        }
    }

    fn expect(self, received: u64) -> Result<u64, RequestError> {
        match self {
            Order::NotAsked => Err(RequestError::StdinNotAsked),
            Order::Closed => Err(RequestError::StdinClosed),
            Order::Open { offset } if offset != received => Err(RequestError::StdinOffset {
                expected: offset,
                received,
            }),
            Order::Open { offset } => Ok(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_contiguous_and_the_final_offset_is_their_sum() {
        let mut order = Order::Open { offset: 0 };
        assert_eq!(order.data(0, 3), Ok(()));
        assert_eq!(order.data(3, 0), Ok(()));
        let gap = RequestError::StdinOffset {
            expected: 3,
            received: 4,
        };
        assert_eq!(order.data(4, 1), Err(gap));
        assert_eq!(order.end(), Err(RequestError::StdinCut));
        assert_eq!(order.close(4), Err(gap));
        assert_eq!(order.close(3), Ok(()));
        assert_eq!(order.close(3), Err(RequestError::StdinClosed));
        assert_eq!(order.data(3, 1), Err(RequestError::StdinClosed));
        assert_eq!(order.end(), Ok(()));
    }

    #[test]
    fn stdin_that_was_not_requested_is_refused() {
        let mut order = Order::NotAsked;
        assert_eq!(order.data(0, 1), Err(RequestError::StdinNotAsked));
        assert_eq!(order.close(0), Err(RequestError::StdinNotAsked));
        assert_eq!(order.end(), Ok(()));
    }
}
