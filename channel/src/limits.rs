//! Limits of the channel, each with its reason. Limits that both ends must agree on are in [`baton_proto::limits`],
//! limits of a session in [`baton_mux::limits`] and [`baton_noise::limits`].

use std::time::Duration;

pub use baton_mux::limits::CREDIT_BATCH;

/// Interval between reads of the allow-list while sessions are open, or what outlives them is watched. A session ends
/// only when two reads in a row miss its key, or find that it has expired, because an editor may write the file in two
/// steps; that takes at most 0.4 s.
pub const ALLOW_LIST_LOOK: Duration = Duration::from_millis(200);

/// Greatest length of what precedes the Noise message of a `Frame`: gRPC's prefix, a field's tag, and a length. A
/// message is built behind this much room.
pub(crate) const FRAME_HEADER_MAX: usize = 5 + 1 + 3;

/// Size in encrypted bytes of one write to HTTP/2 at a low rate: large enough to amortize a system call, small enough
/// not to delay the frames that are scheduled next. A batch may exceed it by one message.
pub const WRITE_BATCH: usize = 64 * 1024;

/// Size of one write to HTTP/2 at a high rate. A batch becomes one HTTP/2 frame, which the relay receives as a whole.
/// Larger batches cost fewer system calls and context switches.
pub const WRITE_BATCH_MAX: usize = 256 * 1024;

/// Between [`WRITE_BATCH`] and [`WRITE_BATCH_MAX`], a batch is as large as what the path recently carried in this time.
/// It bounds the delay that a batch causes. A link of 200 Mbit/s uses the smaller size.
pub const WRITE_BATCH_TIME: Duration = Duration::from_micros(500);

/// Time over which the rate is measured before it sets the size of a batch. Longer than the path's buffers take to
/// fill: until then the measured rate is too high.
pub const WRITE_BATCH_SAMPLE: Duration = Duration::from_millis(4);

/// Timeout of one attempt to connect to the relay, including TCP, TLS and HTTP/2.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of a TCP connection to one address of the relay, within [`CONNECT_TIMEOUT`]. A host that has just gone down
/// answers no SYN. A new attempt finds the relay sooner than the system's retransmissions, which begin after a second.
pub const SYN_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout of the probe for TLS after a clear-text connection failed.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout of a health check, including the connection. Container engines usually kill a check after five seconds; a
/// shorter timeout gets the error message into their log.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum size in bytes of a private authority's file. Protects memory from a wrong path. A certificate has about 2
/// KiB.
pub const CA_FILE: u64 = 1024 * 1024;

/// Interval of HTTP/2 keep-alive on connections to the relay, sent when nothing was received for this long. A dead
/// relay is detected within interval + timeout, 14 s. Costs 17 bytes each way.
pub const OUTER_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Timeout of the answer to an HTTP/2 keep-alive. Longer than the interval, because a machine under load answers late.
pub const OUTER_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(9);

/// Default time for which a client tries to establish a session. Longer than a relay's restart plus the exec-server's
/// registration.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout of one attempt until the relay pairs it. A little longer than the dial's wait in the relay's queue (30 s)
/// plus the wait for the exec-server (5 s), so that the relay's reason arrives first. [`OUTER_KEEP_ALIVE`] detects a
/// relay that does not answer at all sooner.
pub const PAIRING_TIMEOUT: Duration = Duration::from_secs(36);

/// A client's wait before its second attempt. Each wait is randomized by ±50%, so that clients refused together do not
/// return together. The wait grows by half from one attempt to the next.
pub const RETRY_FIRST: Duration = Duration::from_millis(200);

/// Longest wait between a client's attempts, before its randomization: short, so that a client soon finds a restarted
/// relay or exec-server. A client costs the relay two connections a second.
pub const RETRY_LONGEST: Duration = Duration::from_millis(500);

/// Longest wait, without its jitter, that a hint of the relay or exec-server can cause. Protects the client from an
/// excessive hint. The first wait follows the hint, and each further refusal makes it half as long again: refused
/// clients that return too often would themselves overload the machine.
pub const RETRY_HINT_MAX: Duration = Duration::from_secs(5);

/// Time from the first refusal of a dial for want of a registration, with a hint of the relay, in which a client's
/// waits follow the hint (from [`RETRY_FIRST`] to [`RETRY_LONGEST`]) and do not grow: an exec-server whose relay died
/// registers with another one at once, and a relay that returns learns of its exec-servers soon. Afterwards the
/// exec-server is probably down, and the client waits for it as without a hint.
pub const NOT_REGISTERED_SOON: Duration = Duration::from_secs(3);

/// Further attempts of a client after the exec-server closed the stream before it proved its key. The exec-server may
/// hold another key, which no retry changes, or may have stopped or timed out.
pub const RETRY_UNVERIFIED: u32 = 2;

/// Time without a session after which a client calls [`on_waiting`](crate::ChannelConfig::on_waiting).
pub const WAITING_NOTICE: Duration = Duration::from_secs(1);

/// Default limit on an exec-server's sessions, equal to the relay's limit per exec-server. An idle session costs the
/// exec-server about 60 KiB, a busy one at worst [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) ×
/// ([`STREAM_MEMORY`](baton_mux::limits::STREAM_MEMORY) + [`SEND_BUFFER`](baton_mux::limits::SEND_BUFFER)) and
/// [`OUTER_STREAM_WINDOW`](baton_proto::limits::OUTER_STREAM_WINDOW).
pub const EXEC_SERVER_SESSIONS: usize = baton_proto::limits::EXEC_SERVER_SESSIONS;

/// Weight with which client keys share sessions: a key may begin a session while it has fewer than this × the free
/// sessions. A single key gets at most four fifths of all (820 of 1,024). n keys that each take as many as they can get
/// 4n / (4n + 1) of them. The rest stays free for a key that has none.
pub const SESSION_WEIGHT: usize = 4;

/// Handshakes that wait for a session slot, over all keys. A key may add one while it has fewer than the free queue
/// slots. About 8 KiB each, of which snow reserves 4 for a client's ML-KEM key.
pub const SESSION_QUEUE: usize = 512;

/// Limit on unconfirmed sessions of an exec-server with a limit of `sessions`. A session is unconfirmed until the
/// client's first message after message 2; it also counts as a session of its key. Pairs of key and origin share the
/// limit. Of 1,024 sessions, 640 can be unconfirmed. One origin that sends only handshakes with a key gets 512 of them,
/// four origins get 602, and a further origin always gets a slot, even with the same key. The limit is below a key's
/// share of the sessions, so that a key whose message 1 is replayed can still begin a session.
pub const fn max_unconfirmed(sessions: usize) -> usize {
    let slots = sessions.saturating_mul(5) / 8;
    if slots == 0 { 1 } else { slots }
}

/// Weight with which pairs of key and origin share unconfirmed sessions, as in [`SESSION_WEIGHT`]. One client can start
/// 500 commands at once.
pub const UNCONFIRMED_WEIGHT: usize = 4;

/// Handshakes that wait for an unconfirmed slot, about 8 KiB each. Pairs of key and origin share the queue.
pub const UNCONFIRMED_QUEUE: usize = 256;

/// Time that a handshake waits for an unconfirmed slot and a session slot before the client is asked to retry. Shorter
/// than the client's wait for message 2 ([`HANDSHAKE_TIMEOUT`](baton_proto::limits::HANDSHAKE_TIMEOUT)).
pub const SESSION_WAIT: Duration = Duration::from_secs(3);

/// Wait that a client without a session slot is asked for.
pub const SESSION_RETRY: Duration = Duration::from_millis(500);

/// Timeout from message 2 to an allowed client's first message. The session ends then, because message 1 may be a
/// replay. Longer than a handshake's other steps: the slot counts against the client's own key, and a machine on which
/// hundreds of commands start at once is slow.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);

/// Handshake slots of an exec-server: sessions between the announcement of a dial and the decryption of its client's
/// key. Protects memory from unknown clients: about 75 KiB each, and 4 MiB of the outer window at worst. Origins, as
/// the relay reports them, share the slots: an origin may take one while it has fewer than the free ones. A single
/// origin gets at most half of them, and a further origin always gets one.
pub const MAX_HALF_OPEN: usize = 128;

/// Announced dials that wait for a handshake slot, shared among origins by the same rule. About 2 KiB each. A dial that
/// has waited for [`HANDSHAKE_TIMEOUT`](baton_proto::limits::HANDSHAKE_TIMEOUT) is dropped: the relay has answered its
/// client by then.
pub const HALF_OPEN_QUEUE: usize = 2048;

/// Wait that clients of dials beyond [`HALF_OPEN_QUEUE`] are asked for.
pub const DECLINE_RETRY: Duration = Duration::from_millis(500);

/// Wait that the client of a dial is asked for whose `Accept` the relay did not take. Its next dial reaches the relay
/// that a load balancer chooses now, so it need not wait for anything.
pub const NOT_TAKEN_RETRY: Duration = Duration::from_millis(100);

/// Refused clients that concurrently get message 2 and their reason, each for at most [`CLOSE_TIMEOUT`]. Origins
/// share these slots. The stream of a further refused client ends before message 2.
pub const MAX_REFUSALS: usize = 256;

/// Time after which an idle connection for accepted sessions is closed. The first connection always stays open. Longer
/// than the pauses within a burst of dials. An idle connection costs about 20 KiB.
pub const POOL_IDLE: Duration = Duration::from_secs(30);

/// Messages to the relay that may wait on a registration's stream: a proof, then answers to probes and declined dials.
/// A relay that probes faster than it reads has to wait.
pub const REGISTER_OUTBOX: usize = 4;

/// Maximum size in bytes of an allow-list, which is read at every handshake. About 40,000 lines.
pub const ALLOW_LIST_MAX: u64 = 4 * 1024 * 1024;

/// Bad lines of an allow-list that are reported at once. Protects logs and memory (a hundred bytes each) from a file
/// that is not an allow-list. Further bad lines are reported after these are fixed.
pub const ALLOW_LIST_PROBLEMS: usize = 8;

/// Options of one line of an allow-list. Bounds the work on a long line that is none.
pub const LINE_OPTIONS_MAX: usize = 16;

/// Maximum length in bytes of an option's value. Longer commands belong in a script. Protects memory while a long line
/// is read, and keeps a forced command far below the 128 KiB that Linux accepts for one argument.
pub const OPTION_VALUE_MAX: usize = 4096;

/// Bytes of the name of a user in an option of an allow-list line: Linux has at most 256 in its user database. Protects
/// logs and messages, which repeat it.
pub const USER_NAME_MAX: usize = 256;

/// Maximum length of a ticket in characters. A ticket has about 250. Bounds the work on other text that a user pastes.
pub const TICKET_MAX: usize = 4096;

/// First wait of an exec-server before it registers again after its connection was lost or the relay shut down,
/// randomized by ±50%. Short: behind a load balancer another relay is there at once, and commands wait for it.
pub const REDIAL_FIRST: Duration = Duration::from_millis(100);

/// Wait between the further attempts, for [`REDIAL_FOR`]. Each wait is randomized by ±50%, so that the exec-servers of
/// a restarted relay do not all connect at once.
pub const REDIAL_EVERY: Duration = Duration::from_millis(200);

/// Time for which an exec-server redials at [`REDIAL_EVERY`], before the exponential backoff. Longer than a relay's
/// restart; about 150 attempts.
pub const REDIAL_FOR: Duration = Duration::from_secs(30);

/// Minimum duration of a registration whose loss restarts [`REDIAL_FOR`]. Prevents a fast loop: a relay that drops each
/// registration sooner is redialled with exponential backoff.
pub const REDIAL_HELD: Duration = Duration::from_secs(1);

/// First and longest wait before an exec-server registers again, after the relay refused or ended the registration with
/// a reason, or could not be reached for [`REDIAL_FOR`].
pub const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Minimum duration of a registration that resets [`RECONNECT_BACKOFF`] when the relay ends it. Protects both ends from
/// a fast loop of registrations that end at once. Equal to the longest wait, so that resets never increase the rate of
/// attempts.
pub const REGISTRATION_HELD: Duration = RECONNECT_BACKOFF.1;

/// Interval at which an exec-server asks whether the relay that its load balancer now chooses has its registration.
/// A relay that returns takes over the exec-servers that hash to it only when they ask. One stream of some 200 bytes:
/// 10,000 exec-servers cost their relays 1,000 a second.
pub const HERE_INTERVAL: Duration = Duration::from_secs(10);

/// Time from a registration to its first question, which tells a load balancer's table of it. After the dials that have
/// waited for the registration, so that it takes no time from them.
pub const HERE_FIRST: Duration = Duration::from_millis(20);

/// Time after a registration, or after its return, in which questions follow each other by [`HERE_EARLY_INTERVAL`]
/// until the first OK, and NOT_FOUND moves nothing. A balancer that sends `Register` and `Here` to different relays
/// causes one registration in this time. Shorter than the shortest [`HERE_INTERVAL`].
pub const HERE_EARLY: Duration = Duration::from_secs(9);

/// See [`HERE_EARLY`]. 10,000 exec-servers whose balancer does not find them cost 10,000 questions a second for so
/// long.
pub const HERE_EARLY_INTERVAL: Duration = Duration::from_secs(1);

/// The part of [`HERE_INTERVAL`] by which each interval is longer or shorter, so that exec-servers that registered
/// together do not ask together. The longest interval is 11 s.
pub const HERE_SPREAD: f64 = 0.1;

/// Timeout of one such question. A load balancer whose relay hangs answers late or never; the next question follows.
pub const HERE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for which an exec-server that registered with another relay keeps the earlier registration, for dials that are
/// pending there. The relay waits as long for an answer to a dial that it has announced
/// ([`HANDSHAKE_TIMEOUT`](baton_proto::limits::HANDSHAKE_TIMEOUT)). Costs one registration and its connections, about
/// 60 KiB.
pub const REGISTRATION_KEPT: Duration = baton_proto::limits::HANDSHAKE_TIMEOUT;

/// Signs of a registration (pings, answers to questions) that wait to be read, a few bytes each. A relay that pings
/// faster has to wait.
pub const REGISTRATION_SIGNS: usize = 4;

/// How many intervals of the relay's pings may pass without one before an exec-server registers anew: a lost or late
/// ping does not count as a lost relay.
pub const PING_PATIENCE: f64 = 2.5;

/// Least and greatest time without a ping after which an exec-server registers anew, whatever interval the relay
/// announces. With less, a relay could cause a loop of registrations; with more, the check would never find a lost
/// relay.
pub const PING_PATIENCE_RANGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Default of [`ServerConfig::drain_timeout`](crate::ServerConfig::drain_timeout): the time that open calls have to
/// finish when an exec-server stops. The remaining calls are cut.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls of one record that are remembered after their sessions were lost, because the exec-server may answer a later
/// call with the timings of one of them. More than the attempts to start a command
/// (`START_ATTEMPTS` of `baton-core-client`). Costs 24 bytes each.
pub const LOST_CALLS_MAX: usize = 8;

/// Time that a closing session has to send its queued frames.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Recorded traces a second of a client with trust `clamp`. Protects the collector.
pub const CLAMP_PER_SECOND: f64 = 100.0;

/// Burst of recorded traces of a client with trust `clamp`.
pub const CLAMP_BURST: f64 = 200.0;
