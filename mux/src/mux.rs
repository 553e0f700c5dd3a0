//! One end of a session: its streams, session control and timers. `receive` handles received messages, `transmit`
//! builds the next message.

mod control;
mod receive;
mod transmit;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use baton_proto::Features;
use baton_proto::channel::{Head, Metadata, go_away};
use baton_proto::limits::{MAX_STREAMS, STREAM_WINDOW};
use baton_trace::clock::{ClockOffset, ClockOffsetEstimator};
use bytes::Bytes;

use self::control::Control;
use crate::error::{MuxError, StreamError};
use crate::event::{Event, Received, code};
use crate::frame::StreamId;
use crate::limits;
use crate::pace::Pace;
use crate::schedule::Schedule;
use crate::stamps::Stamps;
use crate::stream::{Item, Role, Stamped, Stream, TimingsDraft};

pub use transmit::{rpc_stage, terminal_stages};

/// One end of a multiplexed session.
pub struct Mux {
    role: Role,
    streams: HashMap<StreamId, Stream>,
    /// Client: the next id to use. Server: the lowest id that the peer may still use. Wider than an id, so that it can
    /// be one more than the greatest id.
    next_id: u64,
    schedule: Schedule,
    pace: Pace,
    own_features: Features,
    /// The peer's version and features, once it has announced them.
    peer: Option<Peer>,
    /// The peer's receive window for a stream that this end opens.
    peer_window: u32,
    /// Server: when the session began, until the client's first message arrives.
    awaiting_client_since: Option<Instant>,
    control: Control,
    events: VecDeque<Event>,
    deadlines: BTreeSet<(Instant, StreamId)>,
    /// Number of the message under construction; shows whether a frame is in that message.
    message: u64,
    /// Streams with a stamped frame in the message under construction.
    stamped: Vec<(StreamId, Stamped)>,
    /// Streams whose `Trailers` are in the message under construction.
    answered: Vec<StreamId>,
    clock: ClockOffsetEstimator,
    liveness: Liveness,
    going_away: bool,
    /// This end has queued a `GoAway`: it accepts no further stream.
    takes_no_more: bool,
    /// The detail of the peer's `GoAway`. Authenticated, but not trusted.
    goodbye: String,
    /// See [`has_reset`](Self::has_reset).
    has_reset: bool,
    /// This end sends nothing more, except a waiting `GoAway`.
    gave_up: bool,
    /// See [`end_session`](Self::end_session).
    is_ending: bool,
}

/// What a peer announced in the handshake.
#[derive(Debug, Clone, Copy)]
struct Peer {
    version: u32,
    /// Features that both ends announced.
    features: Features,
}

struct Liveness {
    last_heard: Instant,
    next_ping: Instant,
    next_ping_id: u64,
    /// The unanswered liveness `Ping`. The `Ping`s of bulk are not counted here.
    outstanding: Option<u64>,
}

impl Mux {
    /// A new session, established at `now`.
    pub fn new(role: Role, now: Instant) -> Self {
        Self {
            role,
            streams: HashMap::new(),
            next_id: 1,
            schedule: Schedule::default(),
            pace: Pace::new(now),
            own_features: Features::SUPPORTED,
            peer: None,
            peer_window: STREAM_WINDOW,
            awaiting_client_since: (role == Role::Server).then_some(now),
            control: Control {
                hello: role == Role::Client,
                ..Control::default()
            },
            events: VecDeque::new(),
            deadlines: BTreeSet::new(),
            message: 0,
            stamped: Vec::new(),
            answered: Vec::new(),
            clock: ClockOffsetEstimator::default(),
            // The client sends its first `Ping` at once: it proves to the server that the client holds the new key,
            // because message 1 may be a replay. It is also the second clock sample.
            liveness: Liveness {
                last_heard: now,
                next_ping: now,
                next_ping_id: 1,
                outstanding: None,
            },
            going_away: false,
            takes_no_more: false,
            goodbye: String::new(),
            has_reset: false,
            gave_up: false,
            is_ending: false,
        }
    }

    /// Replaces the features that this end announces: an exec-server's depend on its services.
    pub fn set_own_features(&mut self, features: Features) {
        self.own_features = features;
    }

    /// Stores the version and features that the peer announced: an exec-server in message 2, a client in its `Hello`.
    pub fn set_peer(&mut self, version: u32, features: Features) {
        self.peer = Some(Peer {
            version,
            features: features.common(self.own_features),
        });
    }

    /// The newest protocol version that the peer speaks; `None` until it has announced it.
    pub fn peer_version(&self) -> Option<u32> {
        self.peer.map(|peer| peer.version)
    }

    /// The features of this session: those that both ends announced.
    pub fn features(&self) -> Features {
        self.peer.map(|peer| peer.features).unwrap_or_default()
    }

    /// Whether the next message of this end begins with its `Hello`, so that no message may be sent before it.
    pub fn owes_hello(&self) -> bool {
        self.control.hello
    }

    /// Whether the next message of the peer must begin with its `Hello`.
    fn awaits_hello(&self) -> bool {
        self.role == Role::Server && self.peer.is_none()
    }

    /// Sets the window that the server announced for streams of this client, in bytes.
    pub fn set_peer_window(&mut self, window: u32) {
        self.peer_window = announced_window(window);
    }

    /// Opens a stream and queues its `Head`, whose `window` is the receive window of this client. Client only.
    pub fn open(
        &mut self,
        now: Instant,
        head: &Head,
        deadline: Option<Instant>,
    ) -> Result<StreamId, StreamError> {
        debug_assert_eq!(self.role, Role::Client);
        if self.going_away {
            return Err(StreamError::GoingAway);
        }
        let id = StreamId::try_from(self.next_id).map_err(|_| StreamError::GoingAway)?;
        if self.streams.len() >= MAX_STREAMS {
            return Err(StreamError::TooMany);
        }
        let item = Item::head(head)?;
        self.next_id += 1;
        let mut stream = Stream::new(deadline, self.peer_window, announced_window(head.window));
        stream.stamps.head_sent.queued = Some(now);
        self.streams.insert(id, stream);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
        self.enqueue(id, item);
        Ok(id)
    }

    /// Queues the `Head` of a response.
    pub fn send_head(&mut self, id: StreamId, head: &Head) -> Result<(), StreamError> {
        let item = Item::head(head)?;
        self.sendable(id)?;
        self.enqueue(id, item);
        Ok(())
    }

    /// Whether [`send_data`](Self::send_data) should be called now; if not, [`Event::Writable`] follows.
    pub fn has_room(&mut self, id: StreamId) -> Result<bool, StreamError> {
        let stream = self.sendable(id)?;
        let room = stream.queued_bytes < limits::SEND_BUFFER;
        stream.wants_room = !room;
        Ok(room)
    }

    /// Queues bytes. The caller asks [`has_room`](Self::has_room) first, so that a stream holds at most
    /// [`limits::SEND_BUFFER`] and one chunk. `end` half-closes the stream.
    pub fn send_data(
        &mut self,
        now: Instant,
        id: StreamId,
        data: Bytes,
        end: bool,
    ) -> Result<(), StreamError> {
        let stream = self.sendable(id)?;
        stream.stamps.last_data_sent.queued = Some(now);
        stream.queued_bytes += data.len();
        stream.send_closed = end;
        self.enqueue(id, Item::Data { data, end });
        Ok(())
    }

    /// Queues the end of a response. `timings` are completed with the stamps of the last data frame when the trailers
    /// are sent.
    pub fn send_trailers(
        &mut self,
        id: StreamId,
        metadata: Vec<Metadata>,
        timings: Option<TimingsDraft>,
    ) -> Result<(), StreamError> {
        let stream = self.sendable(id)?;
        stream.send_closed = true;
        self.enqueue(id, Item::Trailers { metadata, timings });
        Ok(())
    }

    /// The peer's `Head`; `None` if it was taken or has not arrived.
    pub fn take_head(&mut self, id: StreamId) -> Option<Head> {
        self.streams.get_mut(&id)?.receive.head.take()
    }

    /// The next received item of the stream. Taking data grants its credit to the peer again.
    pub fn receive(&mut self, id: StreamId) -> Received {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Received::Reset(code::CANCELLED);
        };
        let receive = &mut stream.receive;
        if let Some(data) = receive.queue.pop_front() {
            receive.buffered -= data.len();
            receive.grant += data.len() as u32;
            if receive.grant >= limits::CREDIT_BATCH && !receive.closed {
                self.control.grant(id, receive);
            }
            return Received::Data(data);
        }
        if let Some(code) = receive.reset {
            return Received::Reset(code);
        }
        if let Some(trailers) = receive.trailers.take() {
            return Received::Trailers(trailers);
        }
        if receive.closed {
            Received::End
        } else {
            Received::Pending
        }
    }

    /// Whether the stream ended early, by either end or its deadline.
    pub fn is_reset(&self, id: StreamId) -> bool {
        self.streams
            .get(&id)
            .is_none_or(|stream| stream.receive.reset.is_some())
    }

    /// The gRPC status code that a stream ended early with, if it did.
    pub fn reset_code(&self, id: StreamId) -> Option<u32> {
        self.streams.get(&id)?.receive.reset
    }

    /// Whether this end has ended a stream early that its peer knew.
    pub fn has_reset(&self) -> bool {
        self.has_reset
    }

    /// The stream's stamps so far.
    pub fn stamps(&self, id: StreamId) -> Option<&Stamps> {
        self.streams.get(&id).map(|stream| &stream.stamps)
    }

    /// Ends a stream early, and drops everything queued on it.
    pub fn reset(&mut self, id: StreamId, code: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        // A stream whose Head was not sent needs no Reset: the peer does not know the stream.
        let known = self.role == Role::Server || stream.stamps.head_sent.taken.is_some();
        if known && stream.receive.reset.is_none() && !stream.is_finished(self.role) {
            self.control.resets.push_back((id, code));
            self.has_reset = true;
        }
        stream.abort(code);
        self.schedule.remove(id);
        self.clear_deadline(id);
    }

    /// The application no longer uses the stream. Queued frames are still sent. A response without trailers, or a
    /// request whose answer is not complete, is reset.
    pub fn release(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.released = true;
        let complete = match self.role {
            Role::Client => stream.receive.closed,
            Role::Server => stream.send_closed,
        };
        if !complete {
            let code = match (self.role, self.is_ending) {
                (Role::Server, true) => code::UNAVAILABLE,
                _ => code::CANCELLED,
            };
            self.reset(id, code);
        }
        self.collect(id);
    }

    /// Whether [`transmit`](Self::transmit) would have something to send.
    pub fn wants_transmit(&self) -> bool {
        if self.gave_up {
            return self.control.go_away.is_some();
        }
        let wants_probe = || self.pace.is_stuck() || self.pace.wants_lone_probe();
        let has_room = || self.pace.room() > 0 || self.pace.room_for_fresh() > 0 && self.schedule.has_fresh();
        !self.control.is_empty() || !self.schedule.is_empty() && (has_room() || wants_probe())
    }

    /// The session is ending, and this end reads no more `Pong`s, so the limit of bytes in flight no longer applies. A
    /// response that its handler cannot complete is reset with `UNAVAILABLE`, because the caller did not cancel it.
    pub fn end_session(&mut self) {
        self.pace.switch_off();
        self.is_ending = true;
    }

    /// Whether no stream is open.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether no further stream can be opened: the peer sent `GoAway`, or the stream numbers are used up.
    pub fn is_going_away(&self) -> bool {
        self.going_away || self.is_used_up()
    }

    /// Whether the last stream number was used; then a new session is needed.
    pub fn is_used_up(&self) -> bool {
        self.next_id > StreamId::MAX.into()
    }

    /// The detail of the peer's `GoAway`: safe to print, but not trusted.
    pub fn goodbye(&self) -> &str {
        &self.goodbye
    }

    /// Whether this end sends nothing more, except a waiting `GoAway`.
    pub fn has_given_up(&self) -> bool {
        self.gave_up
    }

    /// Ends the session: the next message is a `GoAway` with this reason, and the last one.
    pub fn give_up(&mut self, reason: go_away::Reason, detail: &str) {
        self.go_away(reason, detail);
        self.gave_up = true;
    }

    /// Ends the session after the peer's `GoAway`: nothing more is sent.
    pub fn fall_silent(&mut self) {
        self.control.go_away = None;
        self.gave_up = true;
    }

    /// For tests: marks all stream numbers but the last as used.
    #[cfg(any(test, feature = "fuzz"))]
    #[doc(hidden)]
    pub fn use_up_but_one(&mut self) {
        self.next_id = StreamId::MAX.into();
    }

    /// Queues a `GoAway`, and refuses further streams. Open streams continue.
    pub fn go_away(&mut self, reason: go_away::Reason, detail: &str) {
        self.takes_no_more = true;
        self.control.go_away = Some(baton_proto::channel::GoAway {
            reason: reason.into(),
            last_stream: StreamId::try_from(self.next_id - 1).unwrap_or(StreamId::MAX),
            detail: detail.into(),
        });
    }

    /// Adds a clock sample from another source: the handshake.
    pub fn add_clock_sample(&mut self, sample: baton_trace::clock::ClockSample) {
        self.clock.add(sample);
    }

    /// The peer's clock minus this end's clock.
    pub fn clock_offset(&self) -> Option<ClockOffset> {
        self.clock.offset()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    pub fn next_timeout(&self) -> Instant {
        let liveness = match self.role {
            Role::Client if self.liveness.outstanding.is_none() => self.liveness.next_ping,
            _ => self.liveness.last_heard + limits::IDLE_TIMEOUT,
        };
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let others = [deadline, self.pong_is_due_by()].into_iter().flatten();
        others.fold(liveness, Instant::min)
    }

    fn pong_is_due_by(&self) -> Option<Instant> {
        Some(self.pace.unanswered_since()? + limits::PONG_TIMEOUT)
    }

    /// Expires calls, queues the liveness `Ping`, and detects a silent peer.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), MuxError> {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            // Removed here, so that the loop ends even if the stream is missing.
            self.deadlines.pop_first();
            self.reset(id, code::DEADLINE_EXCEEDED);
            self.events.push_back(Event::Reset(id));
        }
        if now.saturating_duration_since(self.liveness.last_heard) >= limits::IDLE_TIMEOUT {
            return Err(MuxError::Silent);
        }
        if self.pong_is_due_by().is_some_and(|due| due <= now) {
            return Err(MuxError::Unanswered);
        }
        if self.role == Role::Client && self.liveness.outstanding.is_none() && now >= self.liveness.next_ping
        {
            let id = self.next_ping_id();
            self.liveness.outstanding = Some(id);
            self.liveness.next_ping = now + limits::PING_INTERVAL;
            self.control.ping = Some(id);
        }
        Ok(())
    }

    fn next_ping_id(&mut self) -> u64 {
        let id = self.liveness.next_ping_id;
        self.liveness.next_ping_id += 1;
        id
    }

    fn sendable(&mut self, id: StreamId) -> Result<&mut Stream, StreamError> {
        match self.streams.get_mut(&id) {
            Some(stream) if !stream.send_closed && stream.receive.reset.is_none() => Ok(stream),
            _ => Err(StreamError::Closed),
        }
    }

    fn enqueue(&mut self, id: StreamId, item: Item) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.queue.push_back(item);
            if stream.can_send() {
                self.schedule.activate(id);
            }
        }
    }

    fn clear_deadline(&mut self, id: StreamId) {
        if let Some(deadline) = self
            .streams
            .get_mut(&id)
            .and_then(|stream| stream.deadline.take())
        {
            self.deadlines.remove(&(deadline, id));
        }
    }

    /// Removes a stream that the application has released and that has nothing left to send.
    fn collect(&mut self, id: StreamId) {
        let gone = self.streams.get(&id).is_some_and(|stream| {
            stream.released && (stream.queue.is_empty() || stream.is_finished(self.role))
        });
        if gone {
            self.clear_deadline(id);
            self.schedule.remove(id);
            self.streams.remove(&id);
        }
    }
}

/// The window that a peer announced, and at least [`STREAM_WINDOW`], which every peer must accept.
fn announced_window(window: u32) -> u32 {
    window.max(STREAM_WINDOW)
}

/// The deadline of a call with a timeout of `timeout_ns` from `now` (0: none).
pub fn deadline(now: Instant, timeout_ns: u64) -> Option<Instant> {
    (timeout_ns > 0)
        .then(|| now.checked_add(Duration::from_nanos(timeout_ns)))
        .flatten()
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
