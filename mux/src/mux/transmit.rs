//! Builds the next message: session control, then frames of the streams that [`schedule`](crate::schedule) selects.

use baton_proto::channel::Trailers;
use baton_proto::limits::{HEAD_MAX, METADATA_ENTRIES_MAX, NOISE_PLAINTEXT_MAX};
use baton_trace::record::{Anchor, StageRecord};
use baton_trace::stage::transport::{RPC, TERMINAL_QUEUE, TERMINAL_SEAL};
use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use std::time::Instant;

use super::Mux;
use super::control::put_ping;
use crate::event::Event;
use crate::frame::{HEADER_LEN, Kind, StreamId, put_header};
use crate::limits;
use crate::stamps::SentStamps;
use crate::stream::{Item, Stamped, Stream, TimingsDraft};
use crate::timings;

/// Greatest length of a message with frames of streams, so that a `Ping` fits behind them: header, id and stamp.
const DATA_END: usize = NOISE_PLAINTEXT_MAX - (HEADER_LEN + 11 + 9);

/// Result of a stream's turn.
enum Turn {
    /// It sent this many bytes and may have more.
    Sent(usize),
    /// It can send nothing now.
    Nothing,
    /// Its next frame does not fit, or must not share this message.
    Later,
}

impl Mux {
    /// Writes the plaintext of the next message into `out`, which it clears first. `false`: there is nothing to send.
    ///
    /// The caller seals it and then calls [`sealed`](Self::sealed).
    pub fn transmit(&mut self, now: Anchor, out: &mut BytesMut) -> bool {
        out.clear();
        self.message += 1;
        self.transmit_hello(out);
        if self.gave_up {
            self.transmit_go_away(out);
            return !out.is_empty();
        }
        let mut ping = self.transmit_control(now, out);
        let mut is_held_back = false;
        if !self.pace.wants_lone_probe() {
            is_held_back = self.transmit_streams(now.instant, out);
        }
        if ping.is_none() && self.pace.wants_probe(out.len()) {
            let id = self.next_ping_id();
            put_ping(out, id, now);
            ping = Some(id);
        }
        if !out.is_empty() {
            self.pace.sent(now.instant, out.len(), ping);
        }
        if is_held_back {
            self.pace.held_back();
        }
        if self.schedule.is_empty() {
            self.pace.ran_dry();
        }
        !out.is_empty()
    }

    /// Writes frames of streams. Returns whether the limit of bytes in flight held bulk back.
    fn transmit_streams(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let (room, room_for_fresh) = (self.pace.room(), self.pace.room_for_fresh());
        let (grain, message_max) = (self.pace.grain(), self.pace.message_max());
        let mut is_held_back = false;
        let mut later = Vec::new();
        while DATA_END - out.len().min(DATA_END) > HEADER_LEN {
            let is_full = room < out.len() + grain;
            if out.len() + grain > message_max && !is_full {
                break;
            }
            let next = match is_full {
                false => self.schedule.next(),
                true if out.len() < room_for_fresh => self.schedule.next_fresh(),
                true => None,
            };
            let Some(id) = next else {
                is_held_back = is_full && !self.schedule.is_empty();
                break;
            };
            match self.transmit_stream(now, id, grain, out) {
                Turn::Sent(bytes) => self.schedule.sent(id, bytes),
                Turn::Nothing => self.schedule.emptied(id),
                Turn::Later => {
                    self.schedule.remove(id);
                    later.push(id);
                }
            }
        }
        for id in later {
            self.schedule.activate(id);
        }
        is_held_back
    }

    /// The message that [`transmit`](Self::transmit) built is encrypted and handed to the link.
    pub fn sealed(&mut self, now: Instant) {
        for (id, which) in self.stamped.drain(..) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stamps_of(stream, which).sealed = Some(now);
            }
        }
        while let Some(id) = self.answered.pop() {
            if let Some(stream) = self.streams.get(&id) {
                let mut sent = stream.stamps.last_data_sent;
                sent.sealed.get_or_insert(now);
                self.events.push_back(Event::Answered(id, sent));
            }
            self.collect(id);
        }
    }

    fn transmit_stream(&mut self, now: Instant, id: StreamId, grain: usize, out: &mut BytesMut) -> Turn {
        let room = DATA_END - out.len();
        let Some(stream) = self.streams.get_mut(&id) else {
            return Turn::Nothing;
        };
        let before = out.len();
        match stream.queue.front_mut() {
            None => return Turn::Nothing,
            Some(Item::Head(body)) => {
                if HEADER_LEN + body.len() > room {
                    return Turn::Later;
                }
                put_header(out, Kind::Head, false, id, body.len());
                out.extend_from_slice(body);
                stream.queue.pop_front();
                stream.stamps.head_sent.taken = Some(now);
                self.stamped.push((id, Stamped::Head));
            }
            Some(Item::Data { data, end }) => {
                let len = data
                    .len()
                    .min(room - HEADER_LEN)
                    .min(grain)
                    .min(stream.credit as usize);
                if len == 0 && !data.is_empty() {
                    return Turn::Nothing;
                }
                let last = len == data.len();
                put_header(out, Kind::Data, *end && last, id, len);
                out.extend_from_slice(&data[..len]);
                data.advance(len);
                if last {
                    stream.queue.pop_front();
                }
                stream.credit -= len as u32;
                stream.queued_bytes -= len;
                stream.stamps.last_data_sent.taken = Some(now);
                stream.stamps.last_data_sent.sealed = None;
                if stream.data_in_message.replace(self.message) != Some(self.message) {
                    self.stamped.push((id, Stamped::LastData));
                }
                if stream.wants_room && stream.queued_bytes < limits::SEND_BUFFER {
                    stream.wants_room = false;
                    self.events.push_back(Event::Writable(id));
                }
            }
            Some(Item::Trailers { timings, .. }) => {
                // Timings include how long sealing the last data frame took, so they cannot be in the same message.
                let unsealed = timings.is_some() && stream.data_in_message == Some(self.message);
                if unsealed || (before > 0 && room < HEADER_LEN + HEAD_MAX) {
                    return Turn::Later;
                }
                if let Some(Item::Trailers { metadata, timings }) = stream.queue.pop_front() {
                    let mut sent = stream.stamps.last_data_sent;
                    // Without data, the timings end when the trailers are written.
                    sent.sealed.get_or_insert(now);
                    let continues = timings.as_ref().and_then(|draft| draft.continues);
                    let trailers = Trailers {
                        metadata,
                        call_id: continues.map_or(0, |of| u64::from_be_bytes(of.call_id.to_bytes())),
                        timings: timings.map_or_else(Bytes::new, |draft| complete_timings(&draft, &sent)),
                    };
                    put_trailers(out, id, trailers);
                }
                self.answered.push(id);
            }
        }
        let emptied = !self.streams.get(&id).is_some_and(Stream::can_send);
        let sent = out.len() - before;
        if emptied {
            self.schedule.sent(id, sent);
            // `sealed` still needs a stream whose Trailers are in this message.
            if self.answered.last() != Some(&id) {
                self.collect(id);
            }
            return Turn::Nothing;
        }
        Turn::Sent(sent)
    }
}

fn stamps_of(stream: &mut Stream, which: Stamped) -> &mut SentStamps {
    match which {
        Stamped::Head => &mut stream.stamps.head_sent,
        Stamped::LastData => &mut stream.stamps.last_data_sent,
    }
}

fn put_body(out: &mut BytesMut, kind: Kind, id: StreamId, message: &impl Message) {
    put_header(out, kind, false, id, message.encoded_len());
    // BytesMut grows, so encoding cannot fail.
    let _ = message.encode(out);
}

/// Writes trailers. Drops metadata entries beyond the limits, from the end, but never the status.
fn put_trailers(out: &mut BytesMut, id: StreamId, mut trailers: Trailers) {
    while trailers.encoded_len() > HEAD_MAX || trailers.metadata.len() > METADATA_ENTRIES_MAX {
        match trailers
            .metadata
            .iter()
            .rposition(|entry| entry.key != "grpc-status")
        {
            Some(entry) => drop(trailers.metadata.remove(entry)),
            None => break,
        }
    }
    put_body(out, Kind::Trailers, id, &trailers);
}

/// The multiplexer's own stages come first, because the encoder cuts from the end, where the handler's stages are.
fn complete_timings(draft: &TimingsDraft, sent: &SentStamps) -> Bytes {
    let anchor = &draft.anchor;
    let handlers = draft.stages.iter().filter(|stage| !stage.estimated);
    let (attempt, rpc, continued) = match draft.continues {
        None => (0, rpc_stage(anchor, sent, handlers), None),
        // The earlier call has not sent the answer.
        Some(of) => {
            let end = sent.sealed.unwrap_or(of.arrived);
            let own = StageRecord::between(anchor, RPC, of.arrived, end);
            (1, rpc_stage(anchor, &SentStamps::default(), handlers), Some(own))
        }
    };
    let of_answer = move |stage| StageRecord { attempt, ..stage };
    let own = terminal_stages(anchor, sent).map(of_answer);
    let all = own.chain([rpc]).chain(continued.map(of_answer));
    let all = all.chain(draft.stages.iter().copied());
    timings::encode(anchor.unix_ns, all.map(timings::Row::from)).into()
}

/// The server's stage of a call: from the arrival of `Head`, which is the anchor, until `sent` was sealed. It contains
/// the handler's stages.
pub fn rpc_stage<'a>(
    anchor: &Anchor,
    sent: &SentStamps,
    handlers: impl Iterator<Item = &'a StageRecord>,
) -> StageRecord {
    let sealed_ns = sent.sealed.map_or(0, |sealed| anchor.offset_ns(sealed));
    StageRecord {
        stage: RPC,
        attempt: 0,
        start_ns: 0,
        end_ns: handlers
            .map(|stage| stage.end_ns)
            .fold(sealed_ns.max(0), i64::max),
        estimated: false,
    }
}

/// Queue residence and sealing of the last data frame, if there was one.
pub fn terminal_stages(
    anchor: &Anchor,
    sent: &SentStamps,
) -> impl Iterator<Item = StageRecord> + Clone + use<> {
    let queue = sent.queued.zip(sent.taken);
    let seal = sent.taken.zip(sent.sealed);
    [(TERMINAL_QUEUE, queue), (TERMINAL_SEAL, seal)]
        .into_iter()
        .filter_map({
            let anchor = *anchor;
            move |(stage, interval)| {
                interval.map(|(start, end)| StageRecord::between(&anchor, stage, start, end))
            }
        })
}
