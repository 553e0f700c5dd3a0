//! Session control: the frames of the session itself that wait to be sent, and how they are written. They precede the
//! frames of streams.

use std::collections::VecDeque;

use baton_proto::PROTOCOL_VERSION;
use baton_proto::channel::{ClientHello, GoAway, Ping, Pong};
use baton_proto::limits::NOISE_PLAINTEXT_MAX;
use baton_trace::record::Anchor;
use bytes::BytesMut;
use prost::Message;

use super::Mux;
use crate::frame::{Kind, StreamId, put_header};
use crate::stream::Receive;

/// Frames of session control waiting to be sent. Every queue is bounded.
#[derive(Default)]
pub(super) struct Control {
    /// The client's `Hello` is not sent yet; it precedes every other frame.
    pub(super) hello: bool,
    pub(super) resets: VecDeque<(StreamId, u32)>,
    /// Streams with credit to grant; each at most once.
    pub(super) credits: VecDeque<StreamId>,
    /// The id of the liveness `Ping`, when it is due.
    pub(super) ping: Option<u64>,
    pub(super) pongs: VecDeque<Pong>,
    pub(super) go_away: Option<GoAway>,
}

impl Control {
    pub(super) fn is_empty(&self) -> bool {
        !self.hello
            && self.resets.is_empty()
            && self.credits.is_empty()
            && self.ping.is_none()
            && self.pongs.is_empty()
            && self.go_away.is_none()
    }

    pub(super) fn grant(&mut self, id: StreamId, receive: &mut Receive) {
        if !receive.grant_queued {
            receive.grant_queued = true;
            self.credits.push_back(id);
        }
    }
}

impl Mux {
    /// Writes the client's `Hello`, once.
    pub(super) fn transmit_hello(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.control.hello) {
            let hello = ClientHello {
                version: PROTOCOL_VERSION,
                features: self.own_features.bits(),
            };
            put_message(out, Kind::Hello, &hello);
        }
    }

    /// Writes session control. Returns the id of the `Ping` in it, if there is one.
    pub(super) fn transmit_control(&mut self, now: Anchor, out: &mut BytesMut) -> Option<u64> {
        // The queues are bounded by MAX_RESETS, MAX_STREAMS and MAX_PONGS. Frames that do not fit are sent in the next
        // message.
        let fits = |out: &BytesMut| out.len() + 64 <= NOISE_PLAINTEXT_MAX;
        let ping = self.control.ping.take();
        if let Some(id) = ping {
            put_ping(out, id, now);
        }
        while fits(out) {
            let Some(mut pong) = self.control.pongs.pop_front() else {
                break;
            };
            pong.sent_unix_ns = now.unix_ns;
            put_message(out, Kind::Pong, &pong);
        }
        // Before the resets, so that the peer knows why its streams end.
        self.transmit_go_away(out);
        while fits(out) {
            let Some((id, code)) = self.control.resets.pop_front() else {
                break;
            };
            put_header(out, Kind::Reset, false, id, 4);
            out.extend_from_slice(&code.to_be_bytes());
        }
        while fits(out) {
            let Some(id) = self.control.credits.pop_front() else {
                break;
            };
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let receive = &mut stream.receive;
            receive.grant_queued = false;
            let grant = std::mem::take(&mut receive.grant);
            if grant > 0 && receive.reset.is_none() {
                receive.window += grant;
                put_header(out, Kind::Credit, false, id, 4);
                out.extend_from_slice(&grant.to_be_bytes());
            }
        }
        ping
    }

    pub(super) fn transmit_go_away(&mut self, out: &mut BytesMut) {
        if let Some(go_away) = self.control.go_away.take() {
            put_message(out, Kind::GoAway, &go_away);
        }
    }
}

/// Writes a ping with the time of sending.
pub(super) fn put_ping(out: &mut BytesMut, id: u64, now: Anchor) {
    let sent_unix_ns = now.unix_ns;
    put_message(out, Kind::Ping, &Ping { id, sent_unix_ns });
}

fn put_message(out: &mut BytesMut, kind: Kind, message: &impl Message) {
    put_header(out, kind, false, 0, message.encoded_len());
    // BytesMut grows, so encoding cannot fail.
    let _ = message.encode(out);
}
