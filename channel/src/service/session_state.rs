//! One session's state behind one lock: Noise transport, multiplexer, wakers.
//!
//! Calls queue frames in the multiplexer and wake the writer. The reader passes received messages to the multiplexer
//! and wakes the calls that they concern. The lock is held for short computations only, never across an await.
//!
//! * here: the locked state, received messages, events of the multiplexer, and the timer;
//! * [`ends`]: how a session ends;
//! * [`handle`]: a call's handle on one stream.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use baton_export::clock;
use baton_mux::{Event, RelayStamp, StreamError, StreamId, code};
use baton_proto::channel::{Head, go_away};
use baton_proto::limits::MAX_STREAMS;
use baton_proto::{Epoch, Features};
use baton_trace::call_end::{CallEnd, CallEndCell};
use baton_trace::clock::ClockSample;
use baton_trace::recorder::Recorder;
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::error::SessionError;
use super::established::Established;
use super::record::ServerDraft;

mod ends;
mod handle;

pub(super) use ends::Ending;
pub(crate) use handle::StreamHandle;

/// A session, shared by its reader, its writer, its timer and every call on it.
pub(crate) struct SessionState {
    state: Mutex<LockedState>,
    /// Notified when the next deadline moves closer.
    timer: Notify,
    /// Notifies the reader that the session ends or that its writer is lost.
    ending: Notify,
    /// Notified when the first transport message decrypts. The server's half-open limit waits for it.
    confirmed: Notify,
    /// Closed when the writer is dropped: HTTP/2 has taken everything, or has lost the stream.
    flushed: Semaphore,
    /// Closed when the reader has ended.
    left: Semaphore,
    /// One permit per stream that this end opens.
    slots: Arc<Semaphore>,
    recorder: Recorder,
}

/// The state that the lock guards.
pub(crate) struct LockedState {
    /// Handshake messages, sent before all transport messages.
    pub(super) handshake: VecDeque<HandshakeFrame>,
    pub(super) established: Option<Established>,
    /// Woken when there is something to send.
    pub(super) writer: Option<Waker>,
    pub(super) ending: Option<Ending>,
    /// The reason of the peer's `GoAway` that leaves open calls to be answered.
    peer_go_away: Option<go_away::Reason>,
    /// This end has sent `GoAway`, and ends the session once its open calls are answered.
    is_draining: bool,
    /// The writer was dropped before the session ended: nothing can be sent.
    is_writer_lost: bool,
    /// Number of calls that the end of the session cut short; server only.
    cut_calls: usize,
    wakers: HashMap<StreamId, Wakers>,
    /// Streams that the peer opened and that no task serves yet.
    opened: VecDeque<StreamId>,
    calls: HashMap<StreamId, ServedCall>,
    /// The deadline that the timer sleeps for.
    armed: Option<Instant>,
    is_confirmed: bool,
}

/// A frame that is sent before the session's keys exist.
pub(super) enum HandshakeFrame {
    /// Noise message 1 or 2.
    Noise(Bytes),
    /// This end's version, in place of message 2.
    Version,
}

#[derive(Default)]
struct Wakers {
    receive: Option<Waker>,
    send: Option<Waker>,
}

/// A call that this end serves.
#[derive(Default)]
struct ServedCall {
    /// The task that serves it, once spawned.
    task: Option<AbortHandle>,
    /// The server's record, completed when the writer has sealed the trailers.
    draft: Option<Box<ServerDraft>>,
    /// Tells the handler and its process why the call was cut short, and what its peer has consumed.
    end: CallEndCell,
}

impl SessionState {
    /// Creates a session before its handshake.
    pub(crate) fn new(recorder: Recorder) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(LockedState {
                handshake: VecDeque::new(),
                established: None,
                writer: None,
                ending: None,
                peer_go_away: None,
                is_draining: false,
                is_writer_lost: false,
                cut_calls: 0,
                wakers: HashMap::new(),
                opened: VecDeque::new(),
                calls: HashMap::new(),
                armed: None,
                is_confirmed: false,
            }),
            timer: Notify::new(),
            ending: Notify::new(),
            confirmed: Notify::new(),
            flushed: Semaphore::new(0),
            left: Semaphore::new(0),
            slots: Arc::new(Semaphore::new(MAX_STREAMS)),
            recorder,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LockedState> {
        // A panic under the lock would be a bug here; the state is still consistent enough to close the session.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Queues a handshake message.
    pub(crate) fn send_handshake(&self, message: Bytes) {
        self.send_before_keys(HandshakeFrame::Noise(message));
    }

    /// Queues this end's version in place of message 2, then ends the session.
    pub(crate) fn refuse_version(&self) {
        self.send_before_keys(HandshakeFrame::Version);
        self.finish(SessionError::Closed);
    }

    fn send_before_keys(&self, frame: HandshakeFrame) {
        let mut state = self.lock();
        state.handshake.push_back(frame);
        state.wake_writer();
    }

    /// Stores the established session when the handshake is complete.
    pub(crate) fn establish(&self, mut session: Established, sample: Option<ClockSample>) {
        if let Some(sample) = sample {
            session.mux.add_clock_sample(sample);
        }
        // The client's first ping is due immediately.
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

    /// The epoch from the server's handshake message.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.lock()
            .established
            .as_ref()
            .map(|established| established.epoch)
    }

    /// The features that both ends have.
    pub(crate) fn features(&self) -> Features {
        self.lock()
            .established
            .as_ref()
            .map_or_else(Features::default, |established| established.mux.features())
    }

    /// Whether a new call may be opened.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        state.ending.is_none()
            && !state.is_writer_lost
            && state
                .established
                .as_ref()
                .is_some_and(|session| !session.mux.is_going_away())
    }

    /// Whether a transport message of the peer has decrypted, which proves that message 1 was not replayed.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.lock().is_confirmed
    }

    /// Waits for the first transport message of the peer, or for the session's end. One waiter.
    pub(crate) async fn confirmed(&self) {
        self.confirmed.notified().await;
    }

    /// Decrypts and handles one sealed message. `false`: the session has ended.
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
                session.handle(clock::anchor(), received, relay, plaintext)
            }),
        };
        if is_opened && !state.is_confirmed {
            // Any message that decrypts confirms the peer, whatever its content.
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

    /// Wakes the timer when the next deadline is earlier than the one it sleeps for.
    pub(super) fn rearm(&self, state: &LockedState) {
        let next = state.established.as_ref().map(Established::next_timeout);
        if state.armed.is_none() || next < state.armed {
            self.timer.notify_one();
        }
    }

    /// Takes the oldest stream that the peer opened and that no task serves yet.
    pub(super) fn next_opened(self: &Arc<Self>) -> Option<StreamHandle> {
        let mut state = self.lock();
        let id = state.opened.pop_front()?;
        // A reset that arrives before the task is registered must find the call.
        let call = ServedCall {
            end: CallEndCell::counting(),
            ..ServedCall::default()
        };
        let end = call.end.clone();
        state.calls.insert(id, call);
        Some(StreamHandle {
            session: Arc::clone(self),
            id,
            end: Some(end),
            _slot: None,
        })
    }

    /// Opens a stream. Waits while [`MAX_STREAMS`] are open; fails if the session is ending. Cancellation safe: no
    /// stream is opened before it returns.
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
            session: Arc::clone(self),
            id,
            end: None,
            _slot: Some(slot),
        })
    }

    /// Registers the task that serves a stream, so that a reset aborts it. If the stream has ended in the meantime, the
    /// task is aborted now.
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

    /// Handles the multiplexer's events, and wakes the writer if there is something to send.
    pub(super) fn react(&self, state: &mut LockedState) {
        self.pass_on_events(state);
        if state
            .established
            .as_ref()
            .is_some_and(Established::wants_transmit)
        {
            state.wake_writer();
        }
    }

    /// Handles the multiplexer's events without waking the writer, which is the caller here.
    pub(super) fn pass_on_events(&self, state: &mut LockedState) {
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
                        let reset = state
                            .established
                            .as_ref()
                            .and_then(|session| session.mux.reset_code(id));
                        call.cut(match reset {
                            Some(code::DEADLINE_EXCEEDED) => CallEnd::Deadline,
                            _ => CallEnd::Reset,
                        });
                    }
                }
                Event::Answered(id, sent) => {
                    if let Some(draft) = state.calls.remove(&id).and_then(|call| call.draft) {
                        draft.complete(&sent);
                    }
                }
                Event::Consumed(id, bytes) => {
                    if let Some(call) = state.calls.get(&id) {
                        call.end.set_consumed(bytes);
                    }
                }
                Event::GoAway(reason) => {
                    let detail = state.established.as_ref().map(|session| session.mux.goodbye());
                    match SessionError::from_go_away(reason, detail.unwrap_or_default()) {
                        Some(error) => self.end_after_go_away(state, error),
                        // Open calls may still be answered; no new call is opened.
                        None => {
                            state.peer_go_away = Some(reason);
                            self.slots.close();
                        }
                    }
                }
            }
        }
        if state.ending.is_none() && state.is_idle() {
            self.end_if_finished(state);
        }
    }
}

impl ServedCall {
    /// Stores the reason before the handler is dropped, then aborts its task.
    fn cut(self, end: CallEnd) {
        self.end.set(end);
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

impl LockedState {
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
