//! Errors of a session, caused by the peer, and of one stream, caused locally.

use std::time::Duration;

use baton_proto::channel::go_away;
use baton_proto::limits::MAX_STREAMS;

use crate::frame::FrameError;
use crate::limits;

/// The peer broke the protocol or a limit; the session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// An invalid sequence of frames.
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    /// A frame that does not parse.
    #[error("the peer sent a malformed frame: {0}")]
    Frame(#[from] FrameError),
    /// The peer exceeded a limit, such as its credit.
    #[error("the peer exceeded a limit: {0}")]
    Limit(&'static str),
    /// No message arrived for [`limits::IDLE_TIMEOUT`].
    #[error("the peer has not answered for {} s", limits::IDLE_TIMEOUT.as_secs())]
    Silent,
    /// A `Ping` has no answer for [`limits::PONG_TIMEOUT`], although the peer sends.
    #[error("the peer has answered no Ping for {} s", limits::PONG_TIMEOUT.as_secs())]
    Unanswered,
}

impl MuxError {
    /// The reason and the detail of the `GoAway` for the peer.
    pub fn go_away(&self) -> (go_away::Reason, String) {
        let seconds = |what, limit: Duration| format!("{what} for {} s", limit.as_secs());
        match self {
            Self::Protocol(what) => (go_away::Reason::ProtocolError, (*what).into()),
            Self::Frame(error) => (go_away::Reason::ProtocolError, format!("a frame: {error}")),
            Self::Limit(what) => (go_away::Reason::LimitExceeded, (*what).into()),
            Self::Silent => (
                go_away::Reason::Timeout,
                seconds("no message", limits::IDLE_TIMEOUT),
            ),
            Self::Unanswered => (
                go_away::Reason::Timeout,
                seconds("no answer to a Ping", limits::PONG_TIMEOUT),
            ),
        }
    }
}

/// A stream could not be opened, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// [`MAX_STREAMS`] calls are open.
    #[error("too many calls at once in one session (limit {MAX_STREAMS})")]
    TooMany,
    /// The session takes no further calls.
    #[error("the session is closing")]
    GoingAway,
    /// The head is larger than [`baton_proto::limits::HEAD_MAX`].
    #[error("the call's metadata is too large")]
    HeadTooLarge,
    /// The stream has ended.
    #[error("the call has ended")]
    Closed,
}
