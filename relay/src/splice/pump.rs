//! The task that reads one side's request body into the session's queue.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::direction::Direction;
use crate::frames::{DeframeError, Deframer, QueueClosed, SessionEnd};
use crate::limits::{FRAME_OVERHEAD_BYTES, PENDING_BYTES};
use crate::request_body::RequestBody;
use crate::sessions::Session;

/// Runs until the body ends, the framing is violated, or the queue closes, and ends the session accordingly.
pub(crate) async fn pump(session: Arc<Session>, direction: Direction, mut body: RequestBody) {
    let mut pump = Pump {
        session: &session,
        direction,
        deframer: Deframer::default(),
        stashed: 0,
        early: 0,
        is_over: false,
    };
    let end = poll_fn(|cx| pump.poll(&mut body, cx)).await;
    match end {
        Ok(SessionEnd::Clean) => session.queue(direction).end(SessionEnd::Clean),
        Ok(end) if end.is_cut() => session.cut(end),
        Ok(end) => session.end(end),
        Err(QueueClosed) => {} // The end of the session was set when the queue was closed.
    }
}

struct Pump<'a> {
    session: &'a Session,
    direction: Direction,
    deframer: Deframer,
    /// Bytes in the queue's backlog.
    stashed: usize,
    /// Bytes that arrived before the exec-server accepted.
    early: usize,
    /// The body has ended with END_STREAM.
    is_over: bool,
}

impl Pump<'_> {
    fn poll(
        &mut self,
        body: &mut RequestBody,
        cx: &mut Context<'_>,
    ) -> Poll<Result<SessionEnd, QueueClosed>> {
        let queue = self.session.queue(self.direction);
        loop {
            // Checks for room first, because an extracted frame must be queued. Bytes that reach the deframer return
            // their window to the peer.
            let has_room = match queue.poll_room(cx) {
                Poll::Ready(room) => room.map(|()| true)?,
                Poll::Pending => false,
            };
            if has_room {
                match self.deframer.next_frame() {
                    Ok(Some(frame)) => {
                        if self.session.hold(FRAME_OVERHEAD_BYTES).is_err() {
                            return Poll::Ready(Ok(SessionEnd::NoMemory));
                        }
                        queue.push(frame);
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Ok(SessionEnd::Broken(error))),
                }
                if self.stashed > 0 {
                    let Some((chunk, came)) = queue.unstash() else {
                        return Poll::Ready(Err(QueueClosed)); // The queue was closed and cleared.
                    };
                    self.stashed -= chunk.len();
                    body.release(chunk.len());
                    self.deframer.feed(chunk, came);
                    continue;
                }
                if self.is_over {
                    let end = self
                        .deframer
                        .finish()
                        .map_or_else(SessionEnd::Broken, |()| SessionEnd::Clean);
                    return Poll::Ready(Ok(end));
                }
            }
            if self.is_over {
                return Poll::Pending;
            }
            // Empties the body even without room: the relay counts and compacts waiting bytes, HTTP/2 does not.
            match body.poll_chunk(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(chunk))) => {
                    if !self.session.is_open() {
                        self.early += chunk.len();
                        if self.early > PENDING_BYTES {
                            return Poll::Ready(Ok(SessionEnd::Broken(DeframeError::Early)));
                        }
                    }
                    if self.session.hold(chunk.len()).is_err() {
                        return Poll::Ready(Ok(SessionEnd::NoMemory));
                    }
                    let now = Instant::now();
                    if has_room {
                        body.release(chunk.len());
                        self.deframer.feed(chunk, now);
                    } else {
                        self.stashed += chunk.len();
                        queue.stash(chunk, now);
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Ok(SessionEnd::Disconnected)),
                // A reset with NO_ERROR (RFC 9113 section 8.1) also ends the body, but without END_STREAM.
                Poll::Ready(None) if !body.is_end_stream() => {
                    return Poll::Ready(Ok(SessionEnd::Disconnected));
                }
                Poll::Ready(None) => self.is_over = true,
            }
        }
    }
}
