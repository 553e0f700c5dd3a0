//! A call's handle on one stream of a session.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_export::clock;
use baton_mux::{Mux, Received, Stamps, StreamId, TimingsDraft, code};
use baton_proto::channel::{Head, Metadata};
use baton_trace::call_end::CallEndCell;
use baton_trace::clock::ClockOffset;
use baton_trace::command::CallProgress;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::super::error::{SessionError, reset_status, stream_status};
use super::super::record::ServerDraft;
use super::{LockedState, SessionState};

/// The handle of the call that owns a stream. Dropping it releases the stream: an unfinished call is reset.
pub(crate) struct StreamHandle {
    pub(super) session: Arc<SessionState>,
    pub(super) id: StreamId,
    /// Present on streams that this end serves.
    pub(super) end: Option<CallEndCell>,
    pub(super) _slot: Option<OwnedSemaphorePermit>,
}

impl StreamHandle {
    pub(in crate::service) fn id(&self) -> StreamId {
        self.id
    }

    /// The cell that will hold why the call was cut short, for its handler.
    pub(in crate::service) fn end(&self) -> CallEndCell {
        self.end.clone().unwrap_or_default()
    }

    pub(in crate::service) fn session(&self) -> &Arc<SessionState> {
        &self.session
    }

    /// Runs `f` on the multiplexer and handles the events that it causes.
    pub(in crate::service) fn with_mux<T>(&self, f: impl FnOnce(&mut Mux) -> T) -> Result<T, SessionError> {
        let mut state = self.session.lock();
        if let Some(error) = state.ended() {
            return Err(error);
        }
        let result = match &mut state.established {
            Some(session) => f(&mut session.mux),
            None => return Err(SessionError::Closed),
        };
        self.session.react(&mut state);
        Ok(result)
    }

    /// The next data, trailers or end that the peer sent; never [`Received::Pending`].
    pub(in crate::service) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Received, Status>> {
        let id = self.id;
        let mut state = self.session.lock();
        if let Some(session) = &mut state.established {
            match session.mux.receive(id) {
                Received::Reset(code) if state.ending.is_none() => {
                    return Poll::Ready(Err(reset_status(code)));
                }
                Received::Pending | Received::Reset(_) => {}
                received => {
                    self.session.react(&mut state);
                    return Poll::Ready(Ok(received));
                }
            }
        }
        self.wait(&mut state, cx)
    }

    /// The peer's `Head`.
    pub(in crate::service) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Head, Status>> {
        let id = self.id;
        let mut state = self.session.lock();
        if let Some(session) = &mut state.established {
            if let Some(head) = session.mux.take_head(id) {
                return Poll::Ready(Ok(head));
            }
            // Only a reset can arrive before the head.
            if let Received::Reset(code) = session.mux.receive(id)
                && state.ending.is_none()
            {
                return Poll::Ready(Err(reset_status(code)));
            }
        }
        self.wait(&mut state, cx)
    }

    /// Fails if the session has ended; otherwise registers the waker for the next receive event.
    fn wait<T>(&self, state: &mut LockedState, cx: &Context<'_>) -> Poll<Result<T, Status>> {
        if let Some(error) = state.ended() {
            return Poll::Ready(Err(error.into_status()));
        }
        state.wakers.entry(self.id).or_default().receive = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until the stream's send queue has room.
    pub(in crate::service) async fn room(&self) -> Result<(), Status> {
        poll_fn(|cx| {
            let mut state = self.session.lock();
            if let Some(error) = state.ended() {
                return Poll::Ready(Err(error.into_status()));
            }
            let Some(session) = &mut state.established else {
                return Poll::Ready(Ok(()));
            };
            match session.mux.has_room(self.id) {
                Ok(true) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(stream_status(error))),
                Ok(false) => {
                    state.wakers.entry(self.id).or_default().send = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(in crate::service) fn send_head(&self, head: &Head) -> Result<(), Status> {
        self.with_mux(|mux| mux.send_head(self.id, head))
            .map_err(SessionError::into_status)?
            .map_err(stream_status)
    }

    pub(in crate::service) fn send_data(&self, data: Bytes, end: bool) -> Result<(), Status> {
        self.with_mux(|mux| mux.send_data(clock::now(), self.id, data, end))
            .map_err(SessionError::into_status)?
            .map_err(stream_status)
    }

    /// Queues the trailers of a response. `draft` becomes the server's record once they are sealed.
    pub(in crate::service) fn send_trailers(
        &self,
        metadata: Vec<Metadata>,
        timings: Option<TimingsDraft>,
        draft: Option<Box<ServerDraft>>,
    ) -> Result<(), Status> {
        if let Some(call) = self.session.lock().calls.get_mut(&self.id) {
            call.draft = draft;
        }
        self.with_mux(|mux| mux.send_trailers(self.id, metadata, timings))
            .map_err(SessionError::into_status)?
            .map_err(stream_status)
    }

    /// The stamps of the stream's frames so far, and the clock offset.
    pub(in crate::service) fn measured(&self) -> (Stamps, Option<ClockOffset>) {
        let state = self.session.lock();
        let Some(session) = &state.established else {
            return Default::default();
        };
        let stamps = session.mux.stamps(self.id).cloned().unwrap_or_default();
        (stamps, session.mux.clock_offset())
    }

    /// How far the call came, if it ends now without trailers.
    pub(in crate::service) fn unanswered(&self) -> CallProgress {
        let state = self.session.lock();
        let code = state
            .established
            .as_ref()
            .and_then(|session| session.mux.reset_code(self.id));
        match (state.ended(), code) {
            (Some(error), _) => error
                .closed_for()
                .map_or(CallProgress::CutShort, CallProgress::SessionClosed),
            // A server that closes a session resets its calls first.
            (None, Some(_)) => CallProgress::Answered,
            (None, None) => CallProgress::CutShort,
        }
    }

    /// Why the stream was cut short. The reason of its own reset takes precedence over that of its session, which may
    /// have ended since: a client can reset a call and then leave.
    pub(in crate::service) fn cut_short(&self) -> Status {
        let mut state = self.session.lock();
        let of_stream = match &mut state.established {
            Some(session) => session.mux.receive(self.id),
            None => Received::Pending,
        };
        match (of_stream, state.ended()) {
            (Received::Reset(code), _) => reset_status(code),
            (_, Some(error)) => error.into_status(),
            (_, None) => reset_status(code::CANCELLED),
        }
    }

    /// Resets the stream.
    pub(in crate::service) fn reset(&self, code: u32) {
        // A session that has ended has no stream to reset.
        let _ = self.with_mux(|mux| mux.reset(self.id, code));
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        state.wakers.remove(&self.id);
        let mut gone = false;
        if let Some(session) = &mut state.established {
            session.mux.release(self.id);
            gone = session.mux.stamps(self.id).is_none();
        }
        if gone {
            // The stream ended without trailers. Its abort handle would keep the task's memory.
            state.calls.remove(&self.id);
        }
        self.session.react(&mut state);
    }
}
