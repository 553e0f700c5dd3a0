//! Limits of the channel, each with what it protects. Those that both ends must agree on are in
//! [`baton_proto::limits`].

use std::time::Duration;

/// Bytes a stream may have queued before its producer waits; one further chunk may lie on top. Protects the sender:
/// `MAX_STREAMS` × (this + a chunk) at worst.
pub const SEND_BUFFER: usize = 256 * 1024;

/// Bytes that one stream makes a receiver hold, per direction, at worst; a session [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) × this.
/// [`RECEIVE_WINDOW`] here, and [`DECODER_HOLDS`] in gRPC's decoder.
pub const STREAM_MEMORY: u32 = 2 * 1024 * 1024;

/// Bytes of a stream that gRPC's decoder may hold beyond the window: credit was given back for them when it took them. The message that it
/// assembles and the next one's beginning, in buffers as the allocator gives them. A message longer than this is its caller's.
pub const DECODER_HOLDS: u32 = 256 * 1024;

/// Bytes that the peer may have outstanding on a stream, as it is told. More than a path of 200 Mbit/s and 40 ms holds, while the
/// last [`CREDIT_BATCH`] is not given back.
pub const RECEIVE_WINDOW: u32 = STREAM_MEMORY - DECODER_HOLDS;

/// Consumed bytes after which credit goes back. Small enough to keep a window open, large enough that credits are
/// rare.
pub const CREDIT_BATCH: u32 = RECEIVE_WINDOW / 8;

/// Bytes a stream sends before the next one's turn. Protects small calls from bulk.
pub const QUANTUM: usize = 16 * 1024;

/// Bytes that streams with a small backlog may send in a row while bulk waits. Protects bulk from starving.
pub const FRESH_BURST: usize = 4 * QUANTUM;

/// Bytes sealed and not known to be with the peer, at most: half of the outer window. HTTP/2 grants a window anew once half of it was
/// used, so what is in flight always fits, the writer is never stuck behind a peer that takes nothing, and a session can always be
/// reset. It limits one session to this in a round trip: 52 MB/s at 40 ms.
pub const IN_FLIGHT_MAX: u64 = baton_proto::limits::OUTER_STREAM_WINDOW as u64 / 2;

/// The same, at least: a path that takes nothing now must still be able to show that it takes more.
pub const IN_FLIGHT_MIN: u64 = 16 * 1024;

/// The same before anything was measured. Doubled each round trip while the path takes it.
pub const IN_FLIGHT_INITIAL: u64 = 128 * 1024;

/// What more than the path holds may be in flight: the longest that a frame waits for bulk that was sealed before it. Enough to ride
/// out the time between two answers, and for a rate that grows to be noticed.
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

/// Round trips in a row without a queue after which more may be in flight than the model says. Two, for the one after a drain has
/// none either.
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

/// How much longer than twice the bytes a message may be, for them to stay a part of it. A short call's message is not copied.
pub const COPY_SLACK: usize = 512;

/// Pieces that wait unread are joined up to this length. Protects memory from single bytes, which cost a hundred each: a peer could
/// turn a window of 1 MiB into 100 MiB.
pub const JOIN_UP_TO: usize = 4 * 1024;

/// `Data` frames without a byte that a stream may receive. Protects the reader from a flood that takes no credit.
pub const MAX_EMPTY_DATA: u32 = 64;

/// Answers to pings waiting to be sent. Protects memory from a ping flood; a peer that pings as designed has one.
pub const MAX_PONGS: usize = 16;

/// Streams that have ended and whose handlers have not gone yet, beside the [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) open
/// ones. As many, so that a client may give up all its calls and make others at once; what such a stream buffered is freed when it ends.
/// Protects the task table from a peer that opens streams and resets them faster than handlers can be stopped.
pub const MAX_ENDING: usize = baton_proto::limits::MAX_STREAMS;

/// Resets, refusals among them, waiting to be sent while the peer opens further streams. Protects memory from a peer that
/// opens streams without reading.
pub const MAX_RESETS: usize = 1024;

/// Messages of one direction after which its key is renewed. Far under what AES-GCM and Noise allow; the key's end is
/// [`baton_proto::limits::KEY_MAX_MESSAGES`].
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 32;

/// Bytes of plaintext in one direction after which its key is renewed: what a thief of one key could read at most,
/// together with [`REKEY_AFTER`].
pub const REKEY_AFTER_BYTES: u64 = 64 << 30;

/// Age at which a key is renewed, whatever it has carried. Bounds for how long a stolen one is of use.
pub const REKEY_AFTER: Duration = Duration::from_secs(3600);

/// Of an exec-server's sessions each renews its keys up to this part of the age sooner, so that many that began together do not all
/// shake hands in the same moment.
pub const REKEY_SPREAD: u32 = 10;

/// How often the allow-list is looked at while sessions are open. Two looks have to find a key gone before its sessions
/// end, so that an editor caught between two writes cuts nobody; both are over in 0.4 s.
pub const ALLOW_LIST_LOOK: Duration = Duration::from_millis(200);

/// How often the client samples the clock and proves it is alive.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Silence after which the peer is taken for dead. Anything received counts, so bulk never trips it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(35);

/// Sealed bytes the writer hands to HTTP/2 at once, where little flows: enough for one system call to pay, small enough that what is
/// scheduled next is not stuck behind it. One message more may lie on top.
pub const WRITE_BATCH: usize = 64 * 1024;

/// The same where much flows. A batch becomes one HTTP/2 frame, which the relay takes in as a whole, so fewer and larger ones are
/// fewer system calls and fewer changes between processes.
pub const WRITE_BATCH_MAX: usize = 256 * 1024;

/// Between the two, what the path took lately in this time: nothing is stuck behind a batch for longer. A link of
/// 200 Mbit/s keeps to the smaller one.
pub const WRITE_BATCH_TIME: Duration = Duration::from_micros(500);

/// How long the rate is watched before the size of a batch follows it. Longer than it takes to fill the buffers on the way, which
/// take anything at first.
pub const WRITE_BATCH_SAMPLE: Duration = Duration::from_millis(4);

/// TCP, TLS and HTTP/2 connection to the relay: one attempt.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// TCP connection to one address of the relay, within [`CONNECT_TIMEOUT`]. A host that has just gone answers no SYN; another attempt
/// finds the relay sooner than the system's retransmissions, which begin after a second.
pub const SYN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to look, after a connection in clear text failed, whether TLS would have been the answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time that a health check takes, connecting included. Below the five seconds after which container engines usually kill a check,
/// so that its sentence is in their log.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes read of the file of a private authority. Protects memory from a wrong path; a certificate has some 2 KiB.
pub const CA_FILE: u64 = 1024 * 1024;

/// HTTP/2 keep-alive on the outer legs, sent when nothing was received for this long: a dead relay is noticed within interval + timeout,
/// 14 s. Costs 17 bytes each way.
pub const OUTER_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long to wait for the answer to an HTTP/2 keep-alive. The longer part, for a machine under load answers late.
pub const OUTER_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(9);

/// How long a client tries to make a session, unless told otherwise: longer than a relay takes to restart and an exec-server to find it.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// How long one attempt waits until the relay has paired it: a little longer than a dial may wait in the relay's queue (30 s) and then for
/// the exec-server (5 s), so that the relay's reason arrives first. A relay that does not answer at all is missed by
/// [`OUTER_KEEP_ALIVE`] sooner.
pub const DIAL_PATIENCE: Duration = Duration::from_secs(36);

/// Wait of a client before its second attempt; each wait by up to half of it shorter or longer, so that those who were refused together do
/// not come back together. Grows by half from one attempt to the next.
pub const RETRY_FIRST: Duration = Duration::from_millis(200);

/// The same, at most: a relay or an exec-server that is back is found soon. A client costs the relay two connections a second.
pub const RETRY_LONGEST: Duration = Duration::from_millis(500);

/// Longest wait, without its jitter, that a hint of the relay or of the exec-server can ask for. Protects the client from one that says
/// "never". A hint is followed at first, and by half as much longer from one refusal to the next: a crowd that is refused must not keep
/// the machine busy with coming back.
pub const RETRY_HINT_MAX: Duration = Duration::from_secs(5);

/// Further attempts of a client where the other end hung up before it proved its key. It may hold another one, which no attempt changes, or
/// may have been stopped or late.
pub const RETRY_UNVERIFIED: u32 = 2;

/// How long a client waits for a session before whoever asked to be told is told why.
pub const WAITING_TOLD: Duration = Duration::from_secs(1);

/// Sessions that an exec-server serves, unless told otherwise; as many as a relay splices to one. An idle one costs it some 60 KiB, a busy
/// one at worst [`MAX_STREAMS`](baton_proto::limits::MAX_STREAMS) × ([`STREAM_MEMORY`] + [`SEND_BUFFER`]) and
/// [`OUTER_STREAM_WINDOW`](baton_proto::limits::OUTER_STREAM_WINDOW).
pub const EXEC_SERVER_SESSIONS: usize = baton_proto::limits::EXEC_SERVER_SESSIONS;

/// How sessions are shared by client key: a key may begin one while it has fewer than this × the sessions that are free. So one key alone
/// gets four fifths of all (820 of 1,024), n that want as many as they can get share 4n / (4n + 1) of them, and a key that has none finds one.
pub const SESSION_WEIGHT: usize = 4;

/// Handshakes that wait for a session of their key's share, over all keys; a key may wait while it has fewer than are free. Some 4 KiB each.
pub const SESSION_QUEUE: usize = 512;

/// Sessions whose client has not spoken since message 2, over all keys and origins. They count with their key's sessions besides. Shared by
/// key and origin: one origin that shakes hands with a key and then says nothing gets 512 of them, four get 602, and another origin always finds
/// one, with the same key too. Fewer than a key's share of [`EXEC_SERVER_SESSIONS`], so that a key whose messages 1 are repeated can still begin
/// a session.
pub const MAX_UNCONFIRMED: usize = 640;

/// How those are shared, as [`SESSION_WEIGHT`] has it: 500 commands that one client starts at once find room.
pub const UNCONFIRMED_WEIGHT: usize = 4;

/// Handshakes that wait for one of these, some 4 KiB each. Shared alike.
pub const UNCONFIRMED_QUEUE: usize = 256;

/// How long a handshake waits for either before the client is told to try again. Shorter than the client waits for message 2
/// ([`HANDSHAKE_TIMEOUT`](baton_proto::limits::HANDSHAKE_TIMEOUT)).
pub const SESSION_WAIT: Duration = Duration::from_secs(3);

/// What a client that found no session is told to wait.
pub const SESSION_RETRY: Duration = Duration::from_millis(500);

/// From message 2 to the first message of a client that is allowed; then its session ends, for message 1 may be an old one. Longer than a
/// handshake's other steps: it counts against the client's own key, and a machine on which hundreds of commands start at once takes its time.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);

/// Sessions from the announcement of a dial to the moment when its client's key is known, per exec-server. Protects its memory from
/// strangers: some 70 KiB each, and 4 MiB of the outer window at worst. Shared by the origin that the relay tells: an origin may
/// take one while it has fewer than are free, so that one alone gets half of them and another one always finds one.
pub const MAX_HALF_OPEN: usize = 128;

/// Announced dials that wait for one of these, shared by origin alike. Some 2 KiB each. One that has waited for
/// [`HANDSHAKE_TIMEOUT`](baton_proto::limits::HANDSHAKE_TIMEOUT) is forgotten: the relay has told its client.
pub const HALF_OPEN_QUEUE: usize = 2048;

/// What the clients of dials beyond that are told to wait.
pub const DECLINE_RETRY: Duration = Duration::from_millis(500);

/// Refused clients that are being told so, each for [`CLOSE_TIMEOUT`] at most, shared by origin alike. A client beyond them is cut without
/// a word.
pub const MAX_FAREWELLS: usize = 256;

/// How long a connection for accepted sessions stays open without one, but for the first, which always does. Longer than the pauses of a
/// burst; costs some 20 KiB.
pub const POOL_IDLE: Duration = Duration::from_secs(30);

/// Messages to the relay that wait on a registration's stream: a proof, then answers to probes, one at a time. A relay that
/// asks faster than it reads waits.
pub const REGISTER_OUTBOX: usize = 4;

/// Bytes of a key file. One is 60 bytes long; another file named by mistake is not read whole.
pub const KEY_FILE_MAX: usize = 1024;

/// Bytes of an allow-list, which is read at every handshake: some 40,000 lines.
pub const ALLOW_LIST_MAX: u64 = 4 * 1024 * 1024;

/// Bad lines of an allow-list that its owner is told of at once. Protects logs and memory (a hundred bytes each) from a file that is something
/// else; the others are told when these are mended.
pub const ALLOW_LIST_PROBLEMS: usize = 8;

/// Characters of a ticket. One has 250; protects whoever pastes something else.
pub const TICKET_MAX: usize = 4096;

/// Wait between two attempts of an exec-server to register again after its connection was lost or the relay shut down, for
/// [`REDIAL_FOR`]; each by up to half of it shorter or longer, so that a relay that comes back does not meet all its exec-servers at once.
pub const REDIAL_EVERY: Duration = Duration::from_millis(200);

/// How long an exec-server redials like this before it does so less and less often. Longer than a relay's restart; 150 attempts.
pub const REDIAL_FOR: Duration = Duration::from_secs(30);

/// How long a registration must have held for [`REDIAL_FOR`] to begin anew with its loss. Protects the relay from a fast loop: one that
/// drops each registration sooner is asked less and less often.
pub const REDIAL_HELD: Duration = Duration::from_secs(1);

/// First and longest wait before an exec-server registers again where the relay refused or ended its registration and said so, or could
/// not be reached for [`REDIAL_FOR`].
pub const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How long a registration that the relay ended must have held for the first wait to count again after it. Protects exec-server and relay
/// from each other, where one of the two lets go at once whatever came about. As long as the longest wait, so that no more attempts are
/// made in a time with it than without.
pub const REGISTRATION_HELD: Duration = RECONNECT_BACKOFF.1;

/// How long an exec-server that stops lets open calls finish. What is still open then is cut.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a closing session may take to send what it has queued.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Traces a second that a client of trust `clamp` may have recorded. Protects the collector.
pub const CLAMP_PER_SECOND: f64 = 100.0;

/// Traces that such a client may have recorded at once.
pub const CLAMP_BURST: f64 = 200.0;
