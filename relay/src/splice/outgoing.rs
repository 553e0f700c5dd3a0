//! The response body of one side: what the other side's pump queued, then trailers that say how it ended.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::Frame;

use super::{Batch, Direction, End, Rope};
use crate::session::{ServerSlots, Session};

/// Dropped before its end, it ends the session: the peer has reset its stream or is gone.
pub(crate) struct Outgoing {
    session: Arc<Session>,
    direction: Direction,
    ended: bool,
    _slots: Option<Arc<ServerSlots>>,
}

impl Outgoing {
    pub(crate) fn new(session: Arc<Session>, direction: Direction) -> Self {
        Self {
            session,
            direction,
            ended: false,
            _slots: None,
        }
    }

    /// Keeps the exec-server's places taken for as long as it lives.
    pub(crate) fn holding(mut self, slots: Arc<ServerSlots>) -> Self {
        self._slots = Some(slots);
        self
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Rope>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(
            match ready!(self.session.queue(self.direction).poll_take(cx)) {
                Batch::Frames { data, frames, bytes } => {
                    self.session.forwarded(self.direction, frames, bytes);
                    Frame::data(data)
                }
                Batch::End(end) => {
                    self.ended = true;
                    Frame::trailers(trailers(end))
                }
            },
        ))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.session.queue(self.direction).abandon();
        if !self.ended {
            self.session.end(End::Disconnected);
        }
    }
}

fn trailers(end: End) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if end.status().add_header(&mut trailers).is_err() {
        // Only a message that is no header value could fail; ours are plain sentences.
        trailers.insert("grpc-status", http::HeaderValue::from_static("13"));
    }
    trailers
}
