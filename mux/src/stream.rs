//! State of one stream, in both directions.

use std::collections::VecDeque;
use std::time::Instant;

use baton_proto::channel::{Head, Metadata, Trailers};
use baton_proto::limits::{HEAD_MAX, METADATA_ENTRIES_MAX};
use baton_trace::SpanId;
use baton_trace::record::{Anchor, StageRecord};
use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::error::StreamError;
use crate::limits;
use crate::stamps::Stamps;

/// Role of this end. Only a client opens streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens streams.
    Client,
    /// Answers them.
    Server,
}

/// Stage timings of a response, which the multiplexer completes when it sends them.
#[derive(Debug, Clone)]
pub struct TimingsDraft {
    /// Arrival of the request's `Head`.
    pub anchor: Anchor,
    /// Stages that the handler measured, and those from the relay's stamp, marked as estimated. The most important
    /// stages come first, because the encoder cuts from the end.
    pub stages: Vec<StageRecord>,
    /// Present if the call continues the work of an earlier one, and the anchor and the stages are those of that call.
    pub continues: Option<Continuation>,
}

/// How an answered call continues the work of an earlier one.
#[derive(Debug, Clone, Copy)]
pub struct Continuation {
    /// The id of the earlier call.
    pub call_id: SpanId,
    /// Arrival of the answered call's `Head`.
    pub arrived: Instant,
}

/// Which frame of a stream is in the message under construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamped {
    Head,
    LastData,
}

pub(crate) struct Stream {
    pub(crate) queue: VecDeque<Item>,
    pub(crate) queued_bytes: usize,
    /// Bytes that may still be sent.
    pub(crate) credit: u32,
    /// The window that the peer announced.
    pub(crate) send_window: u32,
    /// Bytes that the peer has granted again, which it has consumed.
    pub(crate) consumed: u64,
    /// The last item is queued.
    pub(crate) send_closed: bool,
    /// The producer waits for room.
    pub(crate) wants_room: bool,
    /// The message that holds the latest `Data`.
    pub(crate) data_in_message: Option<u64>,
    pub(crate) receive: Receive,
    pub(crate) stamps: Stamps,
    pub(crate) deadline: Option<Instant>,
    pub(crate) released: bool,
}

pub(crate) struct Receive {
    pub(crate) head: Option<Head>,
    pub(crate) head_seen: bool,
    pub(crate) queue: VecDeque<Bytes>,
    pub(crate) buffered: usize,
    /// Bytes the peer may still send.
    pub(crate) window: u32,
    /// Bytes consumed and not yet granted back.
    pub(crate) grant: u32,
    pub(crate) grant_queued: bool,
    pub(crate) empty_frames: u32,
    pub(crate) trailers: Option<Trailers>,
    /// The peer sends nothing more.
    pub(crate) closed: bool,
    pub(crate) reset: Option<u32>,
}

/// A frame waiting to be sent.
pub(crate) enum Item {
    Head(Bytes),
    Data {
        data: Bytes,
        end: bool,
    },
    Trailers {
        metadata: Vec<Metadata>,
        timings: Option<TimingsDraft>,
    },
}

impl Receive {
    /// Queues bytes of a message of `message_len`, and bounds the memory that they pin: see [`limits::COPY_BELOW`].
    pub(crate) fn push(&mut self, body: Bytes, message_len: usize) {
        self.buffered += body.len();
        if let Some(last) = self.queue.back_mut()
            && last.len() + body.len() <= limits::JOIN_UP_TO
        {
            let mut joined = match std::mem::take(last).try_into_mut() {
                Ok(own) => own,
                Err(shared) => BytesMut::from(&shared[..]),
            };
            joined.extend_from_slice(&body);
            *last = joined.freeze();
            return;
        }
        self.queue.push_back(unpinned(body, message_len));
    }
}

/// A slice of a message of `message_len`, copied if it would keep a much longer message in memory.
pub(crate) fn unpinned(part: Bytes, message_len: usize) -> Bytes {
    let is_pin = message_len > 2 * part.len() + limits::COPY_SLACK;
    match part.len() <= limits::COPY_BELOW && is_pin {
        true => Bytes::copy_from_slice(&part),
        false => part,
    }
}

impl Item {
    pub(crate) fn head(head: &Head) -> Result<Self, StreamError> {
        if head.encoded_len() > HEAD_MAX || head.metadata.len() > METADATA_ENTRIES_MAX {
            return Err(StreamError::HeadTooLarge);
        }
        Ok(Self::Head(head.encode_to_vec().into()))
    }
}

impl Stream {
    /// A stream that may send `send_window` bytes and receive `receive_window`.
    pub(crate) fn new(deadline: Option<Instant>, send_window: u32, receive_window: u32) -> Self {
        Self {
            queue: VecDeque::with_capacity(4),
            queued_bytes: 0,
            credit: send_window,
            send_window,
            consumed: 0,
            send_closed: false,
            wants_room: false,
            data_in_message: None,
            receive: Receive {
                head: None,
                head_seen: false,
                queue: VecDeque::new(),
                buffered: 0,
                window: receive_window,
                grant: 0,
                grant_queued: false,
                empty_frames: 0,
                trailers: None,
                closed: false,
                reset: None,
            },
            stamps: Stamps::default(),
            deadline,
            released: false,
        }
    }

    /// Whether the first item can be sent now.
    pub(crate) fn can_send(&self) -> bool {
        match self.queue.front() {
            None => false,
            Some(Item::Data { data, .. }) => data.is_empty() || self.credit > 0,
            Some(_) => true,
        }
    }

    /// Whether the call is over: the answer is complete, or the stream was reset.
    pub(crate) fn is_finished(&self, role: Role) -> bool {
        match role {
            Role::Client => self.receive.closed || self.receive.reset.is_some(),
            Role::Server => (self.send_closed && self.queue.is_empty()) || self.receive.reset.is_some(),
        }
    }

    /// Drops everything queued in both directions, and records the status code.
    pub(crate) fn abort(&mut self, code: u32) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.send_closed = true;
        self.receive.queue.clear();
        self.receive.buffered = 0;
        self.receive.head = None;
        self.receive.trailers = None;
        self.receive.reset.get_or_insert(code);
    }
}
