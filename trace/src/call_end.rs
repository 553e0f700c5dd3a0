//! Why a call ended before its handler had answered it.
//!
//! Only the channel knows the reason. It puts a [`CallEndCell`] into the extensions of every request and fills it before it drops the
//! handler, and before the handler can see the end of its request stream. Whatever the handler started and that outlives the call finds
//! the reason there: a process that is killed for it, a record, a span.

use std::fmt;
use std::sync::{Arc, OnceLock};

use baton_proto::exec as wire;

/// Why a call was cut short, as the serving end knows it.
///
/// What the relay says is not authenticated: a relay can make [`ClientLost`](Self::ClientLost) out of
/// [`ConnectionLost`](Self::ConnectionLost) and the other way round. It cannot cause any other reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallEnd {
    /// Its caller reset it, or said goodbye and closed the session with the call still open.
    Reset,
    /// Its deadline passed, by either end's clock.
    Deadline,
    /// The client's stream ended without a goodbye, or the client was silent for too long: its process, machine or network is gone.
    ClientLost,
    /// The serving end lost its own connection to the relay, or could no longer use what arrived on it: the relay broke its protocol, or a
    /// message did not decrypt. It says nothing about the client.
    ConnectionLost,
    /// The client's key was taken off the allow-list.
    Revoked,
    /// The serving end shut down.
    ShutDown,
    /// The client broke the protocol or a limit, in messages that were authenticated as its own.
    Violation,
}

impl CallEnd {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Reset,
        Self::Deadline,
        Self::ClientLost,
        Self::ConnectionLost,
        Self::Revoked,
        Self::ShutDown,
        Self::Violation,
    ];

    /// Its name in attributes and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Deadline => "deadline",
            Self::ClientLost => "client_lost",
            Self::ConnectionLost => "connection_lost",
            Self::Revoked => "revoked",
            Self::ShutDown => "shut_down",
            Self::Violation => "violation",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.name() == name)
    }

    /// The reason that a message carries; `None` where the call was not cut short.
    pub fn from_wire(end: wire::CallEnd) -> Option<Self> {
        Some(match end {
            wire::CallEnd::None => return None,
            wire::CallEnd::Reset => Self::Reset,
            wire::CallEnd::Deadline => Self::Deadline,
            wire::CallEnd::ClientLost => Self::ClientLost,
            wire::CallEnd::ConnectionLost => Self::ConnectionLost,
            wire::CallEnd::Revoked => Self::Revoked,
            wire::CallEnd::ShutDown => Self::ShutDown,
            wire::CallEnd::Violation => Self::Violation,
        })
    }

    /// The reason as a message carries it.
    pub fn to_wire(end: Option<Self>) -> wire::CallEnd {
        match end {
            None => wire::CallEnd::None,
            Some(Self::Reset) => wire::CallEnd::Reset,
            Some(Self::Deadline) => wire::CallEnd::Deadline,
            Some(Self::ClientLost) => wire::CallEnd::ClientLost,
            Some(Self::ConnectionLost) => wire::CallEnd::ConnectionLost,
            Some(Self::Revoked) => wire::CallEnd::Revoked,
            Some(Self::ShutDown) => wire::CallEnd::ShutDown,
            Some(Self::Violation) => wire::CallEnd::Violation,
        }
    }
}

/// A sentence for a person, about a command and its client.
impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "its client reset the call",
            Self::Deadline => "the deadline of its call passed",
            Self::ClientLost => "its client was lost: the client's connection ended",
            Self::ConnectionLost => "the exec-server lost its connection to the relay",
            Self::Revoked => "its client's key was taken off the allow-list",
            Self::ShutDown => "the exec-server shut down",
            Self::Violation => "its client broke the protocol",
        })
    }
}

/// Holds the reason of one call's end once there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct CallEndCell(Arc<OnceLock<CallEnd>>);

impl CallEndCell {
    /// Notes why the call ended. The first reason counts.
    pub fn set(&self, end: CallEnd) {
        let _ = self.0.set(end);
    }

    /// Why the call was cut short; `None` while it goes on, and when it was answered.
    pub fn get(&self) -> Option<CallEnd> {
        self.0.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_a_wire_value_and_a_sentence_of_its_own() {
        let mut sentences = std::collections::HashSet::new();
        for end in CallEnd::ALL {
            assert_eq!(CallEnd::from_name(end.name()), Some(end));
            assert_eq!(CallEnd::from_wire(CallEnd::to_wire(Some(end))), Some(end));
            assert!(sentences.insert(end.to_string()), "{end}");
        }
        assert_eq!(CallEnd::from_wire(CallEnd::to_wire(None)), None);
        assert_eq!(CallEnd::from_name("other"), None);
    }

    #[test]
    fn the_first_reason_counts_for_every_clone() {
        let cell = CallEndCell::default();
        let clone = cell.clone();
        assert_eq!(clone.get(), None);
        cell.set(CallEnd::Deadline);
        clone.set(CallEnd::Reset);
        assert_eq!(
            (cell.get(), clone.get()),
            (Some(CallEnd::Deadline), Some(CallEnd::Deadline))
        );
    }
}
