//! Limits that both ends of a wire must agree on. Each says what it protects and what it can cost.

use std::time::Duration;

/// Largest Noise message (Noise section 3), and so the largest payload of a relay `Frame`.
pub const NOISE_MESSAGE_MAX: usize = 65_535;

/// Bytes that AES-GCM adds to a plaintext.
pub const NOISE_TAG: usize = 16;

/// Largest plaintext of one Noise transport message.
pub const NOISE_PLAINTEXT_MAX: usize = NOISE_MESSAGE_MAX - NOISE_TAG;

/// Largest encoded `Frame`: the Noise message, its field header, and two stamps (twice, if an endpoint wrote its own).
/// Protects the receiver's reassembly buffer.
pub const FRAME_MAX: usize = NOISE_MESSAGE_MAX + 64;

/// Default and minimum window: bytes of `Data` that a sender may have outstanding per stream and direction. A receiver
/// can announce a larger one (`Head.window`, `ServerHello.window`), which then is its own limit.
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// Concurrent calls in one session. Protects the exec-server's memory and process table.
pub const MAX_STREAMS: usize = 256;

/// Largest encoded `Head` or `Trailers`: room for W3C's 8,192 bytes of baggage and usual metadata. They take no
/// credit, so this bounds the memory of a stream beside its window.
pub const HEAD_MAX: usize = 32 * 1024;

/// Metadata entries of one `Head` or `Trailers`. A decoded entry takes more than 100 bytes, however short it is:
/// without this limit, 32 KiB of empty entries would take a megabyte.
pub const METADATA_ENTRIES_MAX: usize = 1024;

/// Largest encoded timings in `Trailers`: some forty stages. Protects the client's memory from a hostile exec-server.
pub const TIMINGS_MAX: usize = 512;

/// Arguments of a start. A decoded argument takes some 80 bytes, however short it is. Protects the exec-server: a start
/// of 4 MiB could have two million. Linux accepts some 200,000 of one letter.
pub const ARGUMENTS_MAX: usize = 65_536;

/// Environment variables of a start, repeated names included. A decoded variable takes some 120 bytes, however short it
/// is.
pub const ENVIRONMENT_MAX: usize = 16_384;

/// HTTP/2 stream window on the outer legs: one session's bytes in a relay, per direction. It takes memory only while
/// the receiver does not read. HTTP/2 sends a window update once half of the window is used, so at most half of it can
/// be in flight: 2 MiB, twice the bandwidth-delay product of 200 Mbit/s and 40 ms.
pub const OUTER_STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// Sessions on one outer connection. With [`OUTER_STREAM_WINDOW`] it fixes the connection window, so that one
/// stalled session cannot stop another (256 MiB at worst for one connection).
pub const MAX_SESSIONS: u32 = 64;

/// Sessions of one exec-server, over all its connections. An idle session costs an exec-server some 60 KiB and a relay
/// 45 KiB.
pub const EXEC_SERVER_SESSIONS: usize = 1024;

/// HTTP/2 connection window on the outer legs: every session's stream window fits.
pub const OUTER_CONNECTION_WINDOW: u32 = MAX_SESSIONS * OUTER_STREAM_WINDOW;

/// HTTP/2 frame size that endpoints accept on the outer legs (a relay accepts less): fewer frames for bulk data, and at
/// most this is copied at once.
pub const OUTER_FRAME_SIZE: u32 = 1024 * 1024;

/// From `Dial` to the exec-server's `Accept`, and from there to the end of the Noise handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages that one key encrypts in one direction, at most. Far below the limits of AES-GCM and Noise, and twice the
/// number that starts a rekey, so that only a peer that answers no rekey reaches it. Protects confidentiality (NIST SP
/// 800-38D section 8.3 limits random nonces to 2^32; these nonces are counters).
pub const KEY_MAX_MESSAGES: u64 = 1 << 33;

/// Bytes of plaintext that one key encrypts in one direction, at most: 2^33 AES blocks, at which an attacker's
/// advantage in distinguishing the ciphertext from random bytes is 2^-63.
pub const KEY_MAX_BYTES: u64 = 128 << 30;

/// From the first message of a rekey to the peer's answer, including time in queues. Longer than a slow link needs for
/// the bytes queued before it. Protects from a peer that prevents rekeys.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(60);

/// The minimum interval between rekeys that a peer starts, on average. Protects the CPU from handshakes on demand. No
/// session needs more: it cannot transfer 64 GiB in a second.
pub const REKEY_PACE: Duration = Duration::from_secs(1);

/// Rekeys that a peer may start in a burst, beyond [`REKEY_PACE`].
pub const REKEY_BURST: u32 = 16;

/// Bytes of a path: Linux's PATH_MAX without the NUL that ends it.
pub const PATH_MAX: usize = 4095;

/// Bytes of one name in a directory: Linux's NAME_MAX.
pub const NAME_MAX: usize = 255;

/// Markers of one `FindUp`: more than a project's kinds of root have. With [`PATH_MAX`] it bounds the lookups of one
/// call to some 33,000, and with [`NAME_MAX`] its memory to 8 KiB.
pub const MARKERS_MAX: usize = 16;

/// Entries on one page of a `List`. A page with more is a violation. It bounds what a client decodes at once: some 120
/// bytes each, beside the page's own.
pub const LIST_PAGE_MAX: usize = 512;

/// Bytes of a file in one message: half of [`ANSWER_MAX`]. A call holds a few such pieces at each end.
pub const FILE_PIECE_MAX: usize = 128 * 1024;

/// Files of one `ReadMany`. With [`SMALL_FILE_MAX`] the answer to a call has 1 MiB at most, which a client may hold.
pub const READ_MANY_MAX: usize = 32;

/// Bytes of one file of a `ReadMany`; a longer one takes a `Read`. Messages hold at most [`FILE_PIECE_MAX`] of such bytes.
pub const SMALL_FILE_MAX: usize = 32 * 1024;

/// Largest request to `Files` except `Write`: one path and all markers of the greatest length, with their field headers.
/// It is refused before it is decoded, because a decoded marker takes more than its bytes on the wire.
pub const FILES_REQUEST_MAX: usize = PATH_MAX + MARKERS_MAX * (NAME_MAX + 3) + 64;

/// Globs of a `Glob` or `Grep` that select, and as many that exclude. With [`GLOB_MAX`], [`GLOB_DEPTH_MAX`] and
/// [`SEARCH_REQUEST_MAX`] it bounds what they take compiled, some 2 MiB.
pub const GLOBS_MAX: usize = 64;

/// Bytes of one glob.
pub const GLOB_MAX: usize = 1024;

/// Levels of braces in a glob. Protects the exec-server's stack from a glob of braces alone.
pub const GLOB_DEPTH_MAX: usize = 8;

/// Bytes of the pattern of a `Grep`: more than a list of some hundred words. Its compiled size has a limit of its own.
pub const PATTERN_MAX: usize = 4 * 1024;

/// Largest request of a `Glob` or `Grep`: a pattern, two paths and some KiB of globs. An empty glob takes 2 bytes on the
/// wire and 24 in memory, so a request takes at most some 400 KiB before its globs are counted.
pub const SEARCH_REQUEST_MAX: usize = 32 * 1024;

/// Lines before, and after, a match of a `Grep`: what a person reads. Protects the exec-server, which keeps the lines
/// before in its buffer, and bounds what a match costs in the answer.
pub const CONTEXT_LINES_MAX: u32 = 32;

/// Entries of a `Glob`, and matching lines of a `Grep`, in one answer. Nobody reads more; protects both ends' time, since
/// an answer is streamed and takes no memory.
pub const SEARCH_RESULTS_MAX: u32 = 100_000;

/// Entries or lines on one page of a `Glob` or `Grep`. A page with more is a violation. It bounds what a client decodes at
/// once: some 150 bytes each, beside the page's own.
pub const SEARCH_PAGE_MAX: usize = 512;

/// Bytes of a line in an answer of `Grep`: a long line of source. Protects callers from minified files, whose lines have
/// megabytes.
pub const LINE_TEXT_MAX: usize = 2048;

/// Largest request of a `Write`: a piece of a file with its field headers.
pub const WRITE_REQUEST_MAX: usize = FILE_PIECE_MAX + 64;

/// Bytes of a thread's id. It is a key of the exec-server's index, and an argument on a command line.
pub const THREAD_ID_MAX: usize = 256;

/// Bytes of a step's id. It is a key of the exec-server's index, an attribute of spans, and an argument on a command
/// line. A record in the exec-server's queue takes this much more memory.
pub const STEP_ID_MAX: usize = 128;

/// Largest number of a turn: spans and SQLite have signed numbers of 64 bits.
pub const TURN_MAX: u64 = i64::MAX as u64;

/// Bytes of a thread's title: a line that a person reads.
pub const THREAD_TITLE_MAX: usize = 1024;

/// Entries of metadata in one `Start` or update of a thread. With the limits below, it bounds what the
/// exec-server stores per request to [`THREAD_METADATA_BYTES_MAX`].
pub const THREAD_METADATA_ENTRIES_MAX: usize = 64;

/// Bytes of a key in a thread's metadata.
pub const THREAD_METADATA_KEY_MAX: usize = 128;

/// Bytes of a value in a thread's metadata.
pub const THREAD_METADATA_VALUE_MAX: usize = 4 * 1024;

/// Keys of metadata that a thread keeps, over all requests. With the limits above that is 1 MiB at most, which the
/// answer to `baton thread show` has in one message ([`THREAD_ANSWER_MAX`]).
pub const THREAD_METADATA_KEYS_MAX: usize = 256;

/// Bytes of keys and values in one request's metadata for a thread. Protects the exec-server's queue and disk from
/// content that is stored as metadata.
pub const THREAD_METADATA_BYTES_MAX: usize = 16 * 1024;

/// Bytes of one message of an answer (an event of a command, a page, a record) that a client decodes. Protects callers
/// from a hostile exec-server: a message of this size with the smallest records takes some 60 MiB while it is decoded,
/// and is then refused.
pub const ANSWER_MAX: usize = 256 * 1024;

/// Records or threads on one page of an answer. A page with more is a violation.
pub const PAGE_ITEMS_MAX: usize = 100;

/// Processes in `Start.received`. A client that finishes more at once, between two starts, lets their graces pass. It
/// bounds the field to 1 KiB.
pub const RECEIVED_MAX: usize = 64;

/// Events in one answer to a `Poll`. An answer with more is a violation. It bounds what a client decodes at once: some 150
/// bytes each, beside their output.
pub const POLL_EVENTS_MAX: usize = 1000;

/// A page ends when it has this many bytes, unless it has one item only. Half of [`ANSWER_MAX`], so that no last item
/// makes a page too large.
pub const PAGE_BYTES_MAX: usize = 128 * 1024;

/// Stages or ambiguous records in an answer about one command.
pub const SHOWN_MAX: usize = 256;

/// Bytes of the answer about one thread, which has all of its metadata: [`THREAD_METADATA_KEYS_MAX`] of the longest
/// keys and values, and [`ANSWER_MAX`] for the other fields.
pub const THREAD_ANSWER_MAX: usize =
    ANSWER_MAX + THREAD_METADATA_KEYS_MAX * (THREAD_METADATA_KEY_MAX + THREAD_METADATA_VALUE_MAX + 16);

/// Warms in the history of a warm state, which a client keeps and the exec-server's board holds for each conversation.
/// At the default interval that is the last quarter of an hour.
pub const WARM_HISTORY_MAX: usize = 32;

/// Bytes of the error of one warm: a sentence. With [`WARM_HISTORY_MAX`], a state has at most some 18 KiB.
pub const WARM_ERROR_MAX: usize = 512;

/// Bytes of one encoded warm state. Protects the exec-server's board, and the clients that watch it.
pub const WARM_STATE_MAX: usize = 32 * 1024;

/// Shortest interval between two warms: ten round trips a second. Protects the exec-server from a client that does
/// nothing else.
pub const WARM_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Longest interval between two warms. Nothing that must be warmed stays warm for a week; a longer one is a mistake
/// in its unit, and this one can be added to any clock.
pub const WARM_INTERVAL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Conversations that one client's key publishes on the board. A key has a share of the board, so that it cannot fill
/// it. A watcher refuses more: with [`WARM_STATE_MAX`] it holds 2 MiB at most.
pub const WARM_CONVERSATIONS_MAX: usize = 64;
