//! The client's requests after `Start`: stdin by offset, signals, acknowledgements, and reports of markers.
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
use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tonic::Streaming;

use super::signal::ClientSignal;
use super::state::ProcessState;
use crate::error::RequestError;

/// Handles the requests of one call until they end. `pipe` is `None` without stdin, and after its end. On an error it
/// is left open: a child that is about to be killed must not see an end of file that its client did not send.
pub(super) async fn pump(
    mut requests: Streaming<RunRequest>,
    pipe: &mut Option<impl AsyncWrite + Unpin>,
    has_family: bool,
    state: &ProcessState,
) -> Result<(), RequestError> {
    let mut order = match pipe {
        Some(_) => Order::Open { offset: 0 },
        None => Order::NotAsked,
    };
    while let Some(request) = requests.message().await.map_err(|_| RequestError::Unreadable)? {
        match request.kind {
            Some(Kind::Stdin(stdin)) => {
                order.data(stdin.offset, stdin.data.len())?;
                if let Some(open) = pipe
                    && write(open, stdin.data).await.is_err()
                {
                    // The child has closed its stdin, as `head` does. That is no error: the rest is discarded.
                    *pipe = None;
                }
            }
            Some(Kind::StdinClose(close)) => {
                order.close(close.offset)?;
                *pipe = None;
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
            Some(Kind::Start(_)) => return Err(RequestError::SecondStart),
            None => return Err(RequestError::Unknown),
        }
    }
    order.end()
}

async fn write(pipe: &mut (impl AsyncWrite + Unpin), data: Bytes) -> io::Result<()> {
    pipe.write_all(&data).await
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
