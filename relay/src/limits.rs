//! Every limit, timeout and size of the relay: what it protects and what it can cost.
//!
//! # Memory
//!
//! Everything that a peer can make a relay hold is reserved in one budget ([`Limits::memory`]), of which no address and no exec-server
//! gets more than half:
//!
//! | what | reserved |
//! |---|---|
//! | a connection | [`CONNECTION_BYTES`], [`TLS_BYTES`] under TLS, and [`SESSION_CONNECTION_BYTES`] once it has had a session |
//! | a frame of HTTP/2 longer than [`FRAME_BEFORE_SESSION_BYTES`] while it comes in | its length, at most [`FRAME_BYTES`] |
//! | a session, or a dial that waits | [`SESSION_BYTES`] |
//! | what a session holds: from when a body gave it until the socket of the other side took it | [`PIN_FACTOR`] × its bytes and [`FRAME_OVERHEAD_BYTES`] a frame, in steps of [`HELD_STEP_BYTES`] |
//!
//! So the relay's resident memory is at most [`worst_case`]: the budget, and what the program needs by itself. A session can hold at most
//! [`session_worst_case`] of it, when both of its readers have stalled. An idle one holds 45 KiB in all. Ends of this implementation keep
//! no more than 2 MiB of a direction in flight; the rest is what others may do.
//!
//! Where a share is used up, a session that wants more ends with `RESOURCE_EXHAUSTED`, and new connections and dials are refused. Where
//! all of the budget is, the session that holds most, of the address that holds most, is ended for the others. A session with bytes
//! to send that none of its readers takes ends after [`STALL_TIMEOUT`].

use std::time::Duration;

use baton_proto::limits::{
    EXEC_SERVER_SESSIONS, FRAME_MAX, HANDSHAKE_TIMEOUT, MAX_SESSIONS, OUTER_STREAM_WINDOW,
};

/// Frames a direction of a session may queue before its pump stops reading and the HTTP/2 window closes behind it.
/// Large enough that the outgoing side always finds a full batch, small enough not to hide its stalls.
pub const QUEUE_BYTES: usize = 256 * 1024;

/// What a queued frame counts beside its payload, so that a flood of empty frames meets [`QUEUE_BYTES`] too: no more than
/// 2,048 frames wait in a queue.
pub const FRAME_OVERHEAD_BYTES: usize = 128;

/// Frames handed to HTTP/2 in one go: two full Noise messages make one DATA frame and one `writev`.
pub const EMIT_BYTES: usize = 128 * 1024;

/// Pieces of a body up to this size are copied out of what they arrived in, which is 64 KiB and more: a small piece would pin all of it.
pub const COPY_BYTES: usize = 32 * 1024;

/// Pieces up to this size are copied into a neighbour's buffer when they leave: cheaper than another slice of a `writev`.
pub const JOIN_BYTES: usize = 4 * 1024;

/// Memory that a held byte takes at most: a piece longer than [`COPY_BYTES`] pins the 64 KiB it arrived in, and a buffer that grows is
/// half empty.
pub const PIN_FACTOR: usize = 2;

/// Reserved for a connection: [`EARLY_READ_BYTES`] of DATA frames of a byte each (102 entries of some 280 bytes, in a table that grows by
/// doubling), one frame of [`FRAME_BEFORE_SESSION_BYTES`], the headers of a request, HTTP/2's buffers. An idle one takes some 10 KiB.
pub const CONNECTION_BYTES: usize = 80 * 1024;

/// Reserved besides once a connection has had a session: it is read [`READ_BYTES`] at a time then, which is 409 such entries. Without
/// memory for that it is read as before.
pub const SESSION_CONNECTION_BYTES: usize = 112 * 1024;

/// Reserved for TLS around a connection: rustls buffers 64 KiB either way and a record. An idle one takes some 15 KiB.
pub const TLS_BYTES: usize = 160 * 1024;

/// Reserved for a session: 45 KiB of tasks, streams and headers, and [`SESSION_HELD_BYTES`].
pub const SESSION_BYTES: usize = 80 * 1024;

/// What a session may hold before more is reserved for it.
pub const SESSION_HELD_BYTES: usize = 16 * 1024;

/// How much more is reserved at once. Large enough that bulk seldom asks.
pub const HELD_STEP_BYTES: usize = 128 * 1024;

/// Bytes of a dial before the exec-server has accepted it: its first frame, and some of what a hasty client sends behind it.
pub const PENDING_BYTES: usize = FRAME_MAX + 16 * 1024;

/// HTTP/2 frame size that the relay accepts. HTTP/2 keeps a frame until all of it is here. What an endpoint sends at once is smaller.
pub const FRAME_BYTES: u32 = 256 * 1024;

/// A frame of a peer that has had no session on its connection: message 1, headers, a registration. HTTP/2's own smallest maximum.
pub const FRAME_BEFORE_SESSION_BYTES: usize = 16 * 1024;

/// Bytes read at once of a peer that has had no session, beside a frame that is longer.
pub const EARLY_READ_BYTES: usize = 1024;

/// Bytes read at once beside a frame that is longer: at most 409 DATA frames before the tasks that take them out have their turn.
pub const READ_BYTES: usize = 4 * 1024;

/// What DATA frames under 256 bytes may lack of that, all together, while nobody has taken them out of HTTP/2 (which then closes the
/// connection): 4,112 frames of a byte. [`READ_BYTES`] keeps them far below.
pub const SMALL_FRAME_BUDGET: usize = 1024 * 1024;

/// A session with bytes to send, none of which its reader has taken for this long, ends. Longer than an end of ours waits for a sign of
/// life (35 s).
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How often sessions are looked at. What has not moved meanwhile is copied out of what it arrived in.
pub const STALL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What the program takes without any peer: code, runtime, tables, the allocator's own.
pub const PROGRAM_BYTES: usize = 48 * 1024 * 1024;

/// The most resident memory that a relay with this budget takes.
pub const fn worst_case(memory: usize) -> usize {
    // The heaviest session is ended for others at once, but gives back what it holds a little later.
    memory + memory / 8 + PROGRAM_BYTES
}

/// The most that is reserved for one session: both windows full, and for each direction a queue, a batch and HTTP/2's send buffer.
pub const fn session_worst_case() -> usize {
    let sent = SEND_BUFFER_BYTES + EMIT_BYTES + FRAME_MAX;
    let direction = OUTER_STREAM_WINDOW as usize + QUEUE_BYTES + FRAME_MAX + sent;
    SESSION_BYTES + 2 * (PIN_FACTOR * direction + HELD_STEP_BYTES)
}

/// HTTP/2 send buffer of one stream (h2's `max_send_buffer_size`). It holds what the peer's window admits and the
/// socket does not take.
pub const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Streams on one connection beyond its sessions, so that a surplus `Dial` is answered by a typed refusal instead of
/// waiting in the client for a free stream. Each costs headers and a status.
pub const EXTRA_STREAMS: u32 = 16;

/// All request headers of one stream together. The three that matter take 300 bytes; the rest is an attacker's.
pub const HEADER_LIST_BYTES: u32 = 8 * 1024;

/// One message of an exec-server on its `Register` stream; a `Proof` has 140 bytes.
pub const REGISTER_MESSAGE_BYTES: usize = 1024;

/// Dials that one exec-server has been told of and has not accepted yet. It shares its handshakes out by the dials' origins, so it
/// should know of many; one that accepts nothing has told so for this many times 16 KiB.
pub const ANNOUNCED_DIALS: usize = 256;

/// Sessions to one exec-server: those that it serves, and the dials that it has accepted beside them: 128 handshakes, 768 that wait for their
/// key's turn, 256 refusals under way. It shares them out by key, which a relay cannot see; were they scarcer here, a key that takes all it
/// can would keep the others out before the exec-server hears of them. 80 KiB each at first, 180 MiB.
pub const SESSIONS_PER_EXEC_SERVER: usize = EXEC_SERVER_SESSIONS + 128 + 768 + 256;

/// Messages that wait on one `Register` stream, some 70 bytes each: one `Incoming` for every dial that may be announced, a few pings.
/// A `Dial` that finds it full is refused: the exec-server does not read.
pub const REGISTER_QUEUE: usize = ANNOUNCED_DIALS + 8;

/// How often the file of exec-servers that may register is read again.
pub const ALLOW_SERVERS_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes read of that file: 30,000 ids. Protects memory from a wrong path.
pub const ALLOW_SERVERS_BYTES: u64 = 1024 * 1024;

/// Characters that are shown of what a peer says. Protects logs and whoever reads a refusal.
pub const SANITIZED_CHARS: usize = 256;

/// How often HTTP/2 asks whether the peer is still there: a dead one is missed within interval + timeout, 14 s. Costs 17 bytes each way.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long it has to answer before its sessions and its registration are given up. The longer part, for a machine under load answers
/// late.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(9);

/// How long the last statuses may take to leave at shutdown, or when an idle connection is closed.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How often a relay with TLS looks whether its certificate was renewed.
pub const TLS_FILES_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes read of a certificate's or a key's file. Protects memory from a wrong path; a long chain has some 10 KiB.
pub const PEM_BYTES: u64 = 1024 * 1024;

/// Pause of the accept loop when the system has no file descriptor left, so that it does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often connections that were closed because of a limit are told, with their number. Protects the log.
pub const REJECTED_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Retry hint of a refusal that passes when some pairing ends.
pub const RETRY_SOON: Duration = Duration::from_millis(250);

/// Retry hint of a refusal that passes when some session ends.
pub const RETRY_LATER: Duration = Duration::from_secs(2);

/// The limits a relay is started with; the defaults are for production.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of memory that peers can make the relay hold, all together (see the [module](self)).
    pub memory: usize,
    /// TCP connections. Protects file descriptors. Surplus ones are closed at once.
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
    /// Sessions of the whole relay.
    pub sessions: usize,
    /// Sessions that one address has dialled. Protects the others: anyone may register an exec-server and dial it. Half of the relay,
    /// because whole companies share an address.
    pub sessions_per_address: usize,
    /// Sessions to one exec-server ([`SESSIONS_PER_EXEC_SERVER`]). Protects it, and the other exec-servers of this relay.
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
    /// A session with bytes to send that has not moved for this long ends. [`STALL_TIMEOUT`], but for tests.
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
            stalled: STALL_TIMEOUT,
            connection_idle: Duration::from_secs(120),
        }
    }
}
