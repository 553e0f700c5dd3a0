//! Why a command did not run to its end.

use std::borrow::Cow;
use std::error::Error;

use baton_channel::{ConnectError, SessionError};
use baton_proto::exec::ExecError;
use baton_proto::exec::exec_error::Kind;
use baton_trace::text::printable;
use tonic::{Code, Status};

use crate::command::DisplayNames;

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No session with the exec-server. Nothing was started.
    #[error(transparent)]
    Connect(ConnectError),
    /// The session ended under the command. The exec-server kills what a lost client had running.
    #[error("{0}")]
    Session(SessionError),
    /// The exec-server did not start it.
    #[error("{message}")]
    Start {
        /// Why.
        failure: StartFailure,
        /// In words, by the exec-server; in front the command or the directory that it is about, as the caller named it.
        message: String,
    },
    /// More output than [`crate::Command::max_output`]. The command was killed.
    #[error("the command printed more than {0} bytes: raise the limit, or read its output as a stream")]
    TooMuchOutput(usize),
    /// The time of [`crate::Command::timeout`] was over. The command was killed, if it had begun.
    #[error(
        "the command did not end in its time, and was killed if it had begun: give it more, or look at what it waits for"
    )]
    TimedOut,
    /// The exec-server broke the protocol, for instance by leaving out an event.
    #[error("the exec-server broke the protocol: {0}")]
    Protocol(&'static str),
    /// Anything else, in the exec-server's words.
    #[error("{}", status_text(.0))]
    Rpc(Status),
}

/// Why the exec-server did not start a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFailure {
    /// No such program.
    CommandNotFound,
    /// A file that cannot be run.
    NotExecutable,
    /// The working directory does not exist or is none.
    BadCwd,
    /// An empty argv, a NUL, a bad id.
    Invalid,
    /// Standard input out of order.
    InvalidStdin,
    /// An acknowledgement of what was never sent.
    InvalidAck,
    /// The process id is in use.
    Conflict,
    /// Meant for another life of the exec-server.
    Lost,
    /// The operating system refused.
    SpawnFailed,
    /// A limit of the exec-server.
    TooManyProcesses,
    /// The exec-server starts only what is on its disk, and its disk did not take it in time.
    NotDurable,
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
            Kind::Conflict => Self::Conflict,
            Kind::Lost => Self::Lost,
            Kind::SpawnFailed => Self::SpawnFailed,
            Kind::TooManyProcesses => Self::TooManyProcesses,
            Kind::NotDurable => Self::NotDurable,
            Kind::Unspecified => return None,
        })
    }
}

impl RunError {
    /// Puts in front what the failure is about. The exec-server leaves it out, since its words may end up in telemetry.
    pub(crate) fn naming(mut self, names: DisplayNames) -> Self {
        if let Self::Start { failure, message } = &mut self {
            let name = match failure {
                StartFailure::CommandNotFound | StartFailure::NotExecutable => names.program,
                StartFailure::BadCwd => names.cwd,
                _ => String::new(),
            };
            if !name.is_empty() {
                *message = format!("{name}: {message}");
            }
        }
        self
    }
}

/// A status as its sender put it, fit to be shown. gRPC's name for it tells a person nothing more, unless it is all there is.
pub(crate) fn status_text(status: &Status) -> Cow<'_, str> {
    match status.message() {
        "" => format!("the exec-server does not say why: {}", status.code()).into(),
        said => printable(said),
    }
}

/// What is wrong below a call, with no word of the exec-server in it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_exec_server_says_is_shown_without_the_name_of_its_code() {
        for (status, shown) in [
            (Status::invalid_argument("too\x1b much"), "too much"),
            (
                Status::unavailable(""),
                "the exec-server does not say why: The service is currently unavailable",
            ),
        ] {
            assert_eq!(RunError::from(status.clone()).to_string(), shown);
            assert_eq!(crate::RecordsError::from(status).to_string(), shown);
        }
    }
}
