//! What a person sees when something failed: one sentence that says what to do, and an exit code like ssh's.

use std::io;
use std::path::PathBuf;

use baton_channel::allow::AllowError;
use baton_channel::key::KeyError;
use baton_channel::{HealthError, ServerError};
use baton_core_client::{
    ConnectError, RecordsError, RootsError, RunError, SessionError, StartFailure, TicketError,
};
use baton_exec_server::CloneUnavailable;
use baton_export::ExportError;
use baton_export::read::ReadError;
use baton_metadata::MetadataError;
use baton_noise::access::Exposure;
use baton_relay::{AllowedServersError, BindError, TlsError};

/// Baton's own failure.
const FAILED: i32 = 255;

/// A command line that asks for what there is not, as clap exits.
const USAGE: i32 = 2;

/// The time of `--timeout` was over; as timeout(1) exits.
const TIMED_OUT: i32 = 124;

/// What ends a local program that writes to nobody.
const SIGPIPE: i32 = rustix::process::Signal::PIPE.as_raw();

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(
        "no ticket: name the file that `baton exec-server --ticket-file FILE` wrote by --ticket-file or BATON_TICKET_FILE, or put the \
         `ticket:` line into the variable BATON_TICKET"
    )]
    NoTicket,
    #[error(
        "cannot read the ticket file {path}: {source}; has `baton exec-server --ticket-file` written it?"
    )]
    TicketFile { path: PathBuf, source: io::Error },
    #[error(
        "the ticket file {path} is not used, because {exposure}: run `{} {path}`, and `baton ticket rotate` on the exec-server if others \
         have read it",
        .exposure.command()
    )]
    TicketExposed { path: PathBuf, exposure: Exposure },
    #[error(transparent)]
    Ticket(#[from] TicketError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Allow(#[from] AllowError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    AllowedServers(#[from] AllowedServersError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error(
        "no relay and no exec-server to check: pass --relay URL or --ticket-file FILE, or set BATON_TICKET or BATON_TICKET_FILE"
    )]
    NothingToCheck,
    #[error(transparent)]
    Health(#[from] HealthError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("--spawn clone does not work here: {0}; --spawn auto or --spawn std does")]
    Spawn(#[from] CloneUnavailable),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("--durability start needs a place for its records: give --state a directory")]
    NoState,
    #[error("not everything is on the exec-server's disk: {0}")]
    NotFlushed(String),
    #[error("`{name}` may mean any of these; give more of the id:\n{several}")]
    Ambiguous { name: String, several: String },
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "this client's key is not allowed: ask the exec-server's owner to add this line to its allow-list:\n{line}"
    )]
    NotAllowed { line: String },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "standard output is closed, so that what the command prints could not be shown: open it, or add `>/dev/null` if it shall be thrown away"
    )]
    NoStdout,
    #[error("cannot write to {stream}: {source}")]
    Stdio { stream: &'static str, source: io::Error },
    #[error(
        "cannot read standard input to its end: {0}; the command was killed, since what it got is not all: mend the input, or add \
         `</dev/null`"
    )]
    Input(io::Error),
    #[error("cannot find your home directory: set HOME, or pass the file by its flag")]
    NoHome,
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    #[error("the embedded exec-server did not come up: {0}")]
    Embedded(String),
    #[error("interrupted")]
    Interrupted { signal: i32 },
    #[error(
        "there are no remote terminals yet: leave -t out; the command then has pipes, and reads what you type line by line"
    )]
    NoTerminals,
    #[error("nobody reads {stream} any more")]
    ReaderGone { stream: &'static str },
}

impl CliError {
    /// Whether the user knows already: as with any tool behind `| head`.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::ReaderGone { .. })
    }

    /// What to do, where the error itself, which is a library's and knows of no command line, leaves that open.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Run(RunError::Connect(error)) | Self::Records(RecordsError::Connect(error)) => {
                match error {
                    ConnectError::Handshake => Some("ask the exec-server's owner for its current ticket"),
                    ConnectError::Timeout(_) => Some("see that it is up, then try again"),
                    ConnectError::Refused(_) | ConnectError::Unavailable(_) | ConnectError::Broken(_) => {
                        Some("try again, and if that does not help look at what relay and exec-server print")
                    }
                    _ => None,
                }
            }
            Self::Run(RunError::Session(error)) if is_cut(error) => {
                Some("the command is killed if it still runs: `baton history` tells what became of it")
            }
            Self::Records(RecordsError::Session(error)) if is_cut(error) => Some("try again"),
            Self::Run(RunError::Start {
                failure: StartFailure::BadCwd,
                ..
            }) => Some("name another by --cwd"),
            Self::Run(RunError::Protocol(_)) => Some("if both are of one version, report it"),
            Self::Records(RecordsError::NotFound(_)) => {
                Some("`baton history` and `baton threads` list what there is")
            }
            _ => None,
        }
    }

    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Run(RunError::Start {
                failure: StartFailure::CommandNotFound,
                ..
            }) => 127,
            Self::Run(RunError::Start {
                failure: StartFailure::NotExecutable,
                ..
            }) => 126,
            Self::Run(RunError::TimedOut) => TIMED_OUT,
            Self::NoTerminals => USAGE,
            Self::Interrupted { signal } => 128 + signal,
            Self::ReaderGone { .. } => 128 + SIGPIPE,
            _ => FAILED,
        }
    }
}

/// Whether a session ended for no fault that its own words say how to mend.
fn is_cut(error: &SessionError) -> bool {
    !matches!(
        error,
        SessionError::NotAllowed | SessionError::AllowListUnusable | SessionError::Rejected { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_library_cannot_advise_the_command_line_does() {
        let cut = || SessionError::Relay("its stream ended".into());
        for (error, advice) in [
            (
                RunError::Connect(ConnectError::Handshake).into(),
                Some("current ticket"),
            ),
            (RunError::Session(cut()).into(), Some("`baton history`")),
            (RunError::Session(SessionError::NotAllowed).into(), None),
            (RecordsError::Session(cut()).into(), Some("try again")),
            (
                RecordsError::NotFound(String::new()).into(),
                Some("`baton threads`"),
            ),
            (CliError::NoTicket, None),
        ] {
            let given = CliError::advice(&error);
            let is_right = match advice {
                Some(advice) => given.is_some_and(|given| given.contains(advice)),
                None => given.is_none(),
            };
            assert!(is_right, "{error}: {given:?}");
        }
    }
}
