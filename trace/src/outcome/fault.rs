//! Whose fault a failed command is.

use std::fmt;

use crate::call_end::CallEnd;

/// Whose fault it is that a command did not exit with 0: who can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller: it asked for what cannot run, may not run it, or ended it. Its cancellations count here.
    Caller,
    /// The command itself.
    Command,
    /// A limit that someone has set: a timeout, memory, processes, sessions.
    Limit,
    /// The connection between client and exec-server, the relay included. A client that dies or sleeps looks the same.
    Network,
    /// The exec-server, or the machine it runs on.
    Server,
    /// The record does not tell, or has a value that only a newer version knows.
    Unknown,
}

impl Fault {
    /// Every fault that a query can ask for.
    pub const ALL: [Self; 5] = [
        Self::Caller,
        Self::Command,
        Self::Limit,
        Self::Network,
        Self::Server,
    ];

    /// The word in messages, JSON, records and spans (`baton.fault`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Command => "command",
            Self::Limit => "limit",
            Self::Network => "network",
            Self::Server => "server",
            Self::Unknown => "unknown",
        }
    }

    /// The fault behind a word; `None` for another one, and for `unknown`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == name)
    }

    /// Of a process that the exec-server killed for this reason.
    pub const fn of_call_end(end: CallEnd) -> Self {
        match end {
            CallEnd::Reset | CallEnd::Violation | CallEnd::Revoked => Self::Caller,
            CallEnd::Deadline => Self::Limit,
            CallEnd::ClientLost | CallEnd::ConnectionLost | CallEnd::GraceExpired => Self::Network,
            CallEnd::ShutDown => Self::Server,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_names_round_trip() {
        for fault in Fault::ALL {
            assert_eq!(Fault::from_name(fault.as_str()), Some(fault));
        }
        for other in ["nobody", "unknown", ""] {
            assert_eq!(Fault::from_name(other), None);
        }
    }
}
