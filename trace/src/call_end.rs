//! Why a call ended before its handler answered.
//!
//! Only the channel knows the reason. It puts a [`CallEndCell`] into the extensions of every request and sets it before
//! it drops the handler, and before the handler can observe the end of its request stream. Code that outlives the call
//! reads the reason there: to kill a process, to write a record, to export a span.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Instant;

use baton_proto::exec as wire;

use self::consumed::ConsumedBytes;

mod consumed;

/// Why a call was cut short, as the server observed it.
///
/// The relay's messages are not authenticated: a relay can cause [`ClientLost`](Self::ClientLost) in place of
/// [`ConnectionLost`](Self::ConnectionLost), and the reverse. It cannot cause any other reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallEnd {
    /// The caller reset the call, or closed the session with a `GoAway` while the call was open.
    Reset,
    /// The deadline passed, by the clock of either peer.
    Deadline,
    /// The client's stream ended without a `GoAway`, or the client was silent for too long: its process, machine or
    /// network failed.
    ClientLost,
    /// The server lost its own connection to the relay, or could not use the received data: the relay violated the
    /// protocol, or a message did not decrypt. The state of the client is unknown.
    ConnectionLost,
    /// The client's key was removed from the allow-list, or has expired.
    Revoked,
    /// The server shut down.
    ShutDown,
    /// The client violated the protocol or a limit, in authenticated messages.
    Violation,
    /// The session was lost, and the process's grace has passed since. Only a process ends with this reason: its call
    /// ended before, with [`ClientLost`](Self::ClientLost) or [`ConnectionLost`](Self::ConnectionLost).
    GraceExpired,
}

impl CallEnd {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Reset,
        Self::Deadline,
        Self::ClientLost,
        Self::ConnectionLost,
        Self::Revoked,
        Self::ShutDown,
        Self::Violation,
        Self::GraceExpired,
    ];

    /// The name in attributes and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Deadline => "deadline",
            Self::ClientLost => "client_lost",
            Self::ConnectionLost => "connection_lost",
            Self::Revoked => "revoked",
            Self::ShutDown => "shut_down",
            Self::Violation => "violation",
            Self::GraceExpired => "grace_expired",
        }
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.name() == name)
    }

    /// Decodes a reason; `None` if the call was not cut short.
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
            wire::CallEnd::GraceExpired => Self::GraceExpired,
        })
    }

    /// Encodes a reason.
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
            Some(Self::GraceExpired) => wire::CallEnd::GraceExpired,
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
            Self::Revoked => "its client's key was taken off the allow-list, or has expired",
            Self::ShutDown => "the exec-server shut down",
            Self::Violation => "its client broke the protocol",
            Self::GraceExpired => "its session was lost, and its grace has passed",
        })
    }
}

/// The time at which a call's deadline passes. Only requests with a deadline have it in their extensions. Code that
/// outlives the call's session enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallDeadline(pub Instant);

/// Holds why one call ended, once it is known, and how many bytes of its response the peer has consumed. Clones share
/// it. One allocation holds both, because every call has one.
#[derive(Debug, Clone, Default)]
pub struct CallEndCell(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    end: OnceLock<CallEnd>,
    consumed: ConsumedBytes,
}

impl CallEndCell {
    /// The cell of a call whose transport tells what its peer consumes; nothing so far.
    pub fn counting() -> Self {
        let cell = Self::default();
        cell.set_consumed(0);
        cell
    }

    /// Sets why the call ended. Later calls have no effect.
    pub fn set(&self, end: CallEnd) {
        let _ = self.0.end.set(end);
    }

    /// Why the call was cut short; `None` while it is open, and if it was answered.
    pub fn get(&self) -> Option<CallEnd> {
        self.0.end.get().copied()
    }

    /// Sets the bytes of the response that the peer has consumed so far, and wakes the task that waits for it. One
    /// atomic store and one load; a lock only if a task waits.
    pub fn set_consumed(&self, bytes: u64) {
        self.0.consumed.set(bytes);
    }

    /// The bytes of the response that the peer has consumed, as told by its credit, which comes in batches. They stop
    /// when the call ends. `None` if the transport does not tell.
    pub fn consumed(&self) -> Option<u64> {
        self.0.consumed.get()
    }

    /// Wakes `task` once when the peer has consumed more. The caller reads [`consumed`](Self::consumed) again after
    /// this. One task at a time.
    pub fn wake_when_consumed(&self, task: &Waker) {
        self.0.consumed.wake_when_more(task);
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
