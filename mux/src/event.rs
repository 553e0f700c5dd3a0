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
    /// The stream ended early: by the peer, or by its deadline. [`Mux::receive`](crate::Mux::receive) tells the code.
    Reset(StreamId),
    /// The stream's `Trailers` are with the link, and so is its last data frame, stamped like this. Of an answer
    /// without data there is only `sealed`, of the `Trailers`. The stream itself may be gone by now.
    Answered(StreamId, SentStamps),
    /// The peer takes no further stream.
    GoAway(go_away::Reason),
}

/// What [`Mux::receive`](crate::Mux::receive) found.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// Bytes, in order. Taking them granted their credit back.
    Data(Bytes),
    /// The peer has half-closed the stream; only a request ends so.
    End,
    /// The answer is complete.
    Trailers(Trailers),
    /// The stream ended early, with a gRPC status code.
    Reset(u32),
    /// Nothing yet.
    Pending,
}
