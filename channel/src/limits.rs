//! Limits of the channel, each with what it protects. Those that both ends must agree on are in
//! [`baton_proto::limits`], those of a session in [`baton_mux::limits`] and [`baton_noise::limits`].

use std::time::Duration;

/// How often the allow-list is looked at while sessions are open. Two looks have to find a key gone before its sessions
/// end, so that an editor caught between two writes cuts nobody; both are over in 0.4 s.
pub const ALLOW_LIST_LOOK: Duration = Duration::from_millis(200);

/// Sealed bytes the writer hands to HTTP/2 at once, where little flows: enough for one system call to pay, small enough
/// that what is scheduled next is not stuck behind it. One message more may lie on top.
pub const WRITE_BATCH: usize = 64 * 1024;

/// The same where much flows. A batch becomes one HTTP/2 frame, which the relay takes in as a whole, so fewer and
/// larger ones are fewer system calls and fewer changes between processes.
pub const WRITE_BATCH_MAX: usize = 256 * 1024;

/// Between the two, what the path took lately in this time: nothing is stuck behind a batch for longer. A link of
/// 200 Mbit/s keeps to the smaller one.
pub const WRITE_BATCH_TIME: Duration = Duration::from_micros(500);

/// How long the rate is watched before the size of a batch follows it. Longer than it takes to fill the buffers on the
/// way, which take anything at first.
pub const WRITE_BATCH_SAMPLE: Duration = Duration::from_millis(4);

/// TCP, TLS and HTTP/2 connection to the relay: one attempt.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// TCP connection to one address of the relay, within [`CONNECT_TIMEOUT`]. A host that has just gone answers no SYN;
/// another attempt finds the relay sooner than the system's retransmissions, which begin after a second.
pub const SYN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to look, after a connection in clear text failed, whether TLS would have been the answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time that a health check takes, connecting included. Below the five seconds after which container engines
/// usually kill a check, so that its sentence is in their log.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes read of the file of a private authority. Protects memory from a wrong path; a certificate has some 2 KiB.
pub const CA_FILE: u64 = 1024 * 1024;

/// HTTP/2 keep-alive on the outer legs, sent when nothing was received for this long: a dead relay is noticed within
/// interval + timeout, 14 s. Costs 17 bytes each way.
pub const OUTER_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long to wait for the answer to an HTTP/2 keep-alive. The longer part, for a machine under load answers late.
pub const OUTER_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(9);

/// How long a client tries to make a session, unless told otherwise: longer than a relay takes to restart and an
/// exec-server to find it.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// How long one attempt waits until the relay has paired it: a little longer than a dial may wait in the relay's queue
/// (30 s) and then for the exec-server (5 s), so that the relay's reason arrives first. A relay that does not answer at
/// all is missed by [`OUTER_KEEP_ALIVE`] sooner.
pub const DIAL_PATIENCE: Duration = Duration::from_secs(36);

/// Wait of a client before its second attempt; each wait by up to half of it shorter or longer, so that those who were
/// refused together do not come back together. Grows by half from one attempt to the next.
pub const RETRY_FIRST: Duration = Duration::from_millis(200);

/// The same, at most: a relay or an exec-server that is back is found soon. A client costs the relay two connections a
/// second.
pub const RETRY_LONGEST: Duration = Duration::from_millis(500);

/// Longest wait, without its jitter, that a hint of the relay or of the exec-server can ask for. Protects the client
/// from one that says "never". A hint is followed at first, and by half as much longer from one refusal to the next: a
/// crowd that is refused must not keep the machine busy with coming back.
pub const RETRY_HINT_MAX: Duration = Duration::from_secs(5);

/// Further attempts of a client where the other end hung up before it proved its key. It may hold another one, which no
/// attempt changes, or may have been stopped or late.
pub const RETRY_UNVERIFIED: u32 = 2;

/// How long a client waits for a session before whoever asked to be told is told why.
pub const WAITING_NOTICE: Duration = Duration::from_secs(1);

/// Sessions that an exec-server serves, unless told otherwise; as many as a relay splices to one. An idle one costs it
/// some 60 KiB, a busy one at worst [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) ×
/// ([`STREAM_MEMORY`](baton_mux::limits::STREAM_MEMORY) + [`SEND_BUFFER`](baton_mux::limits::SEND_BUFFER)) and
/// [`OUTER_STREAM_WINDOW`](baton_proto::limits::OUTER_STREAM_WINDOW).
pub const EXEC_SERVER_SESSIONS: usize = baton_proto::limits::EXEC_SERVER_SESSIONS;

/// How sessions are shared by client key: a key may begin one while it has fewer than this × the sessions that are
/// free. So one key alone gets four fifths of all (820 of 1,024), n that want as many as they can get share 4n / (4n +
/// 1) of them, and a key that has none finds one.
pub const SESSION_WEIGHT: usize = 4;

/// Handshakes that wait for a session of their key's share, over all keys; a key may wait while it has fewer than are
/// free. Some 4 KiB each.
pub const SESSION_QUEUE: usize = 512;

/// Unconfirmed sessions, whose client has not spoken since message 2, of an exec-server that serves so many sessions.
/// They count as sessions of their key besides. They are shared by key and origin together: of 1,024 sessions 640 can
/// be unconfirmed; one origin that shakes hands with a key and then says nothing gets 512 of these, four origins get
/// 602, and another origin always finds one, with the same key too. Fewer than a key's share of the sessions, so that a
/// key whose messages 1 are repeated can still begin a session.
pub const fn max_unconfirmed(sessions: usize) -> usize {
    let slots = sessions.saturating_mul(5) / 8;
    if slots == 0 { 1 } else { slots }
}

/// How those are shared, as [`SESSION_WEIGHT`] has it: 500 commands that one client starts at once find room.
pub const UNCONFIRMED_WEIGHT: usize = 4;

/// Handshakes that wait for one of these, some 4 KiB each. Shared alike.
pub const UNCONFIRMED_QUEUE: usize = 256;

/// How long a handshake waits for either before the client is told to try again. Shorter than the client waits for
/// message 2 ([`HANDSHAKE_TIMEOUT`](baton_proto::limits::HANDSHAKE_TIMEOUT)).
pub const SESSION_WAIT: Duration = Duration::from_secs(3);

/// What a client that found no session is told to wait.
pub const SESSION_RETRY: Duration = Duration::from_millis(500);

/// From message 2 to the first message of a client that is allowed; then its session ends, for message 1 may be an old
/// one. Longer than a handshake's other steps: it counts against the client's own key, and a machine on which hundreds
/// of commands start at once takes its time.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);

/// Sessions from the announcement of a dial to the moment when its client's key is known, per exec-server. Protects its
/// memory from strangers: some 70 KiB each, and 4 MiB of the outer window at worst. Shared by the origin that the relay
/// tells: an origin may take one while it has fewer than are free, so that one alone gets half of them and another one
/// always finds one.
pub const MAX_HALF_OPEN: usize = 128;

/// Announced dials that wait for one of these, shared by origin alike. Some 2 KiB each. One that has waited for
/// [`HANDSHAKE_TIMEOUT`](baton_proto::limits::HANDSHAKE_TIMEOUT) is forgotten: the relay has told its client.
pub const HALF_OPEN_QUEUE: usize = 2048;

/// What the clients of dials beyond that are told to wait.
pub const DECLINE_RETRY: Duration = Duration::from_millis(500);

/// Refused clients that get message 2 and their reason, each for [`CLOSE_TIMEOUT`] at most, shared by origin alike. The
/// stream of a client beyond them ends before message 2.
pub const MAX_FAREWELLS: usize = 256;

/// How long a connection for accepted sessions stays open without one, but for the first, which always does. Longer
/// than the pauses of a burst; costs some 20 KiB.
pub const POOL_IDLE: Duration = Duration::from_secs(30);

/// Messages to the relay that wait on a registration's stream: a proof, then answers to probes, one at a time. A relay
/// that asks faster than it reads waits.
pub const REGISTER_OUTBOX: usize = 4;

/// Bytes of an allow-list, which is read at every handshake: some 40,000 lines.
pub const ALLOW_LIST_MAX: u64 = 4 * 1024 * 1024;

/// Bad lines of an allow-list that its owner is told of at once. Protects logs and memory (a hundred bytes each) from a
/// file that is something else; the others are told when these are mended.
pub const ALLOW_LIST_PROBLEMS: usize = 8;

/// Characters of a ticket. One has 250; protects whoever pastes something else.
pub const TICKET_MAX: usize = 4096;

/// Wait between two attempts of an exec-server to register again after its connection was lost or the relay shut down,
/// for [`REDIAL_FOR`]; each by up to half of it shorter or longer, so that a relay that comes back does not meet all
/// its exec-servers at once.
pub const REDIAL_EVERY: Duration = Duration::from_millis(200);

/// How long an exec-server redials like this before it does so less and less often. Longer than a relay's restart; 150
/// attempts.
pub const REDIAL_FOR: Duration = Duration::from_secs(30);

/// How long a registration must have held for [`REDIAL_FOR`] to begin anew with its loss. Protects the relay from a
/// fast loop: one that drops each registration sooner is asked less and less often.
pub const REDIAL_HELD: Duration = Duration::from_secs(1);

/// First and longest wait before an exec-server registers again where the relay refused or ended its registration and
/// said so, or could not be reached for [`REDIAL_FOR`].
pub const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How long a registration that the relay ended must have held for the first wait to count again after it. Protects
/// exec-server and relay from each other, where one of the two lets go at once whatever came about. As long as the
/// longest wait, so that no more attempts are made in a time with it than without.
pub const REGISTRATION_HELD: Duration = RECONNECT_BACKOFF.1;

/// How long an exec-server that stops lets open calls finish. What is still open then is cut.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a closing session may take to send what it has queued.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Traces a second that a client of trust `clamp` may have recorded. Protects the collector.
pub const CLAMP_PER_SECOND: f64 = 100.0;

/// Traces that such a client may have recorded at once.
pub const CLAMP_BURST: f64 = 200.0;
