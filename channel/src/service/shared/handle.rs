//! One stream of a session, as a call holds it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_export::clock;
use baton_mux::{Mux, Received, Stamps, StreamId, TimingsDraft, code};
use baton_proto::channel::{Head, Metadata};
use baton_trace::call_end::CallEndCell;
use baton_trace::clock::ClockOffset;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::super::error::{SessionError, reset_status, stream_status};
use super::super::record::ServerDraft;
use super::{Shared, State};

/// One stream of a session, for the call that owns it. Dropping it releases the stream: an unfinished call is reset.
pub(crate) struct StreamHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) id: StreamId,
    /// Only of a stream that is served.
    pub(super) end: Option<CallEndCell>,
    pub(super) _slot: Option<OwnedSemaphorePermit>,
}

impl StreamHandle {
    pub(in crate::service) fn id(&self) -> StreamId {
        self.id
    }

    /// Why the call will have been cut short, for its handler.
    pub(in crate::service) fn end(&self) -> CallEndCell {
        self.end.clone().unwrap_or_default()
    }

    pub(in crate::service) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs `f` on the multiplexer and passes on what it caused.
    pub(in crate::service) fn with_mux<T>(&self, f: impl FnOnce(&mut Mux) -> T) -> Result<T, SessionError> {
        let mut state = self.shared.lock();
        if let Some(error) = state.ended() {
            return Err(error);
        }
        let result = match &mut state.established {
            Some(session) => f(&mut session.mux),
            None => return Err(SessionError::Closed),
        };
        self.shared.react(&mut state);
        Ok(result)
    }

    /// The next thing the peer sent; never [`Received::Pending`].
    pub(in crate::service) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Received, Status>> {
        let id = self.id;
        let mut state = self.shared.lock();
        if let Some(session) = &mut state.established {
            match session.mux.receive(id) {
                Received::Reset(code) if state.ending.is_none() => {
                    return Poll::Ready(Err(reset_status(code)));
                }
                Received::Pending | Received::Reset(_) => {}
                received => {
                    self.shared.react(&mut state);
                    return Poll::Ready(Ok(received));
                }
            }
        }
        self.wait(&mut state, cx)
    }

    /// The peer's `Head`.
    pub(in crate::service) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Head, Status>> {
        let id = self.id;
        let mut state = self.shared.lock();
        if let Some(session) = &mut state.established {
            if let Some(head) = session.mux.take_head(id) {
                return Poll::Ready(Ok(head));
            }
            // Nothing but a reset can come before the head.
            if let Received::Reset(code) = session.mux.receive(id)
                && state.ending.is_none()
            {
                return Poll::Ready(Err(reset_status(code)));
            }
        }
        self.wait(&mut state, cx)
    }

    /// Nothing yet: why nothing will come, or a wake-up when something does.
    fn wait<T>(&self, state: &mut State, cx: &Context<'_>) -> Poll<Result<T, Status>> {
        if let Some(error) = state.ended() {
            return Poll::Ready(Err(error.into_status()));
        }
        state.wakers.entry(self.id).or_default().receive = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until the stream takes more.
    pub(in crate::service) async fn room(&self) -> Result<(), Status> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
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

    /// Queues the end of a response; `draft` becomes the server's record once it is with the link.
    pub(in crate::service) fn send_trailers(
        &self,
        metadata: Vec<Metadata>,
        timings: Option<TimingsDraft>,
        draft: Option<Box<ServerDraft>>,
    ) -> Result<(), Status> {
        if let Some(call) = self.shared.lock().calls.get_mut(&self.id) {
            call.draft = draft;
        }
        self.with_mux(|mux| mux.send_trailers(self.id, metadata, timings))
            .map_err(SessionError::into_status)?
            .map_err(stream_status)
    }

    /// What happened to the stream's frames so far, and the clocks' offset.
    pub(in crate::service) fn measured(&self) -> (Stamps, Option<ClockOffset>) {
        let state = self.shared.lock();
        let Some(session) = &state.established else {
            return Default::default();
        };
        let stamps = session.mux.stamps(self.id).cloned().unwrap_or_default();
        (stamps, session.mux.clock_offset())
    }

    /// Why a stream was cut short: the reason of its own end, though its session has ended since, as that of a client that says why it gives up
    /// and leaves.
    pub(in crate::service) fn cut_short(&self) -> Status {
        let mut state = self.shared.lock();
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

    /// Ends the stream early.
    pub(in crate::service) fn reset(&self, code: u32) {
        // A session that has ended has no stream to reset.
        let _ = self.with_mux(|mux| mux.reset(self.id, code));
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.wakers.remove(&self.id);
        let mut gone = false;
        if let Some(session) = &mut state.established {
            session.mux.release(self.id);
            gone = session.mux.stamps(self.id).is_none();
        }
        if gone {
            // It ended without trailers; a task's handle holds the task's memory.
            state.calls.remove(&self.id);
        }
        self.shared.react(&mut state);
    }
}
