//! One session's state behind one lock: Noise transport, multiplexer, wakers.
//!
//! Whoever has something to send queues it in the multiplexer and wakes the writer; the reader hands messages in and
//! wakes whoever they concern. The lock is held for short computations only, never across an await.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use baton_proto::Epoch;
use baton_proto::channel::{Head, Metadata, go_away};
use baton_proto::limits::MAX_STREAMS;
use baton_trace::clock::{self, Offset, Sample};
use baton_trace::record::Anchor;
use baton_trace::recorder::Recorder;
use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tonic::Status;

use super::error::{SessionError, reset_status, stream_status};
use super::established::Established;
use super::record::ServerDraft;
use crate::limits;
use crate::mux::{Event, Mux, Received, RelayStamp, Stamps, StreamError, StreamId, TimingsDraft, code};

/// A session, shared by its reader, its writer, its timer and every call on it.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The next deadline moved closer.
    timer: Notify,
    /// The session is ending; for the reader.
    ending: Notify,
    /// The first transport message opened; for the server's half-open limit.
    confirmed: Notify,
    /// The writer has nothing more to send, for good.
    flushed: Notify,
    /// One permit a stream.
    slots: Arc<Semaphore>,
    recorder: Recorder,
}

/// What the lock guards.
pub(crate) struct State {
    /// Handshake messages, sent before anything else.
    pub(super) handshake: VecDeque<Bytes>,
    pub(super) established: Option<Established>,
    /// Woken when there is something to send.
    pub(super) writer: Option<Waker>,
    pub(super) ending: Option<Ending>,
    /// The peer said that it would end the session.
    goodbye: Option<go_away::Reason>,
    /// This end did, and does once its calls are answered.
    is_draining: bool,
    /// Calls that the session's end cut short, on the server.
    cut: usize,
    wakers: HashMap<StreamId, Wakers>,
    /// Opened by the peer, not yet served.
    opened: VecDeque<StreamId>,
    calls: HashMap<StreamId, ServedCall>,
    armed: Option<Instant>,
    is_confirmed: bool,
}

/// How the session comes to its end.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// Send what is queued, then end.
    Flush(SessionError),
    /// At once.
    Now(SessionError),
}

#[derive(Default)]
struct Wakers {
    receive: Option<Waker>,
    send: Option<Waker>,
}

/// A call being served here.
#[derive(Default)]
struct ServedCall {
    /// Present once it has one.
    task: Option<AbortHandle>,
    /// Completed when the trailers are with the link.
    draft: Option<Box<ServerDraft>>,
}

impl Shared {
    /// A session that has not shaken hands yet.
    pub(crate) fn new(recorder: Recorder) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                handshake: VecDeque::new(),
                established: None,
                writer: None,
                ending: None,
                goodbye: None,
                is_draining: false,
                cut: 0,
                wakers: HashMap::new(),
                opened: VecDeque::new(),
                calls: HashMap::new(),
                armed: None,
                is_confirmed: false,
            }),
            timer: Notify::new(),
            ending: Notify::new(),
            confirmed: Notify::new(),
            flushed: Notify::new(),
            slots: Arc::new(Semaphore::new(MAX_STREAMS)),
            recorder,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held would be a bug of ours; the state is still consistent enough to close.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Queues a handshake message.
    pub(crate) fn send_handshake(&self, message: Bytes) {
        let mut state = self.lock();
        state.handshake.push_back(message);
        state.wake_writer();
    }

    /// The handshake is complete.
    pub(crate) fn establish(&self, mut session: Established, sample: Option<Sample>) {
        if let Some(sample) = sample {
            session.mux.add_clock_sample(sample);
        }
        // The client's first ping is due at once.
        let silent = session.mux.handle_timeout(clock::now());
        debug_assert!(silent.is_ok(), "a new session is not silent");
        let mut state = self.lock();
        state.established = Some(session);
        state.wake_writer();
    }

    /// How often the session's keys have been renewed.
    pub(crate) fn renewals(&self) -> u64 {
        self.lock().established.as_ref().map_or(0, Established::renewals)
    }

    /// The epoch that the server told in the handshake.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.lock()
            .established
            .as_ref()
            .map(|established| established.epoch)
    }

    /// Why the session has ended, if it has.
    pub(crate) fn ended(&self) -> Option<SessionError> {
        self.lock().ended()
    }

    /// Calls that it had not answered when it ended; server only.
    pub(crate) fn cut_calls(&self) -> usize {
        self.lock().cut
    }

    /// Whether a new call may be opened.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        state.ending.is_none()
            && state
                .established
                .as_ref()
                .is_some_and(|session| !session.mux.is_going_away())
    }

    /// Whether the session is ending but still sends what is queued.
    pub(super) fn is_flushing(&self) -> bool {
        matches!(self.lock().ending, Some(Ending::Flush(_)))
    }

    /// Whether a transport message of the peer has opened: it is there, and no old message 1 repeated.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.lock().is_confirmed
    }

    /// Waits for the first transport message of the peer, or for the session's end. One waiter.
    pub(crate) async fn confirmed(&self) {
        self.confirmed.notified().await;
    }

    /// Waits until the session is told to end. One waiter.
    pub(super) async fn ending(&self) {
        self.ending.notified().await;
    }

    /// Ends the session at once. Calls fail with `error`.
    pub(crate) fn close(&self, error: SessionError) {
        self.end(&mut self.lock(), Ending::Now(error));
    }

    /// Sends what is queued, then ends.
    pub(crate) fn finish(&self, error: SessionError) {
        self.end(&mut self.lock(), Ending::Flush(error));
    }

    /// Waits until a session that is ending has sent what was queued, or has ended, at most
    /// [`limits::CLOSE_TIMEOUT`]. One waiter.
    pub(crate) async fn flushed(&self) {
        let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, self.flushed.notified()).await;
    }

    /// Nothing more will be sent.
    pub(super) fn writer_is_done(&self) {
        self.flushed.notify_one();
    }

    /// Says goodbye, sends what is queued, then ends.
    pub(crate) fn go_away(&self, reason: go_away::Reason, detail: &str, error: SessionError) {
        self.say_goodbye(&mut self.lock(), reason, detail, error);
    }

    /// Says that this end shuts down, takes no further call, and ends the session once those that are open are answered.
    pub(crate) fn drain(&self) {
        let mut state = self.lock();
        if state.ending.is_some() {
            return;
        }
        if let Some(session) = &mut state.established {
            session.mux.go_away(go_away::Reason::Shutdown, "");
        }
        state.is_draining = true;
        self.react(&mut state);
    }

    fn say_goodbye(&self, state: &mut State, reason: go_away::Reason, detail: &str, error: SessionError) {
        if state.ending.is_some() {
            // What it was told first counts.
            return;
        }
        if let Some(session) = &mut state.established {
            session.mux.go_away(reason, detail);
        }
        self.end(state, Ending::Flush(error));
    }

    /// Ends the session for `error`. A client that has been taken off the allow-list is told, and so is a peer that broke the
    /// protocol or a limit, if it still reads; then nothing else that is queued leaves.
    fn fail(&self, state: &mut State, error: SessionError) {
        if error == SessionError::Revoked {
            return self.say_goodbye(state, go_away::Reason::NotAllowed, "", error);
        }
        let is_told = match (&error, &mut state.established) {
            (SessionError::Mux(error), Some(session)) => session.mux.give_up(error),
            _ => false,
        };
        let ending = if is_told { Ending::Flush } else { Ending::Now };
        self.end(state, ending(error));
    }

    /// The client's key is no longer on the allow-list: says so, and ends the session.
    pub(crate) fn revoke(&self) {
        self.fail(&mut self.lock(), SessionError::Revoked);
    }

    /// The first reason counts; a flush may still be cut short.
    fn end(&self, state: &mut State, ending: Ending) {
        let ending = match (state.goodbye, ending) {
            // The peer's own word, which is authenticated, rather than the relay's.
            (Some(reason), Ending::Now(SessionError::Relay(_))) => Ending::Now(SessionError::GoAway(reason)),
            (_, ending) => ending,
        };
        match (&state.ending, ending) {
            (None, ending) => state.ending = Some(ending),
            (Some(Ending::Flush(error)), Ending::Now(_)) => state.ending = Some(Ending::Now(error.clone())),
            (Some(_), _) => return,
        }
        if let Some(session) = &mut state.established {
            // What is queued leaves without waiting for answers: nobody reads them from now on.
            session.mux.stop_pacing();
        }
        state.cut += state.calls.len();
        // Who waits for a place in this session waits for nothing.
        self.slots.close();
        for call in in_order(&mut state.calls) {
            call.abort();
        }
        for wakers in in_order(&mut state.wakers) {
            [wakers.receive, wakers.send]
                .into_iter()
                .flatten()
                .for_each(Waker::wake);
        }
        state.wake_writer();
        self.timer.notify_one();
        self.ending.notify_one();
        // A client that has left is not half open.
        self.confirmed.notify_one();
    }

    /// Takes in one sealed message. `false`: the session has ended.
    pub(super) fn receive(&self, received: Instant, relay: RelayStamp, message: &[u8]) -> bool {
        let mut state = self.lock();
        if state.ending.is_some() {
            return false;
        }
        let mut is_opened = false;
        let outcome = match &mut state.established {
            None => return false,
            Some(session) => session.open(message).and_then(|plaintext| {
                is_opened = true;
                session.handle(Anchor::now(), received, relay, plaintext)
            }),
        };
        if is_opened && !state.is_confirmed {
            // Whatever it says: it is there.
            state.is_confirmed = true;
            self.confirmed.notify_one();
        }
        if let Err(error) = outcome {
            self.fail(&mut state, error);
            return false;
        }
        self.react(&mut state);
        self.rearm(&state);
        state.ending.is_none()
    }

    /// Wakes the timer when a deadline has come closer than it sleeps for.
    pub(super) fn rearm(&self, state: &State) {
        let next = state.established.as_ref().map(Established::next_timeout);
        if state.armed.is_none() || next < state.armed {
            self.timer.notify_one();
        }
    }

    /// A stream that the peer opened and nobody serves yet.
    pub(super) fn next_opened(self: &Arc<Self>) -> Option<StreamHandle> {
        let mut state = self.lock();
        let id = state.opened.pop_front()?;
        // From now on a reset finds it, whether it has its task yet or not.
        state.calls.insert(id, ServedCall::default());
        Some(StreamHandle {
            shared: Arc::clone(self),
            id,
            _slot: None,
        })
    }

    /// Opens a stream, waiting while [`MAX_STREAMS`] are open, unless the session is ending. Cancellation safe: nothing is opened
    /// before it returns.
    pub(super) async fn open(
        self: &Arc<Self>,
        head: &Head,
        deadline: Option<Instant>,
    ) -> Result<StreamHandle, StreamError> {
        let slot = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(|_| StreamError::GoingAway)?;
        let mut state = self.lock();
        let state = &mut *state;
        let session = match (&mut state.established, &state.ending) {
            (Some(session), None) => session,
            _ => return Err(StreamError::GoingAway),
        };
        let id = session.mux.open(clock::now(), head, deadline)?;
        state.wake_writer();
        self.rearm(state);
        Ok(StreamHandle {
            shared: Arc::clone(self),
            id,
            _slot: Some(slot),
        })
    }

    /// Remembers the task that serves a stream, so that a reset stops it. One that has ended meanwhile is stopped now.
    pub(super) fn serving(&self, id: StreamId, task: AbortHandle) {
        match self.lock().calls.get_mut(&id) {
            Some(call) => call.task = Some(task),
            None => task.abort(),
        }
    }

    /// Fires deadlines and pings until the session ends.
    pub(crate) async fn run_timer(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                if matches!(state.ending, Some(Ending::Now(_))) {
                    return;
                }
                let Some(session) = &mut state.established else {
                    return;
                };
                if let Err(error) = session.handle_timeout(clock::now()) {
                    self.fail(&mut state, error);
                    return;
                }
                let next = session.next_timeout();
                state.armed = Some(next);
                self.react(&mut state);
                next
            };
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.timer.notified() => {}
            }
        }
    }

    /// Passes the multiplexer's events on and wakes whoever they concern.
    pub(super) fn react(&self, state: &mut State) {
        self.pass_on_events(state);
        if state
            .established
            .as_ref()
            .is_some_and(Established::wants_transmit)
        {
            state.wake_writer();
        }
    }

    /// The same for the writer, which need not wake itself.
    pub(super) fn pass_on_events(&self, state: &mut State) {
        while let Some(event) = state
            .established
            .as_mut()
            .and_then(|session| session.mux.poll_event())
        {
            match event {
                Event::Opened(id) => state.opened.push_back(id),
                Event::Readable(id) => state.wake_receiver(id),
                Event::Writable(id) => state.wake_sender(id),
                Event::Reset(id) => {
                    state.wake_receiver(id);
                    state.wake_sender(id);
                    if let Some(call) = state.calls.remove(&id) {
                        call.abort();
                    }
                }
                Event::Answered(id, sent) => {
                    if let Some(draft) = state.calls.remove(&id).and_then(|call| call.draft) {
                        draft.complete(&sent);
                    }
                }
                Event::GoAway(go_away::Reason::NotAllowed) => {
                    self.end(state, Ending::Now(SessionError::NotAllowed))
                }
                Event::GoAway(go_away::Reason::AllowListUnusable) => {
                    self.end(state, Ending::Now(SessionError::AllowListUnusable))
                }
                Event::GoAway(reason @ (go_away::Reason::ProtocolError | go_away::Reason::LimitExceeded)) => {
                    let said = state
                        .established
                        .as_ref()
                        .map(|session| session.mux.goodbye().to_owned());
                    let said = said.unwrap_or_default();
                    self.end(state, Ending::Now(SessionError::Rejected { reason, said }));
                }
                // Open calls may still be answered; no new one is opened.
                Event::GoAway(reason) => {
                    state.goodbye = Some(reason);
                    self.slots.close();
                }
            }
        }
        if state.ending.is_none() && state.is_idle() {
            self.end_if_over(state);
        }
    }

    /// Ends a session without a call that takes no other.
    fn end_if_over(&self, state: &mut State) {
        let is_used_up = |session: &Established| session.mux.is_used_up();
        if let Some(reason) = state.goodbye {
            self.end(state, Ending::Now(SessionError::GoAway(reason)));
        } else if state.is_draining {
            self.end(
                state,
                Ending::Flush(SessionError::GoAway(go_away::Reason::Shutdown)),
            );
        } else if state.established.as_ref().is_some_and(is_used_up) {
            self.end(state, Ending::Flush(SessionError::Closed));
        }
    }
}

/// Takes out what belongs to streams, oldest stream first: who hears of an end first must not depend on a hash, so that a
/// simulation can be replayed.
fn in_order<T>(of_streams: &mut HashMap<StreamId, T>) -> impl Iterator<Item = T> + use<T> {
    let mut taken: Vec<_> = of_streams.drain().collect();
    taken.sort_unstable_by_key(|(id, _)| *id);
    taken.into_iter().map(|(_, of_stream)| of_stream)
}

impl ServedCall {
    fn abort(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

impl State {
    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    fn wake_receiver(&mut self, id: StreamId) {
        if let Some(waker) = self.wakers.get_mut(&id).and_then(|wakers| wakers.receive.take()) {
            waker.wake();
        }
    }

    fn wake_sender(&mut self, id: StreamId) {
        if let Some(waker) = self.wakers.get_mut(&id).and_then(|wakers| wakers.send.take()) {
            waker.wake();
        }
    }

    fn is_idle(&self) -> bool {
        self.established
            .as_ref()
            .is_none_or(|session| session.mux.is_idle())
    }

    fn ended(&self) -> Option<SessionError> {
        match &self.ending {
            Some(Ending::Flush(error) | Ending::Now(error)) => Some(error.clone()),
            None => None,
        }
    }
}

/// One stream of a session, for the call that owns it. Dropping it releases the stream: an unfinished call is reset.
pub(crate) struct StreamHandle {
    shared: Arc<Shared>,
    id: StreamId,
    _slot: Option<OwnedSemaphorePermit>,
}

impl StreamHandle {
    pub(super) fn id(&self) -> StreamId {
        self.id
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs `f` on the multiplexer and passes on what it caused.
    pub(super) fn with_mux<T>(&self, f: impl FnOnce(&mut Mux) -> T) -> Result<T, SessionError> {
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
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Received, Status>> {
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
        if let Some(error) = state.ended() {
            return Poll::Ready(Err(error.into_status()));
        }
        state.wakers.entry(id).or_default().receive = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The peer's `Head`.
    pub(super) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Head, Status>> {
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
        if let Some(error) = state.ended() {
            return Poll::Ready(Err(error.into_status()));
        }
        state.wakers.entry(id).or_default().receive = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until the stream takes more.
    pub(super) async fn room(&self) -> Result<(), Status> {
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

    pub(super) fn send_head(&self, head: &Head) -> Result<(), Status> {
        self.with_mux(|mux| mux.send_head(self.id, head))
            .map_err(SessionError::into_status)?
            .map_err(stream_status)
    }

    pub(super) fn send_data(&self, data: Bytes, end: bool) -> Result<(), Status> {
        self.with_mux(|mux| mux.send_data(clock::now(), self.id, data, end))
            .map_err(SessionError::into_status)?
            .map_err(stream_status)
    }

    /// Queues the end of a response; `draft` becomes the server's record once it is with the link.
    pub(super) fn send_trailers(
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
    pub(super) fn measured(&self) -> (Stamps, Option<Offset>) {
        let state = self.shared.lock();
        let Some(session) = &state.established else {
            return Default::default();
        };
        let stamps = session.mux.stamps(self.id).cloned().unwrap_or_default();
        (stamps, session.mux.clock_offset())
    }

    /// Why a stream was cut short.
    pub(super) fn cut_short(&self) -> Status {
        match self.with_mux(|mux| mux.receive(self.id)) {
            Ok(Received::Reset(code)) => reset_status(code),
            Ok(_) => reset_status(code::CANCELLED),
            Err(error) => error.into_status(),
        }
    }

    /// Ends the stream early.
    pub(super) fn reset(&self, code: u32) {
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
