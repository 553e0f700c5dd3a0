//! A request's body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame};

/// The bytes that a peer sends on one stream. Only [`Self::release`] returns its flow-control window.
pub(crate) struct RequestBody(RecvStream);

/// The peer has reset its stream or disconnected.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the peer has reset its stream or disconnected")]
pub(crate) struct PeerLost;

impl RequestBody {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self(stream)
    }

    /// The next bytes; `None` at the end of the body. [`Self::is_end_stream`] tells whether the peer ended it.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PeerLost>>> {
        match ready!(self.0.poll_data(cx)) {
            Some(chunk) => Poll::Ready(Some(chunk.map_err(|_| PeerLost))),
            // Trailers of a request have no meaning here, but end it.
            None => match ready!(self.0.poll_trailers(cx)) {
                Ok(_) => Poll::Ready(None),
                Err(_) => Poll::Ready(Some(Err(PeerLost))),
            },
        }
    }

    /// Lets the peer send this many more bytes.
    pub(crate) fn release(&mut self, bytes: usize) {
        // Fails only for more bytes than were received.
        let _ = self.0.flow_control().release_capacity(bytes);
    }

    /// The peer sent END_STREAM, and the whole body was read.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// For tonic, which reads the messages of `Register` as they arrive.
impl Body for RequestBody {
    type Data = Bytes;
    type Error = PeerLost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PeerLost>>> {
        let chunk = ready!(self.poll_chunk(cx));
        if let Some(Ok(chunk)) = &chunk {
            self.release(chunk.len());
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
