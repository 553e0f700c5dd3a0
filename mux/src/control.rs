//! Session control waiting to be sent, before any frame of a stream.

use std::collections::VecDeque;

use baton_proto::channel::{GoAway, Pong};

use crate::frame::StreamId;
use crate::stream::Receive;

/// Frames of session control waiting to be sent. Every queue is bounded.
#[derive(Default)]
pub(crate) struct Control {
    /// The client's `Hello` is not sent yet; it precedes every other frame.
    pub(crate) hello: bool,
    pub(crate) resets: VecDeque<(StreamId, u32)>,
    /// Streams with credit to grant; each at most once.
    pub(crate) credits: VecDeque<StreamId>,
    /// The id of the liveness `Ping`, when it is due.
    pub(crate) ping: Option<u64>,
    pub(crate) pongs: VecDeque<Pong>,
    pub(crate) go_away: Option<GoAway>,
}

impl Control {
    pub(crate) fn is_empty(&self) -> bool {
        !self.hello
            && self.resets.is_empty()
            && self.credits.is_empty()
            && self.ping.is_none()
            && self.pongs.is_empty()
            && self.go_away.is_none()
    }

    pub(crate) fn grant(&mut self, id: StreamId, receive: &mut Receive) {
        if !receive.grant_queued {
            receive.grant_queued = true;
            self.credits.push_back(id);
        }
    }
}
