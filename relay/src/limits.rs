//! Every limit, timeout and size of the relay: what it protects and what it can cost.
//!
//! What one session can hold, per direction, when the side that should read has stalled:
//!
//! | where | at most |
//! |---|---|
//! | HTTP/2 receive window of the side that writes | [`OUTER_STREAM_WINDOW`] (4 MiB) |
//! | the chunk the pump holds, already taken out of that window | [`OUTER_FRAME_SIZE`] (1 MiB) |
//! | the session's queue | [`QUEUE_BYTES`] and one frame (320 KiB) |
//! | the batch that waits for send capacity | [`EMIT_BYTES`] and one frame (192 KiB) |
//! | HTTP/2 send buffer of the side that reads | [`SEND_BUFFER_BYTES`] and one batch (448 KiB) |
//!
//! That is 6 MiB, and 12 MiB for a session stalled both ways; an idle one holds none of it. Ends of this implementation keep no more
//! than 2 MiB of a direction in flight; the rest is what others may do. The send buffer counts because
//! hyper sends a batch as soon as one byte of capacity is free, and h2 then keeps the rest of it.
//!
//! [`OUTER_STREAM_WINDOW`]: baton_proto::limits::OUTER_STREAM_WINDOW
//! [`OUTER_FRAME_SIZE`]: baton_proto::limits::OUTER_FRAME_SIZE

use std::time::Duration;

use baton_proto::limits::{EXEC_SERVER_SESSIONS, HANDSHAKE_TIMEOUT, MAX_SESSIONS};

/// Frames a direction of a session may queue before its pump stops reading and the HTTP/2 window closes behind it.
/// Large enough that the outgoing side always finds a full batch, small enough not to hide its stalls.
pub const QUEUE_BYTES: usize = 256 * 1024;

/// What a queued frame counts beside its payload, so that a flood of empty frames meets [`QUEUE_BYTES`] too: no more than
/// 2,048 frames wait in a queue.
pub const FRAME_OVERHEAD_BYTES: usize = 128;

/// Frames handed to HTTP/2 in one go: two full Noise messages make one DATA frame and one `writev`.
pub const EMIT_BYTES: usize = 128 * 1024;

/// Pieces of a payload up to this size are copied into a neighbour's buffer: cheaper than another slice of a `writev`, and
/// a small piece no longer pins the whole read buffer it arrived in.
pub const COPY_BYTES: usize = 4 * 1024;

/// HTTP/2 send buffer of one stream (hyper's `max_send_buf_size`). It holds what the peer's window admits and the
/// socket does not take.
pub const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Streams on one connection beyond its sessions, so that a surplus `Dial` is answered by a typed refusal instead of
/// waiting in the client for a free stream. Each costs headers and a status.
pub const SURPLUS_STREAMS: u32 = 16;

/// All request headers of one stream together. The three that matter take 300 bytes; the rest is an attacker's.
pub const HEADER_LIST_BYTES: u32 = 8 * 1024;

/// One message of an exec-server on its `Register` stream; a `Proof` has 140 bytes.
pub const REGISTER_MESSAGE_BYTES: usize = 1024;

/// Dials that one exec-server has been told of and has not accepted yet. It shares its handshakes out by the dials' origins, so it
/// should know of many; one that accepts nothing has told so for this many times 16 KiB.
pub const ANNOUNCED: usize = 256;

/// Messages that wait on one `Register` stream, some 70 bytes each: one `Incoming` for every dial that may be announced, a few pings.
/// A `Dial` that finds it full is refused: the exec-server does not read.
pub const REGISTER_QUEUE: usize = ANNOUNCED + 8;

/// How often the file of exec-servers that may register is read again.
pub const ALLOW_SERVERS_CHECK: Duration = Duration::from_millis(500);

/// Bytes read of that file: 30,000 ids. Protects memory from a wrong path.
pub const ALLOW_SERVERS_BYTES: u64 = 1024 * 1024;

/// Characters that are shown of what a peer says. Protects logs and whoever reads a refusal.
pub const SHOWN_CHARS: usize = 256;

/// Idle time after which HTTP/2 asks whether the peer is still there.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long it has to answer before its sessions and its registration are given up.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last statuses may take to leave at shutdown, or when an idle connection is closed.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How often a relay with TLS looks whether its certificate was renewed.
pub const TLS_FILES_CHECK: Duration = Duration::from_secs(10);

/// Bytes read of a certificate's or a key's file. Protects memory from a wrong path; a long chain has some 10 KiB.
pub const PEM_BYTES: u64 = 1024 * 1024;

/// Pause of the accept loop when the system has no file descriptor left, so that it does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often connections that were closed because of a limit are told, with their number. Protects the log.
pub const SURPLUS_TOLD: Duration = Duration::from_secs(10);

/// Retry hint of a refusal that passes when some pairing ends.
pub const RETRY_SOON: Duration = Duration::from_millis(250);

/// Retry hint of a refusal that passes when some session ends.
pub const RETRY_LATER: Duration = Duration::from_secs(2);

/// The limits a relay is started with; the defaults are for production.
#[derive(Debug, Clone)]
pub struct Limits {
    /// TCP connections. Protects file descriptors; an idle one costs some 10 KiB, and under TLS at worst 150 KiB more (rustls
    /// buffers 64 KiB either way and a record). Surplus ones are closed at once.
    pub connections: usize,
    /// TCP connections of one address. Protects the others: a connection costs its peer nothing. Half of the relay,
    /// because whole companies share an address. Here and below, an IPv6 /48 counts as an address, and a /64 gets half of it.
    pub connections_per_address: usize,
    /// Registered exec-servers, some 2 KiB each beside their connection.
    pub registrations: usize,
    /// Registered exec-servers of one address. Protects the others: without a list of exec-servers anyone may register a key.
    pub registrations_per_address: usize,
    /// `Register` streams of one address that have not proved a key yet. Protects against half-open registrations.
    pub unproved_per_address: usize,
    /// Sessions of the whole relay: 45 KiB each when idle, 12 MiB each at worst (see above).
    pub sessions: usize,
    /// Sessions that one address has dialled. Protects the others: anyone may register an exec-server and dial it. Half of the relay,
    /// because whole companies share an address.
    pub sessions_per_address: usize,
    /// Sessions to one exec-server. Protects it, and the other exec-servers of this relay.
    pub sessions_per_exec_server: usize,
    /// Sessions on one connection, dials waiting included. Their stream windows fill its connection window, so that none can stall another.
    pub sessions_per_connection: usize,
    /// Dials that an exec-server has been told of and has not accepted. Protects its announcements.
    pub pending_per_exec_server: usize,
    /// Dials of one address whose first frame is not here yet. They cost their peer nothing, so nobody is told of them; 16 KiB each.
    pub silent_per_address: usize,
    /// Dials that wait for a place, all exec-servers together: 16 KiB each.
    pub waiting: usize,
    /// Dials that wait for a place at one exec-server.
    pub waiting_per_exec_server: usize,
    /// Dials of one address that wait for a place, all exec-servers together.
    pub waiting_per_address: usize,
    /// Dials of one address that wait for a place at one exec-server. Protects the others of this address from an exec-server that
    /// accepts nothing.
    pub waiting_per_exec_server_and_address: usize,
    /// How long a dial waits for a place.
    pub waiting_timeout: Duration,
    /// From `Dial` to its first frame, from the announcement to `Accept`, from `Challenge` to `Proof`, and for the handshakes of TLS and
    /// HTTP/2.
    pub handshake_timeout: Duration,
    /// How long a registration's first holder has to answer a `Ping` when a second one wants its place.
    pub probe_timeout: Duration,
    /// A connection without a stream for this long (at most twice this) is closed. Protects file descriptors.
    pub connection_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 8_192,
            registrations: 4_096,
            registrations_per_address: 1_024,
            unproved_per_address: 32,
            sessions: 8_192,
            sessions_per_address: 4_096,
            sessions_per_exec_server: EXEC_SERVER_SESSIONS,
            sessions_per_connection: MAX_SESSIONS as usize,
            pending_per_exec_server: ANNOUNCED,
            silent_per_address: 1_024,
            waiting: 8_192,
            waiting_per_exec_server: 4_096,
            waiting_per_address: 4_096,
            waiting_per_exec_server_and_address: 1_024,
            waiting_timeout: Duration::from_secs(30),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            probe_timeout: Duration::from_secs(2),
            connection_idle: Duration::from_secs(120),
        }
    }
}
