//! Session control that waits to be sent, ahead of every stream.

use std::collections::VecDeque;

use baton_proto::channel::{GoAway, Pong};

use super::StreamId;
use super::stream::Receive;

/// Session control, sent before anything else. Every queue is bounded.
#[derive(Default)]
pub(super) struct Control {
    pub(super) resets: VecDeque<(StreamId, u32)>,
    /// Streams whose grant is due; each at most once.
    pub(super) credits: VecDeque<StreamId>,
    /// The id of the ping that shows that the peer is alive, when it is due.
    pub(super) ping: Option<u64>,
    pub(super) pongs: VecDeque<Pong>,
    pub(super) go_away: Option<GoAway>,
}

impl Control {
    pub(super) fn is_empty(&self) -> bool {
        self.resets.is_empty()
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
