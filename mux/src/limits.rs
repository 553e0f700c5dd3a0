//! Limits of the multiplexer, each with what it protects. Those that both ends must agree on are in
//! [`baton_proto::limits`].

use std::time::Duration;

/// Bytes a stream may have queued before its producer waits; one further chunk may lie on top. Protects the sender:
/// `MAX_STREAMS` × (this + a chunk) at worst.
pub const SEND_BUFFER: usize = 256 * 1024;

/// Bytes that one stream makes a receiver hold, per direction, at worst; a session
/// [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) × this. [`RECEIVE_WINDOW`] here, and [`DECODER_HOLDS`] in gRPC's
/// decoder.
pub const STREAM_MEMORY: u32 = 2 * 1024 * 1024;

/// Bytes of a stream that gRPC's decoder may hold beyond the window: credit was given back for them when it took them.
/// The message that it assembles and the next one's beginning, in buffers as the allocator gives them. A message longer
/// than this is its caller's.
pub const DECODER_HOLDS: u32 = 256 * 1024;

/// Bytes that the peer may have outstanding on a stream, as it is told. More than a path of 200 Mbit/s and 40 ms holds,
/// while the last [`CREDIT_BATCH`] is not given back.
pub const RECEIVE_WINDOW: u32 = STREAM_MEMORY - DECODER_HOLDS;

/// Consumed bytes after which credit goes back. Small enough to keep a window open, large enough that credits are
/// rare.
pub const CREDIT_BATCH: u32 = RECEIVE_WINDOW / 8;

/// Bytes a stream sends before the next one's turn. Protects small calls from bulk.
pub const QUANTUM: usize = 16 * 1024;

/// Bytes that streams with a small backlog may send in a row while bulk waits. Protects bulk from starving.
pub const FRESH_BURST: usize = 4 * QUANTUM;

/// Bytes sealed and not known to be with the peer, at most: half of the outer window. HTTP/2 grants a window anew once
/// half of it was used, so what is in flight always fits, the writer is never stuck behind a peer that takes nothing,
/// and a session can always be reset. It limits one session to this in a round trip: 52 MB/s at 40 ms.
pub const IN_FLIGHT_MAX: u64 = baton_proto::limits::OUTER_STREAM_WINDOW as u64 / 2;

/// The same, at least: a path that takes nothing now must still be able to show that it takes more.
pub const IN_FLIGHT_MIN: u64 = 16 * 1024;

/// The same before anything was measured. Doubled each round trip while the path takes it.
pub const IN_FLIGHT_INITIAL: u64 = 128 * 1024;

/// What more than the path holds may be in flight: the longest that a frame waits for bulk that was sealed before it.
/// Enough to ride out the time between two answers, and for a rate that grows to be noticed.
pub const IN_FLIGHT_MARGIN: Duration = Duration::from_millis(5);

/// And this part of the least round trip, for a long path varies more.
pub const IN_FLIGHT_MARGIN_PART: u32 = 16;

/// Samples of the rate count for this long; a path that became slower is believed to be after it.
pub const RATE_WINDOW: Duration = Duration::from_secs(1);

/// And for at least so many round trips.
pub const RATE_WINDOW_ROUND_TRIPS: u32 = 10;

/// How long the least round trip counts that was not seen again. After it the queue is drained to see the path
/// itself.
pub const ROUND_TRIP_WINDOW: Duration = Duration::from_secs(10);

/// Round trips that are looked at then, one after the other: they tell how much delays vary, too.
pub const DRAIN_ROUND_TRIPS: u32 = 3;

/// Round trips without a quarter more of rate after which the path is full.
pub const STARTUP_FLAT_ROUND_TRIPS: u32 = 3;

/// Round trips in a row without a queue after which more may be in flight than the model says. Two, for the one after a
/// drain has none either.
pub const CALM_ROUND_TRIPS: u32 = 2;

/// Pings that bulk has under way, and so answers in a round trip.
pub const PROBES_IN_FLIGHT: u64 = 12;

/// The same at most, one for being alive beside them. A peer that has [`MAX_PONGS`] to answer ends the session.
pub const PROBES_MAX: usize = MAX_PONGS - 2;

/// Bytes between two of them, at least.
pub const PROBE_SPACING_MIN: u64 = 1024;

/// Pings that bulk has under way where fewer will do: while nothing is known, and where more would come faster than
/// [`PROBE_INTERVAL`].
pub const PROBES_IN_FLIGHT_FEW: u64 = 4;

/// Time between two of them, at least, at the measured rate. Protects fast paths from answers that nobody needs.
pub const PROBE_INTERVAL: Duration = Duration::from_micros(500);

/// Received bytes no longer than this are copied out of a longer message, so that a peer cannot pin a 64 KiB buffer
/// with a one-byte frame. With [`COPY_SLACK`] and [`JOIN_UP_TO`], what a stream buffers pins less than 9 × its window.
pub const COPY_BELOW: usize = 8 * 1024;

/// How much longer than twice the bytes a message may be, for them to stay a part of it. A short call's message is not
/// copied.
pub const COPY_SLACK: usize = 512;

/// Pieces that wait unread are joined up to this length. Protects memory from single bytes, which cost a hundred each:
/// a peer could turn a window of 1 MiB into 100 MiB.
pub const JOIN_UP_TO: usize = 4 * 1024;

/// `Data` frames without a byte that a stream may receive. Protects the reader from a flood that takes no credit.
pub const MAX_EMPTY_DATA: u32 = 64;

/// Frames of unknown optional types in one message. Protects the reader from messages that are all headers to skip: 8,189 fit one.
/// Nothing is kept of a skipped frame, so across messages it costs no more than any other message.
pub const MAX_SKIPPED: usize = 16;

/// Answers to pings waiting to be sent. Protects memory from a ping flood; a peer that pings as designed has one.
pub const MAX_PONGS: usize = 16;

/// Streams that have ended and whose handlers have not gone yet, beside the
/// [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) open ones. As many, so that a client may give up all its calls and
/// make others at once; what such a stream buffered is freed when it ends. Protects the task table from a peer that
/// opens streams and resets them faster than handlers can be stopped.
pub const MAX_ENDING: usize = baton_proto::limits::MAX_STREAMS;

/// Resets, refusals among them, waiting to be sent while the peer opens further streams. Protects memory from a peer
/// that opens streams without reading.
pub const MAX_RESETS: usize = 1024;

/// How often the client samples the clock and proves it is alive.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Silence after which the peer is taken for dead. Anything received counts, so bulk never trips it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(35);

/// How long the oldest unanswered `Ping` waits for its `Pong` while answers to earlier ones do not come either. A peer
/// that sends but never answers would stop everything behind [`IN_FLIGHT_INITIAL`] without a reason. Longer than
/// [`IDLE_TIMEOUT`], so that a peer that is gone counts as silent, and than a minute, which a queue on the path can
/// take.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(120);
