//! Every limit, timeout and size of the relay: what it protects and what it can cost.
//!
//! # Memory
//!
//! All memory that a peer can make a relay hold is reserved in one budget ([`Limits::memory`]), of which no address and
//! no exec-server gets more than half:
//!
//! | holder | reserved |
//! |---|---|
//! | a connection | [`CONNECTION_BYTES`], with TLS also [`TLS_BYTES`] |
//! | a connection that has had a session | also [`SESSION_CONNECTION_BYTES`] |
//! | an incoming HTTP/2 frame longer than [`FRAME_BEFORE_SESSION_BYTES`] | its length, at most [`FRAME_BYTES`] |
//! | a session or a waiting dial | [`SESSION_BYTES`] |
//! | a session's buffered data | [`PIN_FACTOR`] × its length, in steps of [`HELD_STEP_BYTES`] |
//!
//! A session's buffered data counts from when it was read from a body until it is written to the other side's socket.
//! Each of its frames counts [`FRAME_OVERHEAD_BYTES`] more than its length.
//!
//! So the relay's resident memory is at most [`worst_case`]: the budget, and the program's own memory. A session can
//! occupy at most [`session_worst_case`], when both of its readers have stalled. An idle session occupies 45 KiB in
//! total. Peers of this implementation have at most 2 MiB of a direction in flight; other peers may have more.
//!
//! If a share is used up, a session that needs more ends with `RESOURCE_EXHAUSTED`, and new connections and dials are
//! refused. If the whole budget is used up, the largest session of the address that occupies most is ended. A session
//! with bytes to send, of which its readers read none, ends after [`STALL_TIMEOUT`].

use std::time::Duration;

use baton_proto::limits::{
    EXEC_SERVER_SESSIONS, FRAME_MAX, HANDSHAKE_TIMEOUT, MAX_SESSIONS, OUTER_STREAM_WINDOW,
};

/// Bytes that a direction of a session may queue before the HTTP/2 window of its sender is no longer returned. Large
/// enough that the outgoing side always finds a full batch, small enough that the sender notices a stalled reader.
pub const QUEUE_BYTES: usize = 256 * 1024;

/// Bytes that a queued frame counts in addition to its payload, so that [`QUEUE_BYTES`] bounds a flood of empty frames
/// too: at most 2,048 frames wait in a queue.
pub const FRAME_OVERHEAD_BYTES: usize = 128;

/// Bytes passed to HTTP/2 at once: two full Noise messages make one DATA frame and one `writev`.
pub const EMIT_BYTES: usize = 128 * 1024;

/// Pieces of a body up to this size are copied out of their read buffer, which has 64 KiB or more: otherwise a small
/// piece would pin the whole buffer.
pub const COPY_BYTES: usize = 32 * 1024;

/// Pieces up to this size are copied into the adjacent buffer when they are sent: cheaper than another slice of a
/// `writev`.
pub const JOIN_BYTES: usize = 4 * 1024;

/// The maximum ratio of memory to buffered bytes: a piece longer than [`COPY_BYTES`] pins its read buffer of 64 KiB,
/// and a growing buffer is up to half empty.
pub const PIN_FACTOR: usize = 2;

/// Reserved for a connection: [`EARLY_READ_BYTES`] of one-byte DATA frames (102 entries of about 280 bytes, in a table
/// that grows by doubling), one frame of [`FRAME_BEFORE_SESSION_BYTES`], the headers of a request, HTTP/2's buffers. An
/// idle connection takes about 10 KiB.
pub const CONNECTION_BYTES: usize = 80 * 1024;

/// Reserved in addition once a connection has had a session: the relay then reads [`READ_BYTES`] at a time, which is
/// 409 such entries. It is reserved only of the first three quarters of an address's share, so that it takes no room
/// from connections and sessions; a connection without it continues to read [`EARLY_READ_BYTES`].
pub const SESSION_CONNECTION_BYTES: usize = 112 * 1024;

/// Reserved for the TLS of a connection: rustls buffers 64 KiB in each direction, and a record. An idle one takes about
/// 15 KiB.
pub const TLS_BYTES: usize = 160 * 1024;

/// Reserved for a session: 45 KiB of tasks, streams and headers, and [`SESSION_HELD_BYTES`].
pub const SESSION_BYTES: usize = 80 * 1024;

/// Bytes that a session may buffer before more is reserved for it.
pub const SESSION_HELD_BYTES: usize = 16 * 1024;

/// Bytes that are reserved at once for more buffered data. Large enough that a bulk transfer seldom reserves.
pub const HELD_STEP_BYTES: usize = 128 * 1024;

/// Bytes that a dial may send before the exec-server has accepted it: its first frame, and 16 KiB that a client sends
/// early.
pub const PENDING_BYTES: usize = FRAME_MAX + 16 * 1024;

/// The largest HTTP/2 frame that the relay accepts; h2 buffers a frame until it is complete. Baton's endpoints send
/// smaller ones.
pub const FRAME_BYTES: u32 = 256 * 1024;

/// The largest frame of a peer that has had no session on its connection: message 1, headers, a registration. The
/// smallest maximum that HTTP/2 allows.
pub const FRAME_BEFORE_SESSION_BYTES: usize = 16 * 1024;

/// Bytes read at once from a peer that has had no session, in addition to the rest of a longer frame.
pub const EARLY_READ_BYTES: usize = 1024;

/// Bytes read at once in addition to the rest of a longer frame: at most 409 DATA frames before the tasks that consume
/// them run.
pub const READ_BYTES: usize = 4 * 1024;

/// h2's `data_frame_budget`: h2 closes a connection whose unread DATA frames below 256 bytes are together this many
/// bytes short of 256 each, which is 4,112 frames of one byte. [`READ_BYTES`] keeps them far below.
pub const SMALL_FRAME_BUDGET: usize = 1024 * 1024;

/// A session ends when its reader has read none of the waiting bytes for this long. Longer than the silence after which
/// an endpoint gives up its session (35 s).
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How often sessions are checked for progress. Data without progress since the last check is copied out of its read
/// buffer.
pub const STALL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Memory of the program without any peer: code, runtime, tables, the allocator's overhead.
pub const PROGRAM_BYTES: usize = 48 * 1024 * 1024;

/// Memory of each further thread that serves connections: its stack, and what the allocator keeps of freed memory for
/// it (glibc's arenas).
pub const THREAD_BYTES: usize = 8 * 1024 * 1024;

/// The maximum resident memory of a relay with this budget and this number of threads.
pub const fn worst_case(memory: usize, threads: usize) -> usize {
    // The largest session is cut at once, but its memory is released a little later.
    memory + memory / 8 + PROGRAM_BYTES + threads.saturating_sub(1) * THREAD_BYTES
}

/// The maximum reservation of one session: both windows full, and for each direction a queue, a batch and HTTP/2's send
/// buffer.
pub const fn session_worst_case() -> usize {
    let sent = SEND_BUFFER_BYTES + EMIT_BYTES + FRAME_MAX;
    let direction = OUTER_STREAM_WINDOW as usize + QUEUE_BYTES + FRAME_MAX + sent;
    SESSION_BYTES + 2 * (PIN_FACTOR * direction + HELD_STEP_BYTES)
}

/// HTTP/2 send buffer of one stream (h2's `max_send_buffer_size`). It holds data that the peer's window admits and the
/// socket does not accept.
pub const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Streams on one connection beyond its sessions, so that a `Dial` beyond the limit is answered by a typed refusal
/// instead of waiting in the client for a free stream. Each costs headers and a status.
pub const EXTRA_STREAMS: u32 = 16;

/// Bytes of all request headers of one stream. The three that the relay reads take 300 bytes; an attacker may send
/// more.
pub const HEADER_LIST_BYTES: u32 = 8 * 1024;

/// One message of an exec-server on its `Register` stream; a `Proof` has 140 bytes.
pub const REGISTER_MESSAGE_BYTES: usize = 1024;

/// Dials that are announced to one exec-server and not yet accepted. An exec-server divides its handshake slots by the
/// dials' origins, so it should know many dials. An exec-server that accepts none can occupy this many times 17 KiB.
pub const ANNOUNCED_DIALS: usize = 256;

/// Sessions to one exec-server: those that it serves, and further accepted dials: 128 handshakes, 768 that wait for
/// their key's turn, 256 refusals in progress. An exec-server divides its sessions by key, which a relay cannot see.
/// With a lower limit here, one key could use all slots before the exec-server learns of other clients. At first 80 KiB
/// each, 180 MiB in total.
pub const SESSIONS_PER_EXEC_SERVER: usize = EXEC_SERVER_SESSIONS + 128 + 768 + 256;

/// Messages that wait on one `Register` stream, about 70 bytes each: one `Incoming` for every dial that may be
/// announced, and a few pings. A `Dial` that meets a full queue is refused, because the exec-server does not read.
pub const REGISTER_QUEUE: usize = ANNOUNCED_DIALS + 8;

/// How often the file of exec-servers that may register is read again.
pub const ALLOW_SERVERS_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes read of that file: 30,000 ids. Protects memory from a wrong path.
pub const ALLOW_SERVERS_BYTES: u64 = 1024 * 1024;

/// Characters that are displayed of a peer's text. Protects logs and the readers of a refusal.
pub const SANITIZED_CHARS: usize = 256;

/// Interval of HTTP/2 pings: a lost peer is detected within interval + timeout, 14 s. Each ping costs 17 bytes in each
/// direction.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Time for the answer to a ping, after which the peer's sessions and its registration end. Longer than the interval,
/// because a machine under load answers late.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(9);

/// Interval of the pings on a `Register` stream. HTTP/2 pings end at a balancer, so only these detect an exec-server
/// that is lost behind one: within two intervals. Shorter than the 50 s and 60 s after which balancers close a stream
/// without traffic by default. A ping costs 20 bytes in each direction, and 4,096 exec-servers get 137 a second.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Time to send the last statuses at shutdown, or when an idle connection is closed.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How often a relay with TLS checks whether its certificate was renewed.
pub const TLS_FILES_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes read of a certificate's or a key's file. Protects memory from a wrong path; a long chain has about 10 KiB.
pub const PEM_BYTES: u64 = 1024 * 1024;

/// Pause of the accept loop when no file descriptor is free, so that it does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Minimum interval between log lines about connections that were closed because of a limit. Protects the log.
pub const REJECTED_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of a PROXY header. Addresses take 52 at most; HAProxy adds a few hundred for TLS and a client's certificate.
/// The relay keeps the addresses only, so this protects time, not memory.
pub const PROXY_HEADER_BYTES: usize = 4 * 1024;

/// Bytes of a PROXY header that are read at once, and skipped if they are no addresses. On the stack of a connection
/// that is not served yet.
pub const PROXY_HEADER_READ_BYTES: usize = 256;

/// Retry hint of a refusal that ends when another pairing completes.
pub const RETRY_SOON: Duration = Duration::from_millis(250);

/// Retry hint of a refusal that ends when another session ends.
pub const RETRY_LATER: Duration = Duration::from_secs(2);

/// Retry hint of a refusal that ends when an exec-server has registered, or when a balancer notices that this relay
/// drains. Either takes seconds at most, and the retry should come soon after: an exec-server registers anew at once
/// when its relay ends the registration.
pub const RETRY_MOVED: Duration = Duration::from_millis(250);

/// The configurable limits of a relay; the defaults suit production.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of memory that all peers together can make the relay hold (see the [module](self)).
    pub memory: usize,
    /// TCP connections. Protects file descriptors. Further ones are closed at once.
    pub connections: usize,
    /// TCP connections of one address. Protects other addresses: a connection costs its peer nothing. Half of all
    /// connections, because a whole organisation may share an address. Here and below, an IPv6 /48 counts as an
    /// address, and a /64 has half of its limit.
    pub connections_per_address: usize,
    /// Connections of balancers whose PROXY header has not arrived. A balancer sends it with its first segment, so few
    /// are missing at once. Protects the connections of other balancers from one that sends none. Each reserves what a
    /// connection does, of its balancer's share.
    pub missing_headers: usize,
    /// How long a PROXY header may take. The specification asks for at least 3 s, the time in which a lost first
    /// segment is sent again.
    pub header_timeout: Duration,
    /// Registered exec-servers, about 2 KiB each in addition to their connection.
    pub registrations: usize,
    /// Registered exec-servers of one address. Protects other addresses: without a list of exec-servers anyone may
    /// register a key.
    pub registrations_per_address: usize,
    /// `Register` streams of one address that have not yet proved a key. Protects against half-open registrations.
    pub unproved_per_address: usize,
    /// Sessions of the whole relay.
    pub sessions: usize,
    /// Sessions that one address has dialled. Protects other addresses: anyone may register an exec-server and dial it.
    /// Half of all sessions, because a whole organisation may share an address.
    pub sessions_per_address: usize,
    /// Sessions to one exec-server ([`SESSIONS_PER_EXEC_SERVER`]). Protects it, and the other exec-servers of this
    /// relay.
    pub sessions_per_exec_server: usize,
    /// Sessions on one connection, waiting dials included. Their stream windows together fill its connection window, so
    /// that no session can stall another.
    pub sessions_per_connection: usize,
    /// Dials that are announced to an exec-server and not accepted. Protects its announcements.
    pub pending_per_exec_server: usize,
    /// Dials of one address whose first frame has not arrived; 16 KiB each. They cost their peer nothing, so the
    /// exec-server is not notified of them.
    pub silent_per_address: usize,
    /// Dials that wait for a session slot, for all exec-servers together; 17 KiB each, of which message 1 is 1.3.
    pub waiting: usize,
    /// Dials that wait for a session slot of one exec-server.
    pub waiting_per_exec_server: usize,
    /// Dials of one address that wait for a session slot, for all exec-servers together.
    pub waiting_per_address: usize,
    /// Dials of one address that wait for a session slot of one exec-server. Protects other dials of this address from
    /// an exec-server that accepts nothing.
    pub waiting_per_exec_server_and_address: usize,
    /// How long a dial waits for a session slot.
    pub waiting_timeout: Duration,
    /// Timeout from `Dial` to its first frame, from the announcement to `Accept`, from `Challenge` to `Proof`, and of
    /// the TLS and HTTP/2 handshakes.
    pub handshake_timeout: Duration,
    /// How long the holder of a registration has to answer a `Ping` when another registration requests its slot.
    pub probe_timeout: Duration,
    /// How often an exec-server is pinged; one that answers no ping until the next one is due loses its registration.
    /// [`PING_INTERVAL`], except in tests.
    pub ping_interval: Duration,
    /// A session with waiting bytes and no progress for this long ends. [`STALL_TIMEOUT`], except in tests.
    pub stalled: Duration,
    /// A connection without a stream for this long (at most twice this) is closed. Protects file descriptors.
    pub connection_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 1024 * 1024 * 1024,
            connections: 16_384,
            connections_per_address: 8_192,
            missing_headers: 1_024,
            header_timeout: Duration::from_secs(5),
            registrations: 4_096,
            registrations_per_address: 1_024,
            unproved_per_address: 32,
            sessions: 8_192,
            sessions_per_address: 4_096,
            sessions_per_exec_server: SESSIONS_PER_EXEC_SERVER,
            sessions_per_connection: MAX_SESSIONS as usize,
            pending_per_exec_server: ANNOUNCED_DIALS,
            silent_per_address: 1_024,
            waiting: 8_192,
            waiting_per_exec_server: 4_096,
            waiting_per_address: 4_096,
            waiting_per_exec_server_and_address: 1_024,
            waiting_timeout: Duration::from_secs(30),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            probe_timeout: Duration::from_secs(2),
            ping_interval: PING_INTERVAL,
            stalled: STALL_TIMEOUT,
            connection_idle: Duration::from_secs(120),
        }
    }
}
