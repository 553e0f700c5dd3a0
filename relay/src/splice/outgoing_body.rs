//! The response body of one side: the frames that the other side's pump queued, then trailers with the status.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::Frame;
use tonic::Status;

use crate::direction::Direction;
use crate::frames::{FrameBatch, Rope, SessionEnd};
use crate::sessions::{ExecServerSlots, Session};

/// The response body of one direction. Dropped before its end, it ends the session: the peer has reset its stream or
/// disconnected.
pub(crate) struct OutgoingBody {
    session: Arc<Session>,
    direction: Direction,
    ended: bool,
    _slots: Option<Arc<ExecServerSlots>>,
}

impl OutgoingBody {
    pub(crate) fn new(session: Arc<Session>, direction: Direction) -> Self {
        Self {
            session,
            direction,
            ended: false,
            _slots: None,
        }
    }

    /// Holds the exec-server's slots until the body is dropped.
    pub(crate) fn holding(mut self, slots: Arc<ExecServerSlots>) -> Self {
        self._slots = Some(slots);
        self
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Rope>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(
            match ready!(self.session.queue(self.direction).poll_take(cx)) {
                FrameBatch::Frames {
                    data,
                    frames,
                    bytes,
                    cost,
                } => {
                    self.session.forwarded(self.direction, frames, bytes);
                    Frame::data(data.handed(self.session.held().hand(self.direction, cost)))
                }
                FrameBatch::End(end) => {
                    self.ended = true;
                    // Trailers would wait behind data that the peer does not read.
                    if end.is_cut() && self.session.held().in_flight(self.direction) > 0 {
                        return Poll::Ready(Some(Err(end.status())));
                    }
                    Frame::trailers(trailers(end))
                }
            },
        )))
    }
}

impl OutgoingBody {
    /// Ready when the session was ended without sending what is queued.
    pub(crate) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let end = ready!(self.session.queue(self.direction).poll_cut(cx));
        self.ended = true;
        Poll::Ready(end.status())
    }
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        self.session.queue(self.direction).abandon();
        if !self.ended {
            self.session.end(SessionEnd::Disconnected);
        }
    }
}

fn trailers(end: SessionEnd) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if end.status().add_header(&mut trailers).is_err() {
        // Fails only for a message that is not a valid header value; the relay's messages are plain text.
        trailers.insert("grpc-status", http::HeaderValue::from_static("13"));
    }
    trailers
}
