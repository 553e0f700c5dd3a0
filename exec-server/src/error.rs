//! Why a call fails, and its encoding: a gRPC code, a message, and an `ExecError` in the status details.
//!
//! No message holds an argument or a variable, because a status message may be exported as telemetry.

use std::io;
use std::time::Duration;

use baton_proto::exec::ExecError;
use baton_proto::exec::exec_error::Kind;
use baton_proto::header::RETRY_PUSHBACK;
use baton_proto::limits::{
    RECEIVED_MAX, STEP_ID_MAX, THREAD_ID_MAX, THREAD_METADATA_BYTES_MAX, THREAD_METADATA_ENTRIES_MAX,
    THREAD_METADATA_KEY_MAX, THREAD_METADATA_VALUE_MAX, THREAD_TITLE_MAX, TURN_MAX,
};
use baton_trace::outcome::StartFailure;
use baton_trace::status::RpcStatus;
use rustix::io::Errno;
use tonic::{Code, Status};

use crate::limits::{
    FINISHED_AT_LEAST, FINISHED_PER_SECOND, ORIGINAL_COMMAND_BYTES, PROCESSES_RETRY, WATCHERS_MAX,
};
use crate::user::UserError;

/// Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Server's fault: the request's extensions have no `Peer`.
    #[error("the caller of this request is not known")]
    Unauthenticated,
    /// Client's fault: the `Start` is invalid.
    #[error("{0}")]
    Invalid(#[from] InvalidStart),
    /// Neither's fault: the server was restarted since the client's first attempt.
    #[error("this start names an earlier run of the server; whether the command ran there is unknown")]
    Lost,
    /// Client's fault.
    #[error("this process id belongs to another command that runs or ran recently; choose a new one")]
    Conflict,
    /// Neither's fault: this start repeats one that failed meanwhile.
    #[error("the first start with this process id failed, and nothing ran; try again")]
    FirstFailed,
    /// Neither's fault: try again later.
    #[error("the server already runs {0} processes, its limit; try again when one has ended")]
    TooManyProcesses(usize),
    /// Fault of the client or its owner: see [`MAX_PROCESSES`](crate::limits::MAX_PROCESSES).
    #[error(
        "this client's key already runs {running} processes, its share of the {limit} that the server runs at once: \
        end some of them, or try again when one has ended"
    )]
    TooManyOfClient {
        /// Its processes.
        running: usize,
        /// The server's limit.
        limit: usize,
    },
    /// Client's fault: it starts processes faster than their ids can be remembered.
    #[error(
        "this client's key has started processes faster than {} a second for {} s, more than the server remembers to \
        keep a repeated start from running twice; nothing ran; try again in {} s",
        FINISHED_PER_SECOND, FINISHED_AT_LEAST.as_secs(), .retry_after.as_secs_f64().ceil()
    )]
    TooManyStarts {
        /// When there will be room again.
        retry_after: Duration,
    },
    /// The server shuts down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Server's fault: its disk. Only where starts have to be durable.
    #[error(
        "the record of this start could not be made durable in time, and nothing ran: the exec-server's disk is \
        slow, full or broken; try again, or ask with `baton flush` what is wrong"
    )]
    NotDurable,
    /// The call ended while its start waited, so only the observer receives this.
    #[error("the call ended before its process was started")]
    Abandoned,
    /// Client's fault.
    #[error(
        "this exec-server starts no detached command for this client: its --max-grace is 0, or the client's line on the \
        allow-list has a forced command"
    )]
    NotDetachable,
    /// Client's fault.
    #[error("command not found: not a file, and not in a directory of the command's PATH")]
    CommandNotFound,
    /// Client's fault.
    #[error("the command is not executable: check its permissions, its format, and the interpreter it names")]
    NotExecutable,
    /// Client's fault.
    #[error("the working directory does not exist, is not a directory, or may not be entered")]
    BadCwd,
    /// The fault is told by the error.
    #[error("{prefix}{0}", prefix = of_user(.0))]
    User(#[from] UserError),
    /// Server's fault: processes, memory, descriptors.
    #[error("the operating system refused to start the process: {0}{advice}", advice = advice(.0))]
    SpawnFailed(#[source] io::Error),
}

/// Tells a client that it cannot change the user.
fn of_user(error: &UserError) -> &'static str {
    match error {
        UserError::Other | UserError::Busy => "",
        _ => "no command can run as the user that the exec-server's owner has set for this client: ",
    }
}

/// What to do about an error of the operating system, where that is known.
fn advice(refusal: &io::Error) -> &'static str {
    match Errno::from_io_error(refusal) {
        Some(Errno::AGAIN) => {
            "; the process limit of the exec-server's user or container is reached: raise it (ulimit -u, pids.max), \
            or try again when some have ended"
        }
        Some(Errno::MFILE | Errno::NFILE) => {
            "; raise the exec-server's limit on open files (ulimit -n), or try again when some commands have ended"
        }
        Some(Errno::NOMEM) => "; its machine or container is out of memory",
        Some(Errno::TOOBIG) => {
            "; pass fewer or shorter arguments and variables, or send them on standard input"
        }
        _ => "",
    }
}

/// What is wrong with a `Start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStart {
    /// The first request was of another kind, or there was none.
    #[error("the first request of Run must be Start")]
    NotFirst,
    /// Not a gRPC message, or not a protobuf message.
    #[error(
        "the first request of Run cannot be read: it must be one gRPC message that holds an encoded RunRequest"
    )]
    Unreadable,
    /// No `Start` came within [`crate::limits::START_TIMEOUT`].
    #[error("no Start came in time")]
    TooLate,
    /// Not 16 bytes.
    #[error("process_id must be 16 bytes")]
    ProcessId,
    /// Not 16 bytes.
    #[error("epoch must be 16 bytes")]
    Epoch,
    /// No program, and no login shell.
    #[error("argv is empty")]
    EmptyArgv,
    /// A login shell takes one line.
    #[error("a login shell takes one line or none, and argv has more entries")]
    LoginShell,
    /// A terminal without stdin, or larger than any.
    #[error("a terminal needs stdin, and has at most 65535 columns, rows and pixels")]
    Terminal,
    /// Not ids of 16 bytes each, or more than [`RECEIVED_MAX`].
    #[error("received has at most {RECEIVED_MAX} process ids of 16 bytes each")]
    Received,
    /// Nobody could send it.
    #[error("a detached process has no stdin, because its call ends after Started")]
    DetachedStdin,
    /// The operating system ends a string there.
    #[error("an argument contains a NUL byte")]
    NulInArgv,
    /// The operating system ends a string there.
    #[error("the working directory contains a NUL byte")]
    NulInCwd,
    /// The operating system ends a string there.
    #[error("an environment variable contains a NUL byte")]
    NulInEnvironment,
    /// Empty, or with a '='.
    #[error("the name of an environment variable is empty or contains '='")]
    VariableName,
    /// Longer than [`ORIGINAL_COMMAND_BYTES`]; only for a client with a forced command.
    #[error(
        "the arguments are longer than the {ORIGINAL_COMMAND_BYTES} bytes that a client with a forced command may pass"
    )]
    OriginalCommand,
    /// Longer than [`THREAD_ID_MAX`], or with control characters, which a terminal would interpret.
    #[error("a thread's id has at most {THREAD_ID_MAX} bytes and no control character")]
    ThreadId,
    /// Longer than [`THREAD_TITLE_MAX`].
    #[error("a thread's title has at most {THREAD_TITLE_MAX} bytes")]
    ThreadTitle,
    /// Beyond the limits on a thread's metadata in `baton_proto::limits`.
    #[error(
        "a thread's metadata has at most {THREAD_METADATA_ENTRIES_MAX} entries and {THREAD_METADATA_BYTES_MAX} \
        bytes, no empty or doubled key, no key of more than {THREAD_METADATA_KEY_MAX} bytes and no value of more \
        than {THREAD_METADATA_VALUE_MAX}"
    )]
    ThreadMetadata,
    /// More than [`TURN_MAX`].
    #[error("a turn is a number from 1 to {TURN_MAX}")]
    Turn,
    /// Longer than [`STEP_ID_MAX`], or with control characters, which a terminal would interpret.
    #[error("a step's id has at most {STEP_ID_MAX} bytes and no control character")]
    StepId,
    /// A family of a later version, or none at all.
    #[error("the family is unknown to this exec-server; update it, or start the command without a family")]
    Family,
    /// A title or metadata without a thread.
    #[error("title and metadata belong to a thread, and none is named")]
    NoThread,
}

/// An invalid request after `Start`. All are the client's fault; the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// One call has one `Start`.
    #[error("a second Start on one call")]
    SecondStart,
    /// One call has one `Attach`, as its first request.
    #[error("an Attach that is not the first request of Attach")]
    LateAttach,
    /// A kind that this version does not know.
    #[error("a request without a known kind")]
    Unknown,
    /// `Start` did not request stdin.
    #[error("Start did not request stdin")]
    StdinNotAsked,
    /// After `StdinClose`.
    #[error("stdin was already closed")]
    StdinClosed,
    /// A gap or a repetition.
    #[error("stdin continues at {expected}, not at {received}")]
    StdinOffset {
        /// Bytes received so far.
        expected: u64,
        /// The value in the request.
        received: u64,
    },
    /// The requests ended without `StdinClose`, so stdin may be incomplete. The child must not see an end of file.
    #[error("the requests ended before StdinClose")]
    StdinCut,
    /// An event that does not exist yet.
    #[error("acknowledged event {received} of {last}")]
    Ack {
        /// The last event there is.
        last: u64,
        /// The value in the request.
        received: u64,
    },
    /// A `MarkerReached` for a command whose `Start` names no family.
    #[error("a marker was reported, and Start names no family")]
    MarkerWithoutFamily,
    /// A marker that this version does not know.
    #[error("an unknown marker was reported")]
    UnknownMarker,
    /// A `Signal` without the name of a POSIX signal.
    #[error("a Signal has no name of a POSIX signal: send one like INT, in upper case and without SIG")]
    UnknownSignal,
    /// The process has no terminal.
    #[error("a resize for a process without a terminal: Start did not ask for one")]
    NoTerminal,
    /// Larger than any terminal.
    #[error("a terminal has at most 65535 columns, rows and pixels")]
    WindowSize,
    /// Not a request, or too long.
    #[error("a request could not be read")]
    Unreadable,
}

/// The call is not attached to a process. The process goes on, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Client's fault: the first request of `Attach` is none or cannot be read, or an id is malformed.
    #[error(
        "the request names no process: it needs a process_id of 16 bytes, an epoch of 16 bytes or none, and Attach has to \
        be the first request of its call, in time"
    )]
    Invalid,
    /// Neither's fault: the server was restarted since the process was started.
    #[error(
        "the process belongs to an earlier run of the server, and has ended with it; its exit is unknown"
    )]
    Lost,
    /// Client's fault, or the process ended too long ago.
    #[error(
        "no process of this client's key has this id: it never ran, or ended more than {} s ago",
        FINISHED_AT_LEAST.as_secs()
    )]
    Unknown,
    /// Client's fault.
    #[error(
        "the process was started without a grace, so no other call can attach to it: start it with one (`--grace 60s`)"
    )]
    NoGrace,
    /// Client's fault: the `seq` of an event that does not exist yet.
    #[error("after_seq is {received}, and the last event is {last}")]
    NotYet {
        /// The last event there is.
        last: u64,
        /// The value in the request.
        received: u64,
    },
    /// Neither's fault: another call of the same key has attached since.
    #[error("another call has attached to the process, in the place of this one; the process goes on")]
    Superseded,
    /// Client's fault.
    #[error("{WATCHERS_MAX} calls watch the process, its limit: end one of them")]
    TooManyWatchers,
    /// Fault of the exec-server's owner, who has changed the user since the process was started. A call must not get
    /// the rights of the earlier one, such as by the input of a shell.
    #[error(
        "the process runs as another user than the commands of this client's key do now, so no call can attach to it; \
        a signal can still end it"
    )]
    OtherUser,
    /// The process is being killed, and has no output for a call any more.
    #[error("the process is being killed")]
    Killed,
}

impl From<AttachError> for Status {
    fn from(error: AttachError) -> Self {
        let (code, kind) = match error {
            AttachError::Invalid => (Code::InvalidArgument, Kind::InvalidAttach),
            AttachError::NotYet { .. } => (Code::OutOfRange, Kind::InvalidAttach),
            AttachError::Lost => (Code::Aborted, Kind::Lost),
            AttachError::Unknown | AttachError::Killed => (Code::NotFound, Kind::UnknownProcess),
            AttachError::NoGrace => (Code::FailedPrecondition, Kind::NoGrace),
            AttachError::OtherUser => (Code::PermissionDenied, Kind::OtherUser),
            AttachError::Superseded => (Code::Aborted, Kind::Superseded),
            AttachError::TooManyWatchers => return Status::resource_exhausted(error.to_string()),
        };
        detailed(code, kind, error.to_string())
    }
}

/// A signal was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// Server's fault: the request's extensions have no `Peer`.
    #[error("the caller of this request is not known")]
    Unauthenticated,
    /// Client's fault: the request names no POSIX signal.
    #[error("{}", RequestError::UnknownSignal)]
    Unknown,
    /// Client's fault, or the process has ended meanwhile. Another client's process is not told apart from none.
    #[error("no process of this client's key has this id, or it has ended")]
    UnknownProcess,
}

impl StartError {
    /// The gRPC code, and the kind of the error if it has one.
    fn code(&self) -> (Code, Option<Kind>) {
        let (code, kind) = match self {
            Self::Unauthenticated => return (Code::Unauthenticated, None),
            Self::ShuttingDown | Self::FirstFailed | Self::Abandoned => return (Code::Unavailable, None),
            Self::Invalid(_) => (Code::InvalidArgument, Kind::InvalidStart),
            Self::Lost => (Code::Aborted, Kind::Lost),
            Self::Conflict => (Code::AlreadyExists, Kind::Conflict),
            Self::NotDurable => (Code::Unavailable, Kind::NotDurable),
            Self::NotDetachable => (Code::PermissionDenied, Kind::NotDetachable),
            Self::TooManyProcesses(_) | Self::TooManyOfClient { .. } | Self::TooManyStarts { .. } => {
                (Code::ResourceExhausted, Kind::TooManyProcesses)
            }
            Self::CommandNotFound => (Code::NotFound, Kind::CommandNotFound),
            Self::NotExecutable => (Code::PermissionDenied, Kind::NotExecutable),
            Self::BadCwd => (Code::FailedPrecondition, Kind::BadCwd),
            Self::User(error) => match error {
                UserError::Other => (Code::FailedPrecondition, Kind::OtherUser),
                UserError::Busy => (Code::ResourceExhausted, Kind::TooManyProcesses),
                UserError::Database(_) | UserError::TimedOut => (Code::Unavailable, Kind::UnknownUser),
                UserError::Unknown | UserError::NotRoot | UserError::Refused(_) => {
                    (Code::FailedPrecondition, Kind::UnknownUser)
                }
            },
            Self::SpawnFailed(refusal) if !advice(refusal).is_empty() => {
                (Code::ResourceExhausted, Kind::ResourceLimit)
            }
            Self::SpawnFailed(_) => (Code::ResourceExhausted, Kind::SpawnFailed),
        };
        (code, Some(kind))
    }

    /// Why no process was started, for records and spans. The client computes the same from the kind.
    pub fn start_failure(&self) -> StartFailure {
        match (self, self.code()) {
            (Self::Abandoned, _) => StartFailure::Abandoned,
            (_, (_, Some(kind))) => StartFailure::from_wire(kind).unwrap_or(StartFailure::Unavailable),
            (_, (code, None)) => StartFailure::of_status(RpcStatus(code.into())),
        }
    }
}

impl From<StartError> for Status {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        let retry_after = match &error {
            StartError::TooManyProcesses(_) | StartError::TooManyOfClient { .. } => Some(PROCESSES_RETRY),
            StartError::TooManyStarts { retry_after } => Some(*retry_after),
            _ => None,
        };
        let mut status = match error.code() {
            (code, Some(kind)) => detailed(code, kind, message),
            (code, None) => Status::new(code, message),
        };
        if let Some(wait) = retry_after {
            let ms = wait.as_millis().max(1) as u64;
            status.metadata_mut().insert(RETRY_PUSHBACK, ms.into());
        }
        status
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        let kind = match error {
            RequestError::Ack { .. } => Kind::InvalidAck,
            RequestError::StdinNotAsked
            | RequestError::StdinClosed
            | RequestError::StdinOffset { .. }
            | RequestError::StdinCut => Kind::InvalidStdin,
            RequestError::MarkerWithoutFamily | RequestError::UnknownMarker => Kind::InvalidMarker,
            RequestError::UnknownSignal => Kind::InvalidSignal,
            RequestError::LateAttach => Kind::InvalidAttach,
            RequestError::NoTerminal | RequestError::WindowSize => Kind::InvalidResize,
            RequestError::SecondStart | RequestError::Unknown | RequestError::Unreadable => {
                Kind::InvalidStart
            }
        };
        detailed(Code::InvalidArgument, kind, error.to_string())
    }
}

impl From<SignalError> for Status {
    fn from(error: SignalError) -> Self {
        let message = error.to_string();
        match error {
            SignalError::Unauthenticated => Status::unauthenticated(message),
            SignalError::Unknown => detailed(Code::InvalidArgument, Kind::InvalidSignal, message),
            SignalError::UnknownProcess => detailed(Code::NotFound, Kind::UnknownProcess, message),
        }
    }
}

/// Server's fault: the operating system did not report how the process ended.
pub(crate) fn exit_status_lost() -> Status {
    Status::internal("the exit status of the process was lost")
}

fn detailed(code: Code, kind: Kind, message: String) -> Status {
    let detail = ExecError {
        kind: kind.into(),
        message: message.clone(),
    };
    let details = detail.to_details(code.into());
    Status::with_details(code, message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_and_client_tell_the_same_start_failure() {
        let refusal = |errno: Errno| StartError::SpawnFailed(errno.into());
        for (error, failure) in [
            (StartError::CommandNotFound, StartFailure::CommandNotFound),
            (StartError::NotExecutable, StartFailure::NotExecutable),
            (StartError::BadCwd, StartFailure::BadCwd),
            (InvalidStart::EmptyArgv.into(), StartFailure::Invalid),
            (StartError::TooManyProcesses(1), StartFailure::TooManyProcesses),
            (UserError::Busy.into(), StartFailure::TooManyProcesses),
            (UserError::Other.into(), StartFailure::NotAllowed),
            (UserError::Unknown.into(), StartFailure::SpawnFailed),
            (refusal(Errno::MFILE), StartFailure::ResourceLimit),
            (refusal(Errno::TOOBIG), StartFailure::ResourceLimit),
            (refusal(Errno::TXTBSY), StartFailure::SpawnFailed),
            (StartError::NotDurable, StartFailure::NotDurable),
            (StartError::ShuttingDown, StartFailure::Unavailable),
        ] {
            assert_eq!(error.start_failure(), failure, "{error}");
            let status = Status::from(error);
            let told = ExecError::from_details(status.details());
            let told = match told.map(|error| error.kind()) {
                Some(kind) => StartFailure::from_wire(kind),
                None => Some(StartFailure::of_status(RpcStatus(status.code().into()))),
            };
            assert_eq!(told, Some(failure), "{status}");
        }
    }

    #[test]
    fn a_refusal_of_the_system_s_says_what_to_do_where_that_is_known() {
        let says = |errno: Errno| StartError::SpawnFailed(errno.into()).to_string();
        for (errno, advice) in [
            (Errno::AGAIN, "ulimit -u"),
            (Errno::MFILE, "ulimit -n"),
            (Errno::NOMEM, "out of memory"),
            (Errno::TOOBIG, "fewer or shorter arguments"),
        ] {
            assert!(says(errno).contains(advice), "{}", says(errno));
        }
        assert!(says(Errno::TXTBSY).ends_with(&io::Error::from(Errno::TXTBSY).to_string()));
    }
}
