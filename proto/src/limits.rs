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

/// Bytes of stream data a sender may have outstanding per stream and direction before credit comes back, when the
/// receiver does not say more (`Head.window`, `ServerHello.window`). What a receiver says is its own limit.
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// Concurrent calls in one session. Protects the exec-server's memory and process table.
pub const MAX_STREAMS: usize = 256;

/// Largest encoded `Head` or `Trailers`: room for W3C's 8,192 bytes of baggage and usual metadata. They take no
/// credit, so this bounds what a stream can hold beside its window.
pub const HEAD_MAX: usize = 32 * 1024;

/// Metadata entries of one `Head` or `Trailers`. Decoded, an entry costs a hundred bytes and more, however short it is:
/// without a count, 32 KiB of empty ones would become a megabyte.
pub const METADATA_ENTRIES_MAX: usize = 1024;

/// Largest encoded timings in `Trailers`: some forty stages. Protects the client from a server that lies at length.
pub const TIMINGS_MAX: usize = 512;

/// Arguments of a start. Decoded, one costs some 80 bytes, however short it is. Protects the exec-server: a start of 4
/// MiB could hold two million. Linux takes some 200,000 of one letter.
pub const ARGUMENTS_MAX: usize = 65_536;

/// Environment variables of a start, those of one name counted each. Decoded, one costs some 120 bytes, however short
/// it is.
pub const ENVIRONMENT_MAX: usize = 16_384;

/// HTTP/2 stream window on the outer legs: one session's bytes in a relay, per direction. It is memory only while the
/// other side does not take them. HTTP/2 grants it anew once half of it was used, so half of it is what a path can
/// hold: 2 MiB, twice what 200 Mbit/s and 40 ms do.
pub const OUTER_STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// Sessions on one outer connection. With [`OUTER_STREAM_WINDOW`] it fixes the connection window, so that one
/// stalled session cannot stop another (256 MiB at worst for one connection).
pub const MAX_SESSIONS: u32 = 64;

/// Sessions of one exec-server, over all its connections. An idle session costs an exec-server some 60 KiB and a relay
/// 45 KiB.
pub const EXEC_SERVER_SESSIONS: usize = 1024;

/// HTTP/2 connection window on the outer legs: every session's stream window fits.
pub const OUTER_CONNECTION_WINDOW: u32 = MAX_SESSIONS * OUTER_STREAM_WINDOW;

/// HTTP/2 frame size that both sides of an outer leg accept: fewer frames for bulk, and at most this is copied at once.
pub const OUTER_FRAME_SIZE: u32 = 1024 * 1024;

/// From `Dial` to the exec-server's `Accept`, and from there to the end of the Noise handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages that one key seals in one direction, at most. Far under AES-GCM's and Noise's own limits, and twice what a
/// key seals before it is renewed, so that only a peer that never answers a rekey gets here. Protects confidentiality
/// (NIST SP 800-38D section 8.3 asks for 2^32 only of random nonces; ours count).
pub const KEY_MAX_MESSAGES: u64 = 1 << 33;

/// Bytes of plaintext that one key seals in one direction, at most: 2^33 AES blocks, an advantage of 2^-63 to whoever
/// tells the stream from noise.
pub const KEY_MAX_BYTES: u64 = 128 << 30;

/// From the first message of a rekey to the answer of the peer, waiting in queues included. Longer than a slow link
/// needs to drain what is queued before it; protects from a peer that lets a key grow old.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(60);

/// A peer may make the other end take part in one rekey in this time, on average. Protects from Diffie-Hellman on
/// demand: 64 GiB in less than a second is out of reach.
pub const REKEY_PACE: Duration = Duration::from_secs(1);

/// Rekeys that a peer may make at once before [`REKEY_PACE`] counts.
pub const REKEY_BURST: u32 = 16;

/// Bytes of a thread's id. It is a key of the exec-server's index, and a word on somebody's command line.
pub const THREAD_ID_MAX: usize = 256;

/// Bytes of a thread's title: a line that a person reads.
pub const THREAD_TITLE_MAX: usize = 1024;

/// Entries of metadata in one `Start` or update of a thread. With the limits below, what one request makes the
/// exec-server keep of it is bounded by [`THREAD_METADATA_BYTES_MAX`], however it is cut.
pub const THREAD_METADATA_ENTRIES_MAX: usize = 64;

/// Bytes of a key in a thread's metadata.
pub const THREAD_METADATA_KEY_MAX: usize = 128;

/// Bytes of a value in a thread's metadata.
pub const THREAD_METADATA_VALUE_MAX: usize = 4 * 1024;

/// Keys of metadata that a thread keeps, by however many requests they came. With the limits above that is 1 MiB at
/// most: `baton thread show` is told all of it in one message, which may have 4.
pub const THREAD_METADATA_KEYS_MAX: usize = 256;

/// Bytes of keys and values in one request's metadata for a thread. Protects the exec-server's queue and disk from
/// metadata that is really content.
pub const THREAD_METADATA_BYTES_MAX: usize = 16 * 1024;

/// Bytes of one message of an answer (an event of a command, a page, a record) that a client decodes. Protects callers
/// from an exec-server: a message of the smallest records takes some 60 MiB for as long as its decoding, and is refused
/// then.
pub const ANSWER_MAX: usize = 256 * 1024;

/// Records or threads on one page of an answer. A page with more is a violation.
pub const PAGE_ITEMS_MAX: usize = 100;

/// Bytes with which a page ends, unless it has one item only. Half of [`ANSWER_MAX`], so that no item makes a page too
/// large.
pub const PAGE_BYTES_MAX: usize = 128 * 1024;

/// Stages or ambiguous records in an answer about one command.
pub const SHOWN_MAX: usize = 256;

/// Bytes of the answer about one thread, which has all of its metadata: [`THREAD_METADATA_KEYS_MAX`] of the longest
/// keys and values, and room.
pub const THREAD_ANSWER_MAX: usize =
    ANSWER_MAX + THREAD_METADATA_KEYS_MAX * (THREAD_METADATA_KEY_MAX + THREAD_METADATA_VALUE_MAX + 16);
