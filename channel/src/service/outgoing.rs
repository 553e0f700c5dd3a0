//! The writer: the body of the outer request.
//!
//! HTTP/2 pulls it when the outer stream has room. Until then frames stay in the multiplexer, where the scheduler can
//! still reorder them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_export::clock;
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use tonic::Status;

use super::batch::Batch;
use super::error::SessionError;
use super::established::Established;
use super::session_state::{Ending, HandshakeFrame, SessionState};
use crate::limits::FRAME_HEADER_MAX;
use crate::outer::{finish_frame, put_frame, put_version};

/// The body that seals and frames everything that a session sends.
pub(crate) struct Outgoing {
    session: Arc<SessionState>,
    batch: Batch,
    /// Length of the latest message, which the next one probably has.
    latest: usize,
    /// The session has ended in order, and HTTP/2 has taken its last frame.
    ended: bool,
}

impl Outgoing {
    pub(crate) fn new(session: Arc<SessionState>) -> Self {
        Self {
            session,
            batch: Batch::new(clock::now()),
            latest: 0,
            ended: false,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let mut state = this.session.lock();
        if let Some(Ending::Now(error)) = &state.ending {
            // The error resets the outer stream, so that the relay and the peer notice immediately.
            return Poll::Ready(Some(Err(error.clone().into_status())));
        }
        let mut out = BytesMut::with_capacity(this.batch.expected());
        while let Some(frame) = state.handshake.pop_front() {
            match frame {
                HandshakeFrame::Noise(message) => put_frame(&mut out, &message),
                HandshakeFrame::Version => put_version(&mut out),
            }
        }
        while out.len() < this.batch.size()
            && let Some(session) = &mut state.established
        {
            match seal_next(session, &mut this.latest, &mut out) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    // The next message is a `GoAway`, if the key can still encrypt one.
                    this.session.fail(&mut state, error);
                    if let Some(Ending::Now(error)) = &state.ending {
                        return Poll::Ready(Some(Err(error.clone().into_status())));
                    }
                }
            }
        }
        this.session.pass_on_events(&mut state);
        // A rekey may have begun, and it has a deadline.
        this.session.rearm(&state);
        if !out.is_empty() {
            this.batch.handed_over(clock::now(), out.len());
            return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
        }
        if state.ending.is_some() {
            this.ended = true;
            return Poll::Ready(None);
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // After an orderly end HTTP/2 has every frame and still sends them.
        if !self.ended {
            // HTTP/2 dropped the stream: nothing can be sent any more.
            self.session.writer_is_lost();
        }
        self.session.writer_is_done();
    }
}

/// Builds, seals and frames one message, where it is sent from. `false`: there is nothing to send.
fn seal_next(
    session: &mut Established,
    expected: &mut usize,
    out: &mut BytesMut,
) -> Result<bool, SessionError> {
    if !session.wants_transmit() {
        return Ok(false);
    }
    let start = out.len();
    out.reserve(FRAME_HEADER_MAX + *expected);
    out.put_bytes(0, FRAME_HEADER_MAX);
    // The rest of the same buffer, without a copy unless the message outgrows it.
    let mut message = out.split_off(start + FRAME_HEADER_MAX);
    let sealed = match session.transmit(clock::anchor(), &mut message) {
        true => session.seal(&mut message).map(|()| true),
        false => Ok(false),
    };
    if !matches!(sealed, Ok(true)) {
        out.truncate(start);
        return sealed;
    }
    *expected = message.len();
    out.unsplit(message);
    finish_frame(out, start);
    session.sealed(clock::now())?;
    Ok(true)
}
