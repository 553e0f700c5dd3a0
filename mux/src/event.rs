//! Events of the multiplexer for its application.

use baton_proto::channel::{Trailers, go_away};
use bytes::Bytes;

use crate::frame::StreamId;
use crate::stamps::SentStamps;

/// gRPC status codes that the multiplexer itself uses in `Reset`.
pub mod code {
    /// The caller cancelled the call.
    pub const CANCELLED: u32 = 1;
    /// The deadline passed.
    pub const DEADLINE_EXCEEDED: u32 = 4;
    /// Too many streams.
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    /// The handler failed without an answer.
    pub const INTERNAL: u32 = 13;
    /// This end takes no further stream; nothing was done for this one.
    pub const UNAVAILABLE: u32 = 14;
}

/// An event that the application should handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The peer opened a stream (server only).
    Opened(StreamId),
    /// [`Mux::take_head`](crate::Mux::take_head) or [`Mux::receive`](crate::Mux::receive) has something new.
    Readable(StreamId),
    /// [`Mux::send_data`](crate::Mux::send_data) has room again.
    Writable(StreamId),
    /// The stream ended early: by the peer, or by its deadline. [`Mux::receive`](crate::Mux::receive) returns the code.
    Reset(StreamId),
    /// The stream's `Trailers` are handed to the link. The stamps are those of the last data frame; for an answer
    /// without data only `sealed` is set, to that of the `Trailers`. The stream may already be removed.
    Answered(StreamId, SentStamps),
    /// The peer has consumed this many bytes of the response's `Data`, all told, as its credit says (server only).
    Consumed(StreamId, u64),
    /// The peer takes no further stream.
    GoAway(go_away::Reason),
}

/// Result of [`Mux::receive`](crate::Mux::receive).
#[derive(Debug, PartialEq)]
pub enum Received {
    /// Bytes, in order. Their credit is granted to the peer again.
    Data(Bytes),
    /// The peer half-closed the stream; only requests end like this.
    End,
    /// The answer is complete.
    Trailers(Trailers),
    /// The stream ended early, with a gRPC status code.
    Reset(u32),
    /// Nothing yet.
    Pending,
}
