//! Why no process was started.

use std::fmt;

use baton_proto::exec::exec_error::Kind;

use super::Fault;
use crate::status::RpcStatus;

/// Why no process was started. Records have those that the exec-server observes; a client also knows why it did not
/// reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StartFailure {
    /// The program does not exist.
    CommandNotFound,
    /// The program's file cannot be executed.
    NotExecutable,
    /// The working directory does not exist, is not a directory, or may not be entered.
    BadCwd,
    /// The request was invalid.
    Invalid,
    /// The process id belongs to another command.
    Conflict,
    /// The client's key is not on the allow-list, or may not do this.
    NotAllowed,
    /// The ticket is not, or no longer, valid.
    TicketRefused,
    /// The call ended before its process was started.
    Abandoned,
    /// The exec-server's limit of processes is reached, or the client's share of it.
    TooManyProcesses,
    /// Another limit is reached: sessions, open files, memory, or the length of the arguments.
    ResourceLimit,
    /// No connection to the exec-server.
    NotConnected,
    /// The operating system refused for another reason.
    SpawnFailed,
    /// The exec-server did not make the record durable in time.
    NotDurable,
    /// The exec-server does not run, is shutting down, or failed.
    Unavailable,
    /// The exec-server's version and the client's do not fit.
    Incompatible,
    /// The record does not tell, or has a failure that only a newer version knows.
    Unknown,
}

impl StartFailure {
    /// Every failure.
    pub const ALL: [Self; 16] = [
        Self::CommandNotFound,
        Self::NotExecutable,
        Self::BadCwd,
        Self::Invalid,
        Self::Conflict,
        Self::NotAllowed,
        Self::TicketRefused,
        Self::Abandoned,
        Self::TooManyProcesses,
        Self::ResourceLimit,
        Self::NotConnected,
        Self::SpawnFailed,
        Self::NotDurable,
        Self::Unavailable,
        Self::Incompatible,
        Self::Unknown,
    ];

    /// The word in messages, JSON, records and spans (`baton.start_failure`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CommandNotFound => "command_not_found",
            Self::NotExecutable => "not_executable",
            Self::BadCwd => "bad_cwd",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::NotAllowed => "not_allowed",
            Self::TicketRefused => "ticket_refused",
            Self::Abandoned => "abandoned",
            Self::TooManyProcesses => "too_many_processes",
            Self::ResourceLimit => "resource_limit",
            Self::NotConnected => "not_connected",
            Self::SpawnFailed => "spawn_failed",
            Self::NotDurable => "not_durable",
            Self::Unavailable => "unavailable",
            Self::Incompatible => "incompatible",
            Self::Unknown => "unknown",
        }
    }

    /// The failure behind a word; [`Unknown`](Self::Unknown) for any other.
    pub fn from_name(name: &str) -> Self {
        let known = Self::ALL.into_iter().find(|failure| failure.as_str() == name);
        known.unwrap_or(Self::Unknown)
    }

    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::CommandNotFound
            | Self::NotExecutable
            | Self::BadCwd
            | Self::Invalid
            | Self::Conflict
            | Self::NotAllowed
            | Self::TicketRefused
            | Self::Abandoned => Fault::Caller,
            Self::TooManyProcesses | Self::ResourceLimit => Fault::Limit,
            Self::NotConnected => Fault::Network,
            Self::SpawnFailed | Self::NotDurable | Self::Unavailable | Self::Incompatible => Fault::Server,
            Self::Unknown => Fault::Unknown,
        }
    }

    /// The failure of a start that the exec-server refused with this status and no detail.
    pub const fn of_status(status: RpcStatus) -> Self {
        match status {
            RpcStatus::UNAVAILABLE => Self::Unavailable,
            RpcStatus::UNAUTHENTICATED => Self::NotAllowed,
            RpcStatus::UNIMPLEMENTED => Self::Incompatible,
            _ => Self::Unknown,
        }
    }

    /// The failure that an exec-server reports for a `Start`; `None` for a kind of error that is about a process that
    /// runs, or about another request.
    pub const fn from_wire(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::CommandNotFound => Self::CommandNotFound,
            Kind::NotExecutable => Self::NotExecutable,
            Kind::BadCwd => Self::BadCwd,
            Kind::InvalidStart => Self::Invalid,
            Kind::Conflict => Self::Conflict,
            Kind::TooManyProcesses => Self::TooManyProcesses,
            // A user that the exec-server's owner has set, and that no command can run as.
            Kind::SpawnFailed | Kind::UnknownUser => Self::SpawnFailed,
            Kind::ResourceLimit => Self::ResourceLimit,
            Kind::OtherUser => Self::NotAllowed,
            Kind::NotDurable => Self::NotDurable,
            Kind::NotDetachable => Self::NotAllowed,
            Kind::Unspecified
            | Kind::InvalidStdin
            | Kind::Lost
            | Kind::InvalidAck
            | Kind::InvalidMarker
            | Kind::InvalidSignal
            | Kind::UnknownProcess
            | Kind::NoGrace
            | Kind::Superseded
            | Kind::InvalidAttach
            | Kind::InvalidResize => return None,
        })
    }
}

/// A phrase for a person.
impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandNotFound => "the program does not exist",
            Self::NotExecutable => "the program's file cannot be executed",
            Self::BadCwd => "the working directory does not exist, is not a directory, or may not be entered",
            Self::Invalid => "the request was invalid",
            Self::Conflict => "the process id belongs to another command",
            Self::NotAllowed => "the client's key is not on the allow-list, or may not do this",
            Self::TicketRefused => "the ticket is not, or no longer, valid",
            Self::Abandoned => "the call ended before its process was started",
            Self::TooManyProcesses => {
                "the exec-server's limit of processes, or the client's share of it, is reached"
            }
            Self::ResourceLimit => {
                "another limit is reached: sessions, open files, memory, or the length of the arguments"
            }
            Self::NotConnected => "the exec-server or its relay was not reached",
            Self::SpawnFailed => "the operating system refused for another reason",
            Self::NotDurable => "the exec-server did not make the record durable in time",
            Self::Unavailable => "the exec-server does not run, is shutting down, or failed",
            Self::Incompatible => "the versions of exec-server and client do not fit",
            Self::Unknown => "the record does not say why",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_failure_has_a_name_of_its_own_and_another_name_is_unknown() {
        let mut names = HashSet::new();
        for failure in StartFailure::ALL {
            assert!(names.insert(failure.as_str()), "{failure:?}");
            assert_eq!(StartFailure::from_name(failure.as_str()), failure);
        }
        assert_eq!(StartFailure::from_name("eclipse"), StartFailure::Unknown);
    }
}
