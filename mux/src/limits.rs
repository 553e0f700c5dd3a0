//! Limits of the multiplexer, each with the resource that it protects. Limits that both ends must agree on are in
//! [`baton_proto::limits`].

use std::time::Duration;

/// Bytes that a stream may have queued before its producer waits; one further chunk may exceed it. Bounds the sender's
/// memory: `MAX_STREAMS` × (this + a chunk) at worst.
pub const SEND_BUFFER: usize = 256 * 1024;

/// Bytes that one stream makes a receiver buffer, per direction, at worst; a session buffers
/// [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) × this. It is the sum of [`RECEIVE_WINDOW`] here and
/// [`DECODER_HOLDS`] in gRPC's decoder.
pub const STREAM_MEMORY: u32 = 2 * 1024 * 1024;

/// Bytes of a stream that gRPC's decoder may buffer beyond the window: credit was granted for them when it took them.
/// They are the message that it assembles and the beginning of the next one, with the allocator's rounding. The
/// application accounts for a message longer than this.
pub const DECODER_HOLDS: u32 = 256 * 1024;

/// The announced receive window of a stream, in bytes. More than the bandwidth-delay product of 200 Mbit/s and 40 ms,
/// even while the last [`CREDIT_BATCH`] is not granted.
pub const RECEIVE_WINDOW: u32 = STREAM_MEMORY - DECODER_HOLDS;

/// Consumed bytes after which credit is granted. Small enough to keep a window open, large enough that `Credit` frames
/// are rare.
pub const CREDIT_BATCH: u32 = RECEIVE_WINDOW / 8;

/// Bytes that a stream sends before the next stream's turn. Protects small calls from bulk.
pub const QUANTUM: usize = 16 * 1024;

/// Bytes that streams with a small backlog may send in a row while bulk waits. Protects bulk from starving.
pub const FRESH_BURST: usize = 4 * QUANTUM;

/// Greatest limit of the bytes in flight: half of the outer window. HTTP/2 renews a window once half of it was used, so
/// the bytes in flight always fit. So a peer that reads nothing cannot block the writer, and a session can always be
/// reset. A session sends at most this in a round trip: 52 MB/s at 40 ms.
pub const IN_FLIGHT_MAX: u64 = baton_proto::limits::OUTER_STREAM_WINDOW as u64 / 2;

/// Least limit of the bytes in flight: a stalled path must still carry enough to measure that it recovered.
pub const IN_FLIGHT_MIN: u64 = 16 * 1024;

/// Limit of the bytes in flight before the first measurement. It doubles each round trip while the rate grows.
pub const IN_FLIGHT_INITIAL: u64 = 128 * 1024;

/// How much more than the path's capacity may be in flight, as a time: the longest that a frame waits for bulk that was
/// sealed before it. Long enough to bridge the time between two `Pong`s, and to detect a growing rate.
pub const IN_FLIGHT_MARGIN: Duration = Duration::from_millis(5);

/// Divisor: this fraction of the least round trip is added to the margin, because delay varies more on a long path.
pub const IN_FLIGHT_MARGIN_PART: u32 = 16;

/// Window of the rate filter. A path that became slower is detected after this time.
pub const RATE_WINDOW: Duration = Duration::from_secs(1);

/// Least window of the rate filter, in round trips.
pub const RATE_WINDOW_ROUND_TRIPS: u32 = 10;

/// Age at which the least round trip is out of date. Then the queue drains, to measure the path without it.
pub const ROUND_TRIP_WINDOW: Duration = Duration::from_secs(10);

/// Sequential round-trip samples of a drain; they also measure how much the delay varies.
pub const DRAIN_ROUND_TRIPS: u32 = 3;

/// Round trips in which the rate grew by less than a quarter, after which the path counts as full.
pub const STARTUP_FLAT_ROUND_TRIPS: u32 = 3;

/// Consecutive round trips without a queue, after which the limit may exceed the model. Two, because the round trip
/// after a drain never has a queue.
pub const CALM_ROUND_TRIPS: u32 = 2;

/// Unanswered `Ping`s of bulk, which is also the number of `Pong`s in a round trip.
pub const PROBES_IN_FLIGHT: u64 = 12;

/// Most unanswered `Ping`s of bulk; the liveness `Ping` is not counted. A peer with more than [`MAX_PONGS`] to answer
/// ends the session.
pub const PROBES_MAX: usize = MAX_PONGS - 2;

/// Least bytes between two `Ping`s of bulk.
pub const PROBE_SPACING_MIN: u64 = 1024;

/// Unanswered `Ping`s of bulk during startup, and where more would be closer together than [`PROBE_INTERVAL`].
pub const PROBES_IN_FLIGHT_FEW: u64 = 4;

/// Least time between two `Ping`s of bulk, at the measured rate. Protects fast paths from needless `Pong`s.
pub const PROBE_INTERVAL: Duration = Duration::from_micros(500);

/// Received bytes no longer than this are copied out of a longer message, so that a peer cannot pin a 64 KiB buffer
/// with a one-byte frame. With [`COPY_SLACK`] and [`JOIN_UP_TO`], what a stream buffers pins less than 9 × its window.
pub const COPY_BELOW: usize = 8 * 1024;

/// Received bytes stay a slice of a message that is at most this much longer than twice their length. So the message of
/// a short call is not copied.
pub const COPY_SLACK: usize = 512;

/// Unread pieces are joined up to this length. Protects memory from one-byte pieces, which cost about a hundred bytes
/// each: a peer could turn a window of 1 MiB into 100 MiB.
pub const JOIN_UP_TO: usize = 4 * 1024;

/// Empty `Data` frames that a stream may receive. Protects the reader from a flood that uses no credit.
pub const MAX_EMPTY_DATA: u32 = 64;

/// Frames of unknown optional types in one message. Protects the reader from a message of nothing but headers to skip:
/// 8,189 fit in one. A skipped frame leaves no state, so it costs nothing after its message.
pub const MAX_SKIPPED: usize = 16;

/// `Pong`s waiting to be sent. Protects memory from a `Ping` flood; a conforming peer stays within [`PROBES_MAX`] and
/// one for liveness.
pub const MAX_PONGS: usize = 16;

/// Ended streams whose handlers still run, in addition to the [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) open
/// ones. The same number, so that a client may cancel all its calls and start as many at once. The buffers of a stream
/// are freed when it ends. Protects the task table from a peer that opens and resets streams faster than handlers stop.
pub const MAX_ENDING: usize = baton_proto::limits::MAX_STREAMS;

/// `Reset`s, including refusals, waiting to be sent when the peer opens a further stream. Protects memory from a peer
/// that opens streams without reading.
pub const MAX_RESETS: usize = 1024;

/// Interval of the client's liveness `Ping`s, which are also clock samples.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Time without a received message after which the session ends. Any message counts, so bulk never triggers it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(35);

/// Longest time that the oldest unanswered `Ping` waits while no other `Pong` arrives. A peer that sends but never
/// answers would block everything behind [`IN_FLIGHT_INITIAL`] without an error. Longer than [`IDLE_TIMEOUT`], so that
/// a lost peer is reported as silent, and longer than a minute, which a queue on the path can take.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(120);
