//! Handles received messages. All input here is untrusted.

use std::time::Instant;

use baton_proto::channel::{ClientHello, GoAway, Head, Ping, Pong, Trailers, go_away};
use baton_proto::limits::{HEAD_MAX, MAX_STREAMS, METADATA_ENTRIES_MAX, TIMINGS_MAX};
use baton_proto::{Features, PROTOCOL_VERSION};
use baton_trace::clock::ClockSample;
use baton_trace::record::Anchor;
use baton_trace::text::hint;
use bytes::Bytes;
use prost::Message;

use super::{Mux, announced_window, deadline};
use crate::error::MuxError;
use crate::event::{Event, code};
use crate::frame::{self, Frame, FrameError, Kind, StreamId};
use crate::limits;
use crate::stamps::{ReceivedStamps, RelayStamp};
use crate::stream::{Role, Stream, unpinned};

impl Mux {
    /// Handles one decrypted message. `received` is when the link received it, `now` when it was decrypted.
    ///
    /// An error ends the session.
    pub fn handle(
        &mut self,
        now: Anchor,
        received: Instant,
        relay: RelayStamp,
        mut message: Bytes,
    ) -> Result<(), MuxError> {
        self.liveness.last_heard = now.instant;
        if let Some(since) = self.awaiting_client_since.take() {
            // The client sends its first message as soon as message 2 arrives, so this is a round trip.
            let took = received.saturating_duration_since(since);
            self.pace.add_round_trip(now.instant, took);
        }
        let stamps = ReceivedStamps {
            at: received,
            opened: now.instant,
            relay,
        };
        let message_len = message.len();
        let mut skipped = 0;
        if self.awaits_hello() {
            self.on_hello(frame::next(&mut message)?)?;
        }
        while let Some(frame) = frame::next(&mut message)? {
            match frame.kind {
                Kind::Head => self.on_head(now.instant, stamps, frame, message_len)?,
                Kind::Data => self.on_data(stamps, frame, message_len)?,
                Kind::Trailers => self.on_trailers(frame, message_len)?,
                Kind::Reset => self.on_reset(frame)?,
                Kind::Credit => self.on_credit(frame)?,
                Kind::Ping => self.on_ping(now, received, frame)?,
                Kind::Pong => self.on_pong(now, received, frame)?,
                Kind::GoAway => self.on_go_away(frame)?,
                Kind::Hello => {
                    return Err(MuxError::Protocol("a Hello that is not the client's first frame"));
                }
                Kind::Optional => {
                    skipped += 1;
                    if skipped > limits::MAX_SKIPPED {
                        return Err(MuxError::Limit("frames of unknown optional types in one message"));
                    }
                }
                Kind::Switch | Kind::Rekey => {
                    return Err(MuxError::Protocol("a frame about keys among others"));
                }
            }
        }
        Ok(())
    }

    /// Handles the first frame of a session, which must be the client's `Hello`.
    fn on_hello(&mut self, first: Option<Frame>) -> Result<(), MuxError> {
        let hello = first.filter(|frame| frame.kind == Kind::Hello);
        let hello = hello.ok_or(MuxError::Protocol("the client's first frame is not Hello"))?;
        let hello = ClientHello::decode(hello.body).map_err(|_| FrameError::Body("Hello"))?;
        if hello.version < PROTOCOL_VERSION {
            return Err(MuxError::Protocol(
                "a Hello with a version below that of the session",
            ));
        }
        self.set_peer(hello.version, Features::from_bits(hello.features));
        Ok(())
    }

    fn on_head(
        &mut self,
        now: Instant,
        stamps: ReceivedStamps,
        frame: Frame,
        message_len: usize,
    ) -> Result<(), MuxError> {
        if frame.body.len() > HEAD_MAX {
            return Err(FrameError::Body("Head").into());
        }
        let head = Head::decode(unpinned(frame.body, message_len)).map_err(|_| FrameError::Body("Head"))?;
        if head.metadata.len() > METADATA_ENTRIES_MAX {
            return Err(MuxError::Limit("metadata entries"));
        }
        let id = frame.stream;
        if self.role == Role::Server {
            if self.is_known(id) {
                return Err(MuxError::Protocol("a stream number was used twice"));
            }
            self.next_id = u64::from(id) + 1;
            // Each stream that ends early leaves a Reset to send. A peer that opens streams and never reads would grow
            // this queue.
            if self.control.resets.len() >= limits::MAX_RESETS {
                return Err(MuxError::Limit("streams that ended early, unread"));
            }
            if let Some(code) = self.refusal() {
                self.control.resets.push_back((id, code));
                return Ok(());
            }
            let mut stream = Stream::new(
                deadline(now, head.timeout_ns),
                announced_window(head.window),
                limits::RECEIVE_WINDOW,
            );
            if let Some(deadline) = stream.deadline {
                self.deadlines.insert((deadline, id));
            }
            stream.stamps.head_received = Some(stamps);
            stream.receive.head = Some(head);
            stream.receive.head_seen = true;
            self.streams.insert(id, stream);
            self.events.push_back(Event::Opened(id));
            return Ok(());
        }
        let Some(stream) = self.receiving(id)? else {
            return Ok(());
        };
        if stream.receive.head_seen {
            return Err(MuxError::Protocol("a second Head on a stream"));
        }
        stream.receive.head_seen = true;
        stream.receive.head = Some(head);
        stream.stamps.head_received = Some(stamps);
        self.events.push_back(Event::Readable(id));
        Ok(())
    }

    fn on_data(&mut self, stamps: ReceivedStamps, frame: Frame, message_len: usize) -> Result<(), MuxError> {
        let id = frame.stream;
        if frame.end && self.role == Role::Client {
            return Err(MuxError::Protocol("a response ends with Trailers, not with Data"));
        }
        let Some(stream) = self.receiving(id)? else {
            return Ok(());
        };
        let receive = &mut stream.receive;
        if !receive.head_seen {
            return Err(MuxError::Protocol("Data before Head"));
        }
        let len = frame.body.len();
        receive.window = receive
            .window
            .checked_sub(len as u32)
            .ok_or(MuxError::Limit("Data beyond its credit"))?;
        if len == 0 {
            receive.empty_frames += 1;
            if receive.empty_frames > limits::MAX_EMPTY_DATA {
                return Err(MuxError::Limit("empty Data frames"));
            }
        } else {
            receive.push(frame.body, message_len);
            stream.stamps.last_data_received = Some(stamps);
        }
        stream.receive.closed = frame.end;
        self.events.push_back(Event::Readable(id));
        Ok(())
    }

    fn on_trailers(&mut self, frame: Frame, message_len: usize) -> Result<(), MuxError> {
        if self.role == Role::Server {
            return Err(MuxError::Protocol("Trailers on a request"));
        }
        if frame.body.len() > HEAD_MAX + TIMINGS_MAX {
            return Err(FrameError::Body("Trailers").into());
        }
        let mut trailers =
            Trailers::decode(unpinned(frame.body, message_len)).map_err(|_| FrameError::Body("Trailers"))?;
        if trailers.metadata.len() > METADATA_ENTRIES_MAX {
            return Err(MuxError::Limit("metadata entries"));
        }
        let id = frame.stream;
        let Some(stream) = self.receiving(id)? else {
            return Ok(());
        };
        if !stream.receive.head_seen {
            return Err(MuxError::Protocol("Trailers before Head"));
        }
        if trailers.timings.len() > TIMINGS_MAX {
            trailers.timings = Bytes::new();
        }
        stream.receive.trailers = Some(trailers);
        stream.receive.closed = true;
        // The server no longer reads the request: it would ignore the frames still queued here.
        stream.queue.clear();
        stream.queued_bytes = 0;
        stream.send_closed = true;
        if std::mem::take(&mut stream.wants_room) {
            // No Credit follows to wake the producer, so this event does: its next call reports that the stream has
            // ended.
            self.events.push_back(Event::Writable(id));
        }
        self.schedule.remove(id);
        self.clear_deadline(id);
        self.events.push_back(Event::Readable(id));
        Ok(())
    }

    fn on_reset(&mut self, frame: Frame) -> Result<(), MuxError> {
        let code = four_bytes(&frame.body).ok_or(FrameError::Body("Reset"))?;
        let id = frame.stream;
        self.check_known(id)?;
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.is_finished(self.role)
        {
            stream.abort(code);
            self.schedule.remove(id);
            self.clear_deadline(id);
            self.events.push_back(Event::Reset(id));
        }
        Ok(())
    }

    fn on_credit(&mut self, frame: Frame) -> Result<(), MuxError> {
        let credit = four_bytes(&frame.body).ok_or(FrameError::Body("Credit"))?;
        let id = frame.stream;
        self.check_known(id)?;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        stream.credit = stream
            .credit
            .checked_add(credit)
            .filter(|credit| *credit <= stream.send_window)
            .ok_or(MuxError::Limit("Credit beyond the window"))?;
        stream.consumed += u64::from(credit);
        if self.role == Role::Server {
            self.events.push_back(Event::Consumed(id, stream.consumed));
        }
        if stream.can_send() {
            self.schedule.activate(id);
        }
        Ok(())
    }

    fn on_ping(&mut self, now: Anchor, received: Instant, frame: Frame) -> Result<(), MuxError> {
        let ping = Ping::decode(frame.body).map_err(|_| FrameError::Body("Ping"))?;
        if self.control.pongs.len() >= limits::MAX_PONGS {
            return Err(MuxError::Limit("pings"));
        }
        self.control.pongs.push_back(Pong {
            id: ping.id,
            ping_sent_unix_ns: ping.sent_unix_ns,
            received_unix_ns: now.unix_ns_of(received),
            sent_unix_ns: 0,
        });
        Ok(())
    }

    fn on_pong(&mut self, now: Anchor, received: Instant, frame: Frame) -> Result<(), MuxError> {
        let pong = Pong::decode(frame.body).map_err(|_| FrameError::Body("Pong"))?;
        if !self.pace.pong(received, pong.id) {
            return Err(MuxError::Protocol("a Pong that does not answer the oldest Ping"));
        }
        if self.liveness.outstanding != Some(pong.id) {
            // A probe of bulk waited behind bulk of this end; liveness pings are better clock samples.
            return Ok(());
        }
        self.liveness.outstanding = None;
        self.clock.add(ClockSample {
            t0: pong.ping_sent_unix_ns,
            t1: pong.received_unix_ns,
            t2: pong.sent_unix_ns,
            t3: now.unix_ns_of(received),
        });
        Ok(())
    }

    fn on_go_away(&mut self, frame: Frame) -> Result<(), MuxError> {
        let go_away = GoAway::decode(frame.body).map_err(|_| FrameError::Body("GoAway"))?;
        self.going_away = true;
        self.goodbye = hint(&go_away.detail);
        let reason = go_away::Reason::try_from(go_away.reason).unwrap_or(go_away::Reason::Unspecified);
        self.events.push_back(Event::GoAway(reason));
        Ok(())
    }

    /// A frame may still arrive for a stream that this end has removed, but never for one that was not opened.
    fn check_known(&self, id: StreamId) -> Result<(), MuxError> {
        if self.is_known(id) {
            Ok(())
        } else {
            Err(MuxError::Protocol("a frame on a stream that was never opened"))
        }
    }

    /// Whether this number has been used.
    fn is_known(&self, id: StreamId) -> bool {
        u64::from(id) < self.next_id
    }

    /// The status code that refuses a new stream of the peer, if it is refused. An ended stream does not count as open,
    /// even if its handler still runs: a client may cancel calls and start others in the same message.
    fn refusal(&self) -> Option<u32> {
        if self.takes_no_more {
            return Some(code::UNAVAILABLE);
        }
        let known = self.streams.len();
        let open = || {
            self.streams
                .values()
                .filter(|stream| !stream.is_finished(self.role))
        };
        let is_full = known >= MAX_STREAMS
            && (known >= MAX_STREAMS + limits::MAX_ENDING || open().count() >= MAX_STREAMS);
        is_full.then_some(code::RESOURCE_EXHAUSTED)
    }

    /// The stream, if it still accepts frames from the peer.
    fn receiving(&mut self, id: StreamId) -> Result<Option<&mut Stream>, MuxError> {
        self.check_known(id)?;
        match self.streams.get_mut(&id) {
            Some(stream) if stream.receive.reset.is_some() => Ok(None),
            Some(stream) if stream.receive.closed => {
                Err(MuxError::Protocol("a frame after the end of its stream"))
            }
            other => Ok(other),
        }
    }
}

fn four_bytes(body: &Bytes) -> Option<u32> {
    <[u8; 4]>::try_from(&body[..]).ok().map(u32::from_be_bytes)
}
