//! Why a session ended, and how calls report it.

use std::sync::Arc;

use baton_mux::{MuxError, StreamError};
use baton_noise::{RekeyError, TransportError};
use baton_proto::channel::go_away;
use baton_trace::call_end::CallEnd;
use tonic::{Code, Status};

use crate::outer::OuterError;

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The relay ended the session's stream, mostly because the peer is gone. The text is an unauthenticated hint.
    #[error("the connection through the relay ended: {0}")]
    Relay(String),
    /// This end's own connection to the relay was lost, or the relay shuts down. The text is an unauthenticated hint.
    #[error("the connection to the relay was lost: {0}")]
    ConnectionLost(String),
    /// The relay broke its protocol.
    #[error(transparent)]
    Outer(#[from] OuterError),
    /// A message did not decrypt, or the key is used up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The peer broke the inner protocol or a limit.
    #[error(transparent)]
    Mux(#[from] MuxError),
    /// The session's keys could not be renewed.
    #[error(transparent)]
    Rekey(#[from] RekeyError),
    /// The exec-server does not know the client's key.
    #[error(
        "this key is not allowed: ask the exec-server's owner to add the client's public line to its allow-list"
    )]
    NotAllowed,
    /// The exec-server cannot determine whether the client's key is allowed: its allow-list is unusable, or the
    /// client's line is invalid.
    #[error(
        "the exec-server's allow-list does not tell whether this key is allowed: ask its owner to check the exec-server's output"
    )]
    AllowListUnusable,
    /// On the exec-server: the client's key is no longer on the allow-list.
    #[error("its key was taken off the allow-list")]
    Revoked,
    /// On the exec-server: the time of the option `expires` of the client's line on the allow-list has passed.
    #[error("its key has expired on the allow-list")]
    Expired,
    /// The peer ended the session with a `GoAway`.
    #[error("the other end {}", parting(*.0))]
    GoAway(go_away::Reason),
    /// The peer reports that this end broke the protocol or a limit, and has ended the session. The cause is a bug of
    /// either end, or incompatible versions.
    #[error(
        "the other end ended the session because this end broke {}: it reports \"{said}\"; if both ends have the same \
         version, report a bug",
        fault(*.reason)
    )]
    Rejected {
        /// `ProtocolError` or `LimitExceeded`.
        reason: go_away::Reason,
        /// The peer's detail, without control characters.
        said: String,
    },
    /// The peer ended the session because messages were missing or altered. The cause is either end, or the network
    /// between them.
    #[error("the other end ended the session because {}: it reports \"{said}\"", loss(*.reason))]
    Interrupted {
        /// `Timeout` or `Damaged`.
        reason: go_away::Reason,
        /// The peer's detail, without control characters.
        said: String,
    },
    /// On the exec-server: no transport message of the client arrived within
    /// [`CONFIRM_TIMEOUT`](crate::limits::CONFIRM_TIMEOUT).
    #[error(
        "the client sent nothing after the handshake: it is gone, or the relay replayed an old handshake"
    )]
    Unconfirmed,
    /// This end closed the session.
    #[error("the session was closed")]
    Closed,
}

/// The action of a peer that sent this reason.
fn parting(reason: go_away::Reason) -> &'static str {
    match reason {
        go_away::Reason::Shutdown => "is shutting down",
        // The other reasons have variants of their own.
        _ => "ended the session",
    }
}

/// The rule that this end broke, as the peer reports it.
fn fault(reason: go_away::Reason) -> &'static str {
    match reason {
        go_away::Reason::LimitExceeded => "a limit",
        _ => "the protocol",
    }
}

/// The loss that the peer reports.
fn loss(reason: go_away::Reason) -> &'static str {
    match reason {
        go_away::Reason::Timeout => "it waited too long for a message of this end",
        _ => "a message of this end did not arrive intact",
    }
}

impl SessionError {
    /// The error of an end whose peer ended the session with this `GoAway`. `None`: the `GoAway` leaves open calls to
    /// be answered.
    pub(crate) fn from_go_away(reason: go_away::Reason, said: &str) -> Option<Self> {
        let said = said.to_owned();
        match reason {
            go_away::Reason::NotAllowed => Some(Self::NotAllowed),
            go_away::Reason::AllowListUnusable => Some(Self::AllowListUnusable),
            go_away::Reason::ProtocolError | go_away::Reason::LimitExceeded => {
                Some(Self::Rejected { reason, said })
            }
            go_away::Reason::Timeout | go_away::Reason::Damaged => Some(Self::Interrupted { reason, said }),
            go_away::Reason::Shutdown | go_away::Reason::Unspecified => None,
        }
    }

    /// The reason and the detail of the `GoAway` that is sent when this error ends the session. `None`: the peer ended
    /// the session, or is unreachable. The detail names no internals.
    pub(crate) fn to_go_away(&self) -> Option<(go_away::Reason, String)> {
        let (reason, detail) = match self {
            Self::Mux(error) => return Some(error.go_away()),
            Self::Revoked | Self::Expired => (go_away::Reason::NotAllowed, ""),
            Self::AllowListUnusable => (go_away::Reason::AllowListUnusable, ""),
            Self::Unconfirmed => (
                go_away::Reason::Timeout,
                "no message of the client after the handshake",
            ),
            Self::Outer(error) => return Some((go_away::Reason::Damaged, error.to_string())),
            Self::Transport(TransportError::Exhausted) => {
                (go_away::Reason::LimitExceeded, "more than a key may carry")
            }
            Self::Transport(TransportError::Decrypt | TransportError::TooLong) => {
                (go_away::Reason::Damaged, "a message did not decrypt")
            }
            Self::Rekey(RekeyError::Unexpected(what)) => (go_away::Reason::ProtocolError, *what),
            Self::Rekey(RekeyError::Handshake(_)) => {
                (go_away::Reason::ProtocolError, "the handshake of a rekey failed")
            }
            Self::Rekey(RekeyError::OtherKey) => (go_away::Reason::ProtocolError, "a rekey with another key"),
            Self::Rekey(RekeyError::TooOften) => (go_away::Reason::LimitExceeded, "rekeys"),
            Self::Rekey(RekeyError::Timeout) => {
                (go_away::Reason::Timeout, "a rekey was not finished in time")
            }
            Self::Relay(_)
            | Self::ConnectionLost(_)
            | Self::NotAllowed
            | Self::GoAway(_)
            | Self::Rejected { .. }
            | Self::Interrupted { .. }
            // No reason would be right: nothing is wrong with the peer or with what arrived. To the peer the session
            // is lost, so it recovers its calls.
            | Self::Rekey(RekeyError::Local)
            | Self::Closed => return None,
        };
        Some((reason, detail.into()))
    }

    /// Why the open calls of a session that ended with this error were cut short, on the exec-server. A client is only
    /// blamed for authenticated messages.
    pub(crate) fn call_end(&self) -> CallEnd {
        match self {
            Self::Relay(_)
            | Self::Mux(MuxError::Silent | MuxError::Unanswered)
            | Self::Rekey(RekeyError::Timeout)
            | Self::Unconfirmed => CallEnd::ClientLost,
            Self::ConnectionLost(_)
            | Self::Outer(_)
            | Self::Transport(_)
            | Self::Interrupted { .. }
            | Self::Rekey(RekeyError::Local) => CallEnd::ConnectionLost,
            Self::Mux(_) | Self::Rekey(_) => CallEnd::Violation,
            Self::Revoked | Self::Expired | Self::AllowListUnusable => CallEnd::Revoked,
            // The client sent a `GoAway`.
            Self::GoAway(_) | Self::Rejected { .. } | Self::NotAllowed => CallEnd::Reset,
            Self::Closed => CallEnd::ShutDown,
        }
    }

    /// Whether the session was lost: neither end closed it, and neither broke a rule. An exec-server lets the grace of
    /// its processes begin then.
    pub fn is_loss(&self) -> bool {
        matches!(self.call_end(), CallEnd::ClientLost | CallEnd::ConnectionLost)
    }

    /// Why the exec-server closed the session of this client with a `GoAway`, and killed its commands. `None` if it did
    /// not, or reports that messages were lost. A `GoAway` is authenticated; a relay's status is not.
    pub fn closed_for(&self) -> Option<CallEnd> {
        match self {
            Self::GoAway(_) => Some(CallEnd::ShutDown),
            Self::NotAllowed | Self::AllowListUnusable => Some(CallEnd::Revoked),
            Self::Rejected { .. } => Some(CallEnd::Violation),
            _ => None,
        }
    }

    /// The gRPC status of a call whose session ended with this error.
    pub(crate) fn into_status(self) -> Status {
        let code = match self {
            Self::NotAllowed | Self::Revoked | Self::Expired => Code::PermissionDenied,
            Self::Rekey(RekeyError::Local) => Code::Unavailable,
            Self::Mux(_)
            | Self::Rejected { .. }
            | Self::Outer(_)
            | Self::Rekey(_)
            | Self::Transport(TransportError::Decrypt) => Code::Internal,
            _ => Code::Unavailable,
        };
        let mut status = Status::new(code, self.to_string());
        status.set_source(Arc::new(self));
        status
    }
}

/// The gRPC status of a stream that could not be opened or written.
pub(crate) fn stream_status(error: StreamError) -> Status {
    let code = match error {
        StreamError::TooMany | StreamError::HeadTooLarge => Code::ResourceExhausted,
        StreamError::GoingAway => Code::Unavailable,
        StreamError::Closed => Code::Cancelled,
    };
    let mut status = Status::new(code, error.to_string());
    status.set_source(Arc::new(error));
    status
}

/// The gRPC status of a stream that was reset with `code`.
pub(crate) fn reset_status(code: u32) -> Status {
    let code = Code::from_i32(i32::try_from(code).unwrap_or(2));
    let message = match code {
        Code::DeadlineExceeded => "the call's deadline passed",
        Code::Cancelled => "the call was cancelled",
        Code::ResourceExhausted => "the exec-server has too many calls in this session",
        Code::Unavailable => {
            "the exec-server ends the session: it took no further call, or did not finish this one"
        }
        _ => "the call was reset by the other end",
    };
    // A reset never means success.
    Status::new(if code == Code::Ok { Code::Unknown } else { code }, message)
}

#[cfg(test)]
mod tests {
    use baton_noise::HandshakeError;

    use super::*;

    #[test]
    fn a_rekey_without_randomness_is_a_lost_session_and_no_violation_of_the_peer() {
        let here = SessionError::Rekey(RekeyError::Local);
        assert_eq!(here.to_go_away(), None);
        assert_eq!(here.call_end(), CallEnd::ConnectionLost);
        assert_eq!(here.into_status().code(), Code::Unavailable);

        let theirs = SessionError::Rekey(RekeyError::Handshake(HandshakeError::KemKey));
        let (reason, _) = theirs.to_go_away().unwrap();
        assert_eq!(reason, go_away::Reason::ProtocolError);
        assert_eq!(theirs.call_end(), CallEnd::Violation);
    }
}
