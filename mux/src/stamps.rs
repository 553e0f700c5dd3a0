//! When the frames that delimit stages were queued, sent and received.

use std::time::Instant;

/// The relay's stamp on one message, in nanoseconds. Untrusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RelayStamp {
    /// Residence in the relay's queue.
    pub queue_ns: u64,
    /// Time to receive the frame in the relay.
    pub forward_ns: u64,
}

/// When a frame passed each step of sending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentStamps {
    /// Queued by the application.
    pub queued: Option<Instant>,
    /// Taken by the writer.
    pub taken: Option<Instant>,
    /// Encrypted and handed to the link.
    pub sealed: Option<Instant>,
}

/// When a frame passed each step of receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedStamps {
    /// The link had received the whole message.
    pub at: Instant,
    /// Decrypted and decoded.
    pub opened: Instant,
    /// The relay's stamp.
    pub relay: RelayStamp,
}

/// Stamps of the frames that delimit the stages of a stream.
#[derive(Debug, Clone, Default)]
pub struct Stamps {
    /// The `Head` this end sent.
    pub head_sent: SentStamps,
    /// The `Head` this end received.
    pub head_received: Option<ReceivedStamps>,
    /// The latest `Data` this end sent; once the stream is over, the last.
    pub last_data_sent: SentStamps,
    /// The latest `Data` this end received; once the stream is over, the last.
    pub last_data_received: Option<ReceivedStamps>,
}
