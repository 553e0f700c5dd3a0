//! The errors of the command line: one message that states what to do, and an exit code like ssh's.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use baton_analyze::compare::CompareError;
use baton_analyze::gate::RulesError;
use baton_analyze::jaeger_search::JaegerError;
use baton_analyze::read::ReadError;
use baton_channel::allow::AllowError;
use baton_channel::key::KeyError;
use baton_channel::{HealthError, ServerError};
use baton_core_client::warm::WarmBoardError;
use baton_core_client::{
    ConnectError, CopyError, FilesError, ProcessError, RecordsError, RootsError, RunError, SessionError,
    StartFailure, TicketError,
};
use baton_corpus::CorpusError;
use baton_exec_server::{CgroupError, CloneUnavailable, UserError};
use baton_export::ExportError;
use baton_metadata::MetadataError;
use baton_noise::access::Exposure;
use baton_relay::{AllowedServersError, BindError, TlsError};
use baton_trace::TraceId;
use baton_trace::outcome::{Loss, Outcome};
use baton_trace::text::counted;

use crate::copy_place::CopyUsage;
use crate::env_file::EnvFileError;
use crate::hosts::HostsError;
use crate::ssh_line::SshUsage;

/// The exit code of Baton's own failures.
const FAILED: i32 = 255;

/// The exit code of invalid arguments, the same as clap's.
const USAGE: i32 = 2;

/// The exit code of `baton cp` if something was not copied, the same as cp's.
pub(crate) const NOT_COPIED: i32 = 1;

/// The exit code after `--timeout` expired, the same as timeout(1)'s.
const TIMED_OUT: i32 = 124;

/// The signal that kills a local program whose output has no reader.
const SIGPIPE: i32 = rustix::process::Signal::PIPE.as_raw();

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(
        "no ticket: pass the file that `baton exec-server --ticket-file FILE` wrote with --ticket-file or \
         BATON_TICKET_FILE, a name of `baton host list` with --host, or set BATON_TICKET to the `ticket:` line"
    )]
    NoTicket,
    #[error(
        "cannot read the ticket file {path}: {source}; write it with `baton exec-server --ticket-file {path}`"
    )]
    TicketFile { path: PathBuf, source: io::Error },
    #[error(
        "the ticket file {path} is not a regular file: pass a regular file, or `-` to read the ticket from standard \
         input"
    )]
    TicketNotAFile { path: PathBuf },
    #[error(
        "refused the ticket file {path}, because {exposure}: run `{} {path}`, and `baton ticket rotate` on the \
         exec-server if others have read it",
        .exposure.command()
    )]
    TicketExposed { path: PathBuf, exposure: Exposure },
    #[error("cannot run commands as the user {user} (--user): {error}")]
    User { user: String, error: UserError },
    #[error("cannot use the cgroup {} (--cgroup): {error}", path.display())]
    Cgroup { path: PathBuf, error: CgroupError },
    #[error(transparent)]
    Ticket(#[from] TicketError),
    #[error(transparent)]
    EnvFile(#[from] EnvFileError),
    #[error(transparent)]
    Hosts(#[from] HostsError),
    #[error(transparent)]
    Ssh(#[from] SshUsage),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Allow(#[from] AllowError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(
        "cannot serve counters on {address}: {source}; choose another address with --metrics, or stop the program that \
         uses it"
    )]
    MetricsBind { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    AllowedServers(#[from] AllowedServersError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error(
        "no relay and no exec-server to check: pass --relay URL or --ticket-file FILE, or set BATON_TICKET or \
         BATON_TICKET_FILE"
    )]
    NothingToCheck,
    #[error(transparent)]
    Health(#[from] HealthError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("--spawn clone does not work here: {0}; pass --spawn auto or --spawn std")]
    Spawn(#[from] CloneUnavailable),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(
        "{error}; the command may run on for at most {}: `baton history` shows its outcome",
        humantime::format_duration(*grace)
    )]
    LostWithGrace { error: SessionError, grace: Duration },
    /// The end of a command.
    #[error("{error}")]
    Ended { error: Box<Self>, outcome: Outcome },
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    WarmBoard(#[from] WarmBoardError),
    #[error(transparent)]
    CopyUsage(#[from] CopyUsage),
    /// The exec-server was not reached, or the connection was lost.
    #[error(transparent)]
    Copy(CopyError),
    #[error("cannot copy {from}: {error}")]
    NotCopied { from: String, error: CopyError },
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("--durability start needs a directory for its records: pass --state DIR")]
    NoState,
    #[error("not everything is on the exec-server's disk: {0}")]
    NotFlushed(String),
    #[error("`{name}` matches several commands; pass a longer prefix of the id:\n{several}")]
    Ambiguous { name: String, several: String },
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Jaeger(#[from] JaegerError),
    #[error(
        "no call of Baton's in {}: none of its {spans} spans is a stage of one (`baton.stage`); was it written by \
         another tool?", path.display()
    )]
    NoCalls { path: PathBuf, spans: u64 },
    #[error(
        "no trace {id} in {}; `baton analyze --json` names example traces of every percentile", path.display()
    )]
    NoTrace { path: PathBuf, id: TraceId },
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    #[error("no call could be read from {}", path.display())]
    NothingRead { path: PathBuf },
    #[error("{} is only partly readable: {} shown; `--trace-json FILE` writes a new one", path.display(), counted(*calls, "call is", "calls are"))]
    HalfRead { path: PathBuf, calls: u64 },
    #[error(
        "this client's key is not allowed: ask the exec-server's owner to add this line to its allow-list:\n{line}"
    )]
    NotAllowed { line: String },
    #[error("cannot write {path}: {source}; check the path and its permissions")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "standard output is closed, so the output cannot be shown: open it, or add `>/dev/null` to discard the output"
    )]
    NoStdout,
    #[error("cannot write to {stream}: {source}")]
    Stdio { stream: &'static str, source: io::Error },
    #[error(
        "cannot read standard input to its end: {0}; the command was killed because its input was incomplete; fix the \
         input, or add `</dev/null`"
    )]
    Input(io::Error),
    #[error("cannot find your home directory: set HOME, or pass the file by its option")]
    NoHome,
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    #[error("the embedded exec-server did not start: {0}")]
    Embedded(String),
    #[error("cannot read the rules {path}: {source}; `baton gate --example` prints some to begin with")]
    ReadRules { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error("interrupted")]
    Interrupted { signal: i32 },
    #[error(
        "no command: pass it after `--`, as in `baton exec -- uname -a`; without one, `baton exec` runs a login shell, \
         and only with a terminal: -tt gives it one if your standard input is none"
    )]
    NoCommand,
    #[error("cannot use your terminal: {0}; remove -t, and the command has pipes instead")]
    Terminal(io::Error),
    #[error("the command has ended, and its exit is not known: `baton history` shows it")]
    NoExit,
    #[error("left by `~.`")]
    Left,
    #[error("the reader of {stream} has closed it")]
    ReaderGone { stream: &'static str },
}

impl CliError {
    /// The error of a command with this grace.
    pub(crate) fn with_grace(self, grace: Duration) -> Self {
        match self {
            Self::Run(RunError::Session(error)) if !grace.is_zero() && may_run_on(&error) => {
                Self::LostWithGrace { error, grace }
            }
            other => other,
        }
    }

    /// The error of a command, with how the command ended if the error tells. `is_started`: the command has started.
    pub(crate) fn of_command(self, is_started: bool) -> Self {
        let outcome = match &self {
            Self::Run(error) => error.outcome(is_started),
            Self::LostWithGrace { .. } => Some(Outcome::Lost(Loss::Connection)),
            _ => None,
        };
        self.with_outcome(outcome)
    }

    /// The error of a command that ended so.
    pub(crate) fn with_outcome(self, outcome: Option<Outcome>) -> Self {
        match outcome {
            Some(outcome) => Self::Ended {
                error: Box::new(self),
                outcome,
            },
            None => self,
        }
    }

    /// What went wrong, without the end of a command.
    pub(crate) fn cause(&self) -> &Self {
        match self {
            Self::Ended { error, .. } => error,
            other => other,
        }
    }

    /// What is printed: what went wrong, what to do, and of a command's end the words that history and spans have.
    pub(crate) fn message(&self) -> String {
        let text = match self.advice() {
            Some(advice) => format!("{self}; {advice}"),
            None => self.to_string(),
        };
        let Self::Ended { outcome, .. } = self else {
            return text;
        };
        let words = outcome.words();
        // What follows the first line is to be copied.
        match text.split_once('\n') {
            Some((first, rest)) => format!("{first} ({words})\n{rest}"),
            None => format!("{text} ({words})"),
        }
    }

    /// Whether the error needs no message, as for any tool before `| head`.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.cause(), Self::ReaderGone { .. })
    }

    /// What to do about a library's error, which does not mention the command line.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self.cause() {
            Self::Run(RunError::Connect(error))
            | Self::Copy(CopyError::Files(FilesError::Connect(error)))
            | Self::Records(RecordsError::Connect(error))
            | Self::Process(ProcessError::Connect(error))
            | Self::WarmBoard(WarmBoardError::Connect(error)) => match error {
                ConnectError::Handshake => Some("ask the exec-server's owner for its current ticket"),
                ConnectError::Timeout(_) => Some("check that it is running, then try again"),
                ConnectError::Refused(_) | ConnectError::Unavailable(_) | ConnectError::Broken(_) => {
                    Some("try again; if that fails, read the logs of the relay and the exec-server")
                }
                _ => None,
            },
            Self::Run(RunError::NotRecovered { .. }) => Some("continue it with `baton attach ID`"),
            Self::Run(RunError::Session(error)) if is_cut(error) => {
                Some("the command is killed if it still runs: `baton history` shows its outcome")
            }
            Self::Records(RecordsError::Session(error))
            | Self::Process(ProcessError::Session(error))
            | Self::WarmBoard(WarmBoardError::Session(error))
            | Self::Copy(CopyError::Files(FilesError::Session(error)))
                if is_cut(error) =>
            {
                Some("try again")
            }
            Self::Process(ProcessError::Ended) => Some("`baton ps` lists those that run"),
            Self::NotCopied {
                error: CopyError::IsDirectory,
                ..
            } => Some("pass -r to copy it with everything below it"),
            Self::Run(RunError::Start {
                failure: StartFailure::BadCwd,
                ..
            }) => Some("pass another with --cwd"),
            Self::Run(RunError::Protocol(_)) => {
                Some("if client and exec-server have the same version, report it")
            }
            Self::Records(RecordsError::NotFound(_)) => {
                Some("`baton history` and `baton threads` list what exists")
            }
            _ => None,
        }
    }

    pub(crate) fn exit_code(&self) -> i32 {
        match self.cause() {
            Self::Run(RunError::Start {
                failure: StartFailure::CommandNotFound,
                ..
            }) => 127,
            Self::Run(RunError::Start {
                failure: StartFailure::NotExecutable,
                ..
            }) => 126,
            Self::Run(RunError::TimedOut) => TIMED_OUT,
            Self::NoCommand | Self::CopyUsage(_) => USAGE,
            Self::NotCopied { .. } => NOT_COPIED,
            Self::Interrupted { signal } => 128 + signal,
            Self::ReaderGone { .. } => 128 + SIGPIPE,
            _ => FAILED,
        }
    }
}

/// Whether a session was cut, as opposed to refused with an error that states what to do.
fn is_cut(error: &SessionError) -> bool {
    !matches!(
        error,
        SessionError::NotAllowed | SessionError::AllowListUnusable | SessionError::Rejected { .. }
    )
}

/// Whether the exec-server may see the end of this session as a loss, which begins the grace of its commands. After a
/// `GoAway` of either end it does not.
fn may_run_on(error: &SessionError) -> bool {
    is_cut(error) && !matches!(error, SessionError::GoAway(_) | SessionError::Closed)
}

#[cfg(test)]
mod tests {
    use baton_proto::channel::go_away::Reason;
    use baton_trace::outcome;

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
            (
                CliError::from(RunError::Session(cut())).with_grace(Duration::ZERO),
                Some("is killed"),
            ),
            (
                CliError::from(RunError::Session(cut())).with_grace(Duration::from_secs(60)),
                None,
            ),
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

    #[test]
    fn the_end_of_a_command_is_told_in_the_words_of_history_and_spans() {
        let timed_out = CliError::from(RunError::TimedOut).of_command(true);
        let message = timed_out.message();
        assert!(
            message.ends_with("what it waits for (timed_out, fault limit)"),
            "{message}"
        );
        assert_eq!(timed_out.exit_code(), TIMED_OUT);
        let closed = |is_started| {
            let error = RunError::Session(SessionError::GoAway(Reason::Shutdown));
            CliError::from(error).of_command(is_started).message()
        };
        for (is_started, words) in [
            (true, "(killed, shut_down, fault server)"),
            (false, "(lost, fault server)"),
        ] {
            let message = closed(is_started);
            assert!(message.ends_with(words), "{message}");
        }
        // A line to copy follows.
        let outcome = Some(Outcome::FailedToStart(outcome::StartFailure::NotAllowed));
        let line = "baton-key laptop".to_owned();
        let message = CliError::NotAllowed { line }.with_outcome(outcome).message();
        assert!(
            message.ends_with(" (failed_to_start, not_allowed, fault caller)\nbaton-key laptop"),
            "{message}"
        );
        // Not about a command.
        assert!(!CliError::NoTicket.of_command(false).message().contains("fault"));
    }

    #[test]
    fn a_lost_session_is_told_with_the_grace_of_its_command_and_a_refused_one_is_not() {
        let error = |error| {
            let error = CliError::from(RunError::Session(error));
            error.with_grace(Duration::from_secs(90)).to_string()
        };
        let lost = error(SessionError::Relay("its stream ended".into()));
        assert!(lost.contains("may run on for at most 1m 30s"), "{lost}");
        for refused in [SessionError::NotAllowed, SessionError::Closed] {
            let refused = error(refused);
            assert!(!refused.contains("run on"), "{refused}");
        }
    }
}
