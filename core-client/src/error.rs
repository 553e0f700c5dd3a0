//! Why a command did not run to its end.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use baton_channel::{ConnectError, SessionError};
use baton_proto::ProcessId;
use baton_proto::exec::ExecError;
use baton_proto::exec::exec_error::Kind;
use baton_trace::call_end::CallEnd;
use baton_trace::outcome::{self, Loss, Outcome};
use baton_trace::status::RpcStatus;
use baton_trace::text::printable;
use tonic::{Code, Status};

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No session with the exec-server could be established. Nothing was started.
    #[error(transparent)]
    Connect(ConnectError),
    /// The session ended during the command. The exec-server kills the commands of a lost client, those with a
    /// [`grace`](crate::Command::grace) at its end.
    #[error("{0}")]
    Session(SessionError),
    /// The session ended during a command with a grace, and the client could not attach to it again in time. The
    /// command runs on, until its grace ends.
    #[error("{why}; the client could not attach to its command {process} again, which runs on for {} s", .left.as_secs())]
    NotRecovered {
        /// The error of the last attempt.
        #[source]
        why: Box<RunError>,
        /// The command's process, for [`Client::attach`](crate::Client::attach).
        process: ProcessId,
        /// How long it runs on, about.
        left: Duration,
    },
    /// Some of the output is not kept any more. [`Client::run`](crate::Client::run) returns no other part of it.
    #[error(
        "{0} events of the command's output were lost: the exec-server keeps only so much after a lost session"
    )]
    OutputLost(u64),
    /// The exec-server did not start it, or did not attach the call to it.
    #[error("{message}")]
    Start {
        /// Why.
        failure: StartFailure,
        /// The exec-server's message, preceded by the program or the directory as the caller named it.
        message: String,
    },
    /// A command with this [`id`](crate::Command::id) was started before, and nothing was started.
    /// [`Client::run`](crate::Client::run) collects no output of it.
    #[error(
        "a command with this id was started before, and nothing was started; its output is not returned again: wait for \
        its exit, or attach to it"
    )]
    Repeated,
    /// More output than [`crate::Command::max_output`]. The command was killed.
    #[error(
        "the command printed more than {0} bytes and was killed: raise the limit, or read its output as a stream"
    )]
    TooMuchOutput(usize),
    /// The [`crate::Command::timeout`] expired. The command was killed, if it had started.
    #[error(
        "the command did not end before its timeout, and was killed if it had started: raise the timeout, or check \
         what it waits for"
    )]
    TimedOut,
    /// The exec-server violated the protocol, for instance by omitting an event.
    #[error("the exec-server violated the protocol: {0}")]
    Protocol(&'static str),
    /// The command needs a terminal or a login shell, and the exec-server's version is too old for them. Nothing was
    /// started.
    #[error(
        "this exec-server has no terminals and no login shell, because its version is too old; update it, or run a \
        command without a terminal"
    )]
    NoTerminals,
    /// The command has to run as a certain user, and the exec-server's version is too old to tell which user it would
    /// run as. Nothing was started.
    #[error(
        "this exec-server does not tell as which user it runs commands, because its version is too old; update it, or \
        ask for no user"
    )]
    NoUsers,
    /// [`Command::user`](crate::Command::user) is not ASCII text without control characters. Nothing was started.
    #[error("the name of the user is empty, or has a character other than the visible ones of ASCII")]
    UserName,
    /// The command is detached, drops output, or is polled, and the exec-server's version is too old for that. Nothing
    /// was started.
    #[error(
        "this exec-server has no detached commands, does not drop output and is not polled, because its version is too \
        old; update it"
    )]
    NoDetached,
    /// Any other error, with the exec-server's message.
    #[error("{}", status_text(.0))]
    Rpc(Status),
}

/// Why the exec-server did not start a command, or did not attach a call to it, or what was wrong with a request: the
/// errors of the wire. [`RunError::outcome`] says which [`outcome::StartFailure`] of the command that is, if it is one.
/// That one also has failures that no exec-server reports, like no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFailure {
    /// The program does not exist.
    CommandNotFound,
    /// The program's file cannot be executed.
    NotExecutable,
    /// The working directory does not exist or is not a directory.
    BadCwd,
    /// An empty argv, a NUL, a bad id.
    Invalid,
    /// Standard input arrived out of order.
    InvalidStdin,
    /// An acknowledgement of an event that was never sent.
    InvalidAck,
    /// A report of a marker that the exec-server did not accept.
    InvalidMarker,
    /// A signal that the exec-server does not know.
    InvalidSignal,
    /// The process id is in use.
    Conflict,
    /// The start was meant for an earlier epoch of the exec-server.
    Lost,
    /// The operating system could not start the process.
    SpawnFailed,
    /// The operating system refused because of a limit: open files, processes of the user or container, memory, or the
    /// length of the arguments.
    ResourceLimit,
    /// The exec-server's limit of processes is reached.
    TooManyProcesses,
    /// The exec-server writes records before starts, and its disk did not accept the record in time.
    NotDurable,
    /// No process of this client's key has this id, as far as is remembered.
    UnknownProcess,
    /// The process was started without a grace.
    NoGrace,
    /// Another call has attached to the process.
    Superseded,
    /// An event that the process has not had.
    InvalidAttach,
    /// A resize of a command without a terminal.
    InvalidResize,
    /// The exec-server's owner has set a user for this client that does not exist, or that the exec-server cannot run
    /// commands as.
    UnknownUser,
    /// The command would run as another user than [`Command::user`](crate::Command::user), or the process runs as
    /// another one than this client's commands do now.
    OtherUser,
    /// The exec-server starts no detached command for this client.
    NotDetachable,
}

impl StartFailure {
    fn from_wire(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::CommandNotFound => Self::CommandNotFound,
            Kind::NotExecutable => Self::NotExecutable,
            Kind::BadCwd => Self::BadCwd,
            Kind::InvalidStart => Self::Invalid,
            Kind::InvalidStdin => Self::InvalidStdin,
            Kind::InvalidAck => Self::InvalidAck,
            Kind::InvalidMarker => Self::InvalidMarker,
            Kind::InvalidSignal => Self::InvalidSignal,
            Kind::Conflict => Self::Conflict,
            Kind::Lost => Self::Lost,
            Kind::SpawnFailed => Self::SpawnFailed,
            Kind::ResourceLimit => Self::ResourceLimit,
            Kind::TooManyProcesses => Self::TooManyProcesses,
            Kind::NotDurable => Self::NotDurable,
            Kind::UnknownProcess => Self::UnknownProcess,
            Kind::NoGrace => Self::NoGrace,
            Kind::Superseded => Self::Superseded,
            Kind::InvalidAttach => Self::InvalidAttach,
            Kind::InvalidResize => Self::InvalidResize,
            Kind::UnknownUser => Self::UnknownUser,
            Kind::OtherUser => Self::OtherUser,
            Kind::NotDetachable => Self::NotDetachable,
            Kind::Unspecified => return None,
        })
    }

    fn to_wire(self) -> Kind {
        match self {
            Self::CommandNotFound => Kind::CommandNotFound,
            Self::NotExecutable => Kind::NotExecutable,
            Self::BadCwd => Kind::BadCwd,
            Self::Invalid => Kind::InvalidStart,
            Self::InvalidStdin => Kind::InvalidStdin,
            Self::InvalidAck => Kind::InvalidAck,
            Self::InvalidMarker => Kind::InvalidMarker,
            Self::InvalidSignal => Kind::InvalidSignal,
            Self::Conflict => Kind::Conflict,
            Self::Lost => Kind::Lost,
            Self::SpawnFailed => Kind::SpawnFailed,
            Self::ResourceLimit => Kind::ResourceLimit,
            Self::TooManyProcesses => Kind::TooManyProcesses,
            Self::NotDurable => Kind::NotDurable,
            Self::UnknownProcess => Kind::UnknownProcess,
            Self::NoGrace => Kind::NoGrace,
            Self::Superseded => Kind::Superseded,
            Self::InvalidAttach => Kind::InvalidAttach,
            Self::InvalidResize => Kind::InvalidResize,
            Self::UnknownUser => Kind::UnknownUser,
            Self::OtherUser => Kind::OtherUser,
            Self::NotDetachable => Kind::NotDetachable,
        }
    }
}

/// The names of a command's program, directory and user, safe to display.
pub(crate) struct DisplayNames {
    pub(crate) program: String,
    pub(crate) cwd: String,
    pub(crate) user: String,
}

impl RunError {
    /// How the command ended, and whose fault it is. `is_started`: the caller has got
    /// [`Event::Started`](crate::Event::Started). `None`: the error is not about the end of a command.
    ///
    /// A lost session is [`Loss::Connection`]: the exec-server's record has how the command ended.
    pub fn outcome(&self, is_started: bool) -> Option<Outcome> {
        let failed = Outcome::FailedToStart;
        Some(match self {
            Self::Connect(error) => failed(error.start_failure()),
            Self::Session(error) => match error.closed_for() {
                Some(by) => Outcome::of_closed_session(by, is_started),
                None => Outcome::Lost(Loss::Connection),
            },
            Self::NotRecovered { .. } => Outcome::Lost(Loss::Connection),
            Self::Start { failure, .. } => return Outcome::of_error(failure.to_wire(), is_started),
            // The call ends with the error, and the exec-server kills the command.
            Self::OutputLost(_) | Self::TooMuchOutput(_) => Outcome::killed(CallEnd::Reset),
            Self::Repeated => return None,
            Self::TimedOut => Outcome::killed(CallEnd::Deadline),
            Self::Protocol(_) => Outcome::Lost(Loss::Server),
            Self::NoTerminals | Self::NoUsers | Self::NoDetached => {
                failed(outcome::StartFailure::Incompatible)
            }
            Self::UserName => failed(outcome::StartFailure::Invalid),
            Self::Rpc(status) if is_started => match status.code() {
                Code::Unavailable => Outcome::killed(CallEnd::ShutDown),
                Code::Cancelled => Outcome::killed(CallEnd::Reset),
                _ => Outcome::Lost(Loss::Server),
            },
            Self::Rpc(status) => {
                let status = RpcStatus(status.code().into());
                failed(outcome::StartFailure::of_status(status))
            }
        })
    }

    /// Whether the session was lost, so that a command with a grace runs on.
    pub(crate) fn is_lost_session(&self) -> bool {
        matches!(self, Self::Session(error) if error.is_loss())
    }

    /// Whether a later attempt to reach the exec-server can succeed.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            // A handshake that fails once may have met a relay or an exec-server that restarts.
            Self::Connect(error) => {
                error.may_pass() || matches!(error, ConnectError::NotInTime(_) | ConnectError::Handshake)
            }
            Self::Session(error) => error.is_loss(),
            _ => false,
        }
    }

    /// Prepends the program, directory or user that the failure is about. The exec-server omits it, because its
    /// messages may be exported as telemetry.
    pub(crate) fn naming(mut self, names: DisplayNames) -> Self {
        if let Self::Start { failure, message } = &mut self {
            let name = match failure {
                StartFailure::CommandNotFound | StartFailure::NotExecutable => names.program,
                StartFailure::BadCwd => names.cwd,
                StartFailure::OtherUser => names.user,
                _ => String::new(),
            };
            if !name.is_empty() {
                *message = format!("{name}: {message}");
            }
        }
        self
    }
}

/// A status's message, safe to display. The name of its code is used only if there is no message.
pub(crate) fn status_text(status: &Status) -> Cow<'_, str> {
    match status.message() {
        "" => format!("the exec-server gave no reason: {}", status.code()).into(),
        text => printable(text),
    }
}

/// A failure of the session below a call, not reported by the exec-server's service.
pub(crate) enum TransportFailure {
    Connect(ConnectError),
    Session(SessionError),
}

impl TransportFailure {
    pub(crate) fn from_status(status: &Status) -> Option<Self> {
        let source = status.source()?;
        let session = source.downcast_ref::<SessionError>().cloned().map(Self::Session);
        session.or_else(|| source.downcast_ref::<ConnectError>().cloned().map(Self::Connect))
    }
}

impl From<Status> for RunError {
    fn from(status: Status) -> Self {
        match TransportFailure::from_status(&status) {
            Some(TransportFailure::Connect(error)) => return Self::Connect(error),
            Some(TransportFailure::Session(error)) => return Self::Session(error),
            None => {}
        }
        if let Some(detail) = ExecError::from_details(status.details())
            && let Some(failure) = StartFailure::from_wire(detail.kind())
        {
            return Self::Start {
                failure,
                message: printable(&detail.message).into_owned(),
            };
        }
        match status.code() {
            Code::DeadlineExceeded => Self::TimedOut,
            _ => Self::Rpc(status),
        }
    }
}

/// Why a signal was not sent, or processes were not listed. No process is affected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The exec-server's version is older than signals and lists of processes.
    #[error(
        "this exec-server takes no signals and lists no processes, because its version is too old; update it"
    )]
    NotSupported,
    /// The command has ended, or the exec-server knows no command of this client's key with this id.
    #[error("no command of this client's key has this id, or it has ended")]
    Ended,
    /// No session with the exec-server could be established.
    #[error(transparent)]
    Connect(ConnectError),
    /// The session ended during the call. Whether the signal was sent is not known.
    #[error("{0}")]
    Session(SessionError),
    /// A response that violates the protocol.
    #[error("the exec-server sent {0}; if client and exec-server have the same version, report it")]
    Protocol(&'static str),
    /// Any other error, with the exec-server's message.
    #[error("{}", status_text(.0))]
    Rpc(Status),
}

impl From<Status> for ProcessError {
    fn from(status: Status) -> Self {
        match TransportFailure::from_status(&status) {
            Some(TransportFailure::Connect(error)) => return Self::Connect(error),
            Some(TransportFailure::Session(error)) => return Self::Session(error),
            None => {}
        }
        let kind = ExecError::from_details(status.details()).map(|error| error.kind());
        match (kind, status.code()) {
            (Some(Kind::UnknownProcess), _) => Self::Ended,
            (_, Code::Unimplemented) => Self::NotSupported,
            _ => Self::Rpc(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_exec_server_says_is_shown_without_the_name_of_its_code() {
        for (status, shown) in [
            (Status::invalid_argument("too\x1b much"), "too much"),
            (
                Status::unavailable(""),
                "the exec-server gave no reason: The service is currently unavailable",
            ),
        ] {
            assert_eq!(RunError::from(status.clone()).to_string(), shown);
            assert_eq!(crate::RecordsError::from(status).to_string(), shown);
        }
    }
}
