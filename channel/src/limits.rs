//! Limits of the channel, each with what it protects. Those that both ends must agree on are in
//! [`baton_proto::limits`].

use std::time::Duration;

/// Bytes a stream may have queued before its producer waits; one further chunk may lie on top. Protects the sender:
/// `MAX_STREAMS` × (this + a chunk) at worst.
pub const SEND_BUFFER: usize = 256 * 1024;

/// Consumed bytes after which credit goes back. Small enough to keep a window open, large enough that credits are
/// rare.
pub const CREDIT_BATCH: u32 = baton_proto::limits::STREAM_WINDOW / 8;

/// Bytes a stream sends before the next one's turn. Protects small calls from bulk.
pub const QUANTUM: usize = 16 * 1024;

/// Bytes that streams with a small backlog may send in a row while bulk waits. Protects bulk from starving.
pub const FRESH_BURST: usize = 4 * QUANTUM;

/// Received bytes no longer than this are copied out of a longer message, so that a peer cannot pin a 64 KiB buffer
/// with a one-byte frame: what a stream buffers pins less than 8 × its window.
pub const COPY_BELOW: usize = 8 * 1024;

/// `Data` frames without a byte that a stream may receive. Protects the reader from a flood that takes no credit.
pub const MAX_EMPTY_DATA: u32 = 64;

/// Answers to pings waiting to be sent. Protects memory from a ping flood; a peer that pings as designed has one.
pub const MAX_PONGS: usize = 16;

/// Resets, refusals among them, waiting to be sent while the peer opens further streams. Protects memory from a peer that
/// opens streams without reading.
pub const MAX_RESETS: usize = 1024;

/// How often the client samples the clock and proves it is alive.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Silence after which the peer is taken for dead. Anything received counts, so bulk never trips it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(35);

/// Sealed bytes the writer hands to HTTP/2 at once: enough for one system call to pay, small enough that what is
/// scheduled next is not stuck behind it.
pub const WRITE_BATCH: usize = 64 * 1024;

/// TCP, TLS and HTTP/2 connection to the relay.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to look, after a connection in clear text failed, whether TLS would have been the answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes read of the file of a private authority. Protects memory from a wrong path; a certificate has some 2 KiB.
pub const CA_FILE: u64 = 1024 * 1024;

/// HTTP/2 keep-alive on the outer legs: a dead relay is noticed within interval + timeout.
pub const OUTER_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long to wait for the answer to an HTTP/2 keep-alive.
pub const OUTER_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sessions whose handshake is not complete, per exec-server. Protects it from Diffie-Hellman on demand.
pub const MAX_HALF_OPEN: usize = 16;

/// First and longest wait before an exec-server registers again.
pub const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How long a closing session may take to send what it has queued.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Traces a second that a client of trust `clamp` may have recorded. Protects the collector.
pub const CLAMP_PER_SECOND: f64 = 100.0;

/// Traces that such a client may have recorded at once.
pub const CLAMP_BURST: f64 = 200.0;
