//! The command that a call runs: what its spans say beside the RPC, and how the command ended.
//!
//! ```text
//! caller ── TracedCommand in the request's extensions ─► client's record ─► span `call`: named after the command
//! handler ─ ServerCall::set_command(TracedCommand) ────► server's record ─► span `process`: the same attributes
//! ```
//!
//! A [`TracedCommand`] is shared between its maker, which notes the pid and the end as soon as it knows them, and the record of the
//! call, which reads them when the call is over. Names and attributes follow OpenTelemetry's conventions for CLI programs
//! (`span.cli.client`); what these lack is `baton.*` (docs/STAGES.md). Arguments and environments are never part of it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_proto::ProcessId;
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_semantic_conventions::attribute::{PROCESS_EXECUTABLE_NAME, PROCESS_PID};

use crate::attribute;
use crate::call_end::CallEnd;
use crate::status::RpcStatus;

/// How a command ended. `baton.outcome`, `baton history` and `baton show` use the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with an exit code.
    Exited,
    /// By a signal that the exec-server did not send.
    Signaled,
    /// Its deadline passed, and it was killed.
    TimedOut,
    /// It was killed before its end: its caller gave it up, its session ended, or the exec-server shut down.
    Killed,
    /// It never ran.
    FailedToStart,
    /// It was started, or may have been, and nobody saw its end.
    Lost,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Exited,
        Self::Signaled,
        Self::TimedOut,
        Self::Killed,
        Self::FailedToStart,
        Self::Lost,
    ];

    /// Its name: in telemetry, in the history and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signaled => "signaled",
            Self::TimedOut => "timed_out",
            Self::Killed => "killed",
            Self::FailedToStart => "failed_to_start",
            Self::Lost => "lost",
        }
    }

    /// The outcome behind a [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// What the operating system said of the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandExit {
    /// Its exit code, 0 to 255.
    Code(i32),
    /// The number of the signal that ended it, on the machine where it ran.
    Signal(i32),
}

impl CommandExit {
    /// The code that a shell reports: the exit code, or 128 and the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

/// The name of a signal on Linux, without `SIG`; another number stays a number.
pub fn signal_name(signal: i32) -> Cow<'static, str> {
    let name = match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        other => return other.to_string().into(),
    };
    name.into()
}

/// The end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandEnd {
    /// How it ended.
    pub outcome: Outcome,
    /// What the operating system said, where it was told.
    pub exit: Option<CommandExit>,
}

impl CommandEnd {
    /// An end that the operating system said nothing about.
    pub const fn unseen(outcome: Outcome) -> Self {
        Self { outcome, exit: None }
    }

    /// A command that ended by itself, or by a signal that was not the exec-server's.
    pub const fn by_itself(exit: CommandExit) -> Self {
        Self {
            outcome: match exit {
                CommandExit::Code(_) => Outcome::Exited,
                CommandExit::Signal(_) => Outcome::Signaled,
            },
            exit: Some(exit),
        }
    }

    /// A command that was killed because its call was cut short. It may have caught the signal and exited with a code.
    pub const fn cut_short(exit: CommandExit, call_end: CallEnd) -> Self {
        Self {
            outcome: match call_end {
                CallEnd::Deadline => Outcome::TimedOut,
                _ => Outcome::Killed,
            },
            exit: Some(exit),
        }
    }

    /// The class of error that this end is, of a closed list; `None` for an exit code of 0.
    pub fn error_type(&self) -> Option<&'static str> {
        match (self.outcome, self.exit) {
            (Outcome::Exited, Some(CommandExit::Code(0))) => None,
            (Outcome::Exited, _) => Some("nonzero_exit"),
            (outcome, _) => Some(outcome.name()),
        }
    }
}

/// How far a call came, as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallProgress {
    /// Nothing of it was sent.
    #[default]
    NotSent,
    /// It was sent, and ended without the server's trailers.
    CutShort,
    /// It was sent, and the server ended the session before it had answered, and said so.
    SessionClosed,
    /// The server ended it.
    Answered,
}

/// A command. Clones share what becomes known of it.
#[derive(Debug, Clone)]
pub struct TracedCommand(Arc<CommandInner>);

#[derive(Debug)]
struct CommandInner {
    label: StringValue,
    attributes: Vec<KeyValue>,
    observed: Mutex<Observed>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Observed {
    pid: Option<u32>,
    end: Option<CommandEnd>,
}

impl TracedCommand {
    /// A command that runs `program`, as it was requested. `label`, which has to be of low cardinality, names the client's span; without
    /// one the program's base name does.
    pub fn new(label: Option<String>, program: &[u8], process: ProcessId, thread: Option<&str>) -> Self {
        Self::with(label, program, process, thread, None)
    }

    /// As [`new`](Self::new), at the server: `client` is the name of the key whose owner asked for the command.
    pub fn for_client(client: &str, program: &[u8], process: ProcessId, thread: Option<&str>) -> Self {
        Self::with(None, program, process, thread, Some(client))
    }

    fn with(
        label: Option<String>,
        program: &[u8],
        process: ProcessId,
        thread: Option<&str>,
        client: Option<&str>,
    ) -> Self {
        // Counted references: the record and the span take copies, and copy no text.
        let text = |text: &str| Arc::<str>::from(text);
        let executable: Arc<str> = base_name(program).into();
        let label = label.map_or_else(|| Arc::clone(&executable), Arc::from);
        // The end adds the pid.
        let mut attributes = Vec::with_capacity(5);
        attributes.push(KeyValue::new(PROCESS_EXECUTABLE_NAME, executable));
        attributes.push(KeyValue::new(attribute::PROCESS_ID, text(&process.to_string())));
        attributes.extend(thread.map(|thread| KeyValue::new(attribute::THREAD, text(thread))));
        attributes.extend(client.map(|client| KeyValue::new(attribute::CLIENT, text(client))));
        Self(Arc::new(CommandInner {
            label: label.into(),
            attributes,
            observed: Mutex::default(),
        }))
    }

    /// It runs, as this process of the operating system.
    pub fn started(&self, pid: u32) {
        self.observed().pid = Some(pid);
    }

    /// It has ended. The first end counts.
    pub fn ended(&self, end: CommandEnd) {
        self.observed().end.get_or_insert(end);
    }

    /// What is known now that the call of a client is over.
    pub fn summary_of_call(&self, progress: CallProgress, status: RpcStatus) -> CommandSummary {
        let observed = *self.observed();
        let assumed = || CommandEnd::unseen(assumed(progress, status, observed.pid.is_some()));
        self.summarize(observed.pid, observed.end.unwrap_or_else(assumed))
    }

    /// What is known now that nobody can add to it. A command without an end counts as lost.
    pub fn summary(&self) -> CommandSummary {
        let observed = *self.observed();
        self.summarize(
            observed.pid,
            observed.end.unwrap_or(CommandEnd::unseen(Outcome::Lost)),
        )
    }

    fn summarize(&self, pid: Option<u32>, end: CommandEnd) -> CommandSummary {
        let mut attributes = Vec::with_capacity(self.0.attributes.len() + 1);
        attributes.extend_from_slice(&self.0.attributes);
        attributes.extend(pid.map(|pid| KeyValue::new(PROCESS_PID, i64::from(pid))));
        CommandSummary {
            label: self.0.label.clone(),
            attributes,
            end,
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.0.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Never a path: it may name a person or a project.
fn base_name(program: &[u8]) -> Cow<'_, str> {
    let path = Path::new(OsStr::from_bytes(program));
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()
}

/// What became of a command whose end its client was not told.
fn assumed(progress: CallProgress, status: RpcStatus, is_started: bool) -> Outcome {
    match (status, progress) {
        (RpcStatus::DEADLINE_EXCEEDED, _) => Outcome::TimedOut,
        (_, CallProgress::NotSent) => Outcome::FailedToStart,
        // Its caller gave it up: the exec-server kills what a client that has gone had running.
        (RpcStatus::CANCELLED, _) => Outcome::Killed,
        (RpcStatus::OK | RpcStatus::INTERNAL, _) | (_, CallProgress::CutShort) => Outcome::Lost,
        // A server that refuses what a client sends, or ends its session, kills what runs for it.
        (_, CallProgress::Answered | CallProgress::SessionClosed) if is_started => Outcome::Killed,
        (_, CallProgress::SessionClosed) => Outcome::Lost,
        (_, CallProgress::Answered) => Outcome::FailedToStart,
    }
}

/// What a record keeps of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandSummary {
    /// The name of the client's span.
    pub label: StringValue,
    /// The program's base name, the pid where there is one, and what its maker added.
    pub attributes: Vec<KeyValue>,
    /// How it ended.
    pub end: CommandEnd,
}

impl CommandSummary {
    /// The text of an attribute.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        let found = self.attributes.iter().find(|kv| kv.key.as_str() == key)?;
        Some(found.value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn named(label: Option<&str>, program: &str) -> TracedCommand {
        let label = label.map(str::to_owned);
        TracedCommand::new(label, program.as_bytes(), ProcessId([0xab; 16]), Some("t"))
    }

    fn command() -> TracedCommand {
        named(None, "make")
    }

    #[test]
    fn names_lead_back_to_their_outcomes() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
        }
        assert_eq!(Outcome::from_name("fine"), None);
    }

    #[test]
    fn a_subject_is_named_by_its_label_and_else_by_its_program() {
        for (label, program, name) in [
            (None, "make", "make"),
            (None, "/home/ada/bin/make", "make"),
            (None, "..", ".."),
            (Some("build"), "/usr/bin/make", "build"),
        ] {
            assert_eq!(named(label, program).summary().label.as_str(), name);
        }
    }

    #[test]
    fn what_becomes_known_later_is_in_the_record_and_the_first_end_counts() {
        let command = command();
        let maker = command.clone();
        maker.started(7);
        maker.ended(CommandEnd::by_itself(CommandExit::Signal(9)));
        maker.ended(CommandEnd::by_itself(CommandExit::Code(0)));
        let record = command.summary_of_call(CallProgress::Answered, RpcStatus::OK);
        assert_eq!(record.end, CommandEnd::by_itself(CommandExit::Signal(9)));
        assert_eq!(record.end.exit.map(CommandExit::code), Some(137));
        assert_eq!(record.text("process.pid").as_deref(), Some("7"));
        assert_eq!(record.text("process.executable.name").as_deref(), Some("make"));
        assert_eq!(record.text("baton.process.id"), Some("ab".repeat(16).into()));
        assert_eq!(record.text("baton.thread").as_deref(), Some("t"));
    }

    #[test]
    fn a_command_whose_end_was_not_told_is_judged_by_its_call() {
        let unavailable = RpcStatus(14);
        for (progress, status, is_started, outcome) in [
            (CallProgress::NotSent, unavailable, false, Outcome::FailedToStart),
            (
                CallProgress::NotSent,
                RpcStatus::CANCELLED,
                false,
                Outcome::FailedToStart,
            ),
            (
                CallProgress::NotSent,
                RpcStatus::DEADLINE_EXCEEDED,
                false,
                Outcome::TimedOut,
            ),
            (
                CallProgress::CutShort,
                RpcStatus::DEADLINE_EXCEEDED,
                true,
                Outcome::TimedOut,
            ),
            (
                CallProgress::CutShort,
                RpcStatus::CANCELLED,
                true,
                Outcome::Killed,
            ),
            (CallProgress::CutShort, unavailable, true, Outcome::Lost),
            (CallProgress::CutShort, unavailable, false, Outcome::Lost),
            (CallProgress::SessionClosed, unavailable, true, Outcome::Killed),
            (CallProgress::SessionClosed, RpcStatus(7), true, Outcome::Killed),
            (CallProgress::SessionClosed, unavailable, false, Outcome::Lost),
            (
                CallProgress::Answered,
                RpcStatus(5),
                false,
                Outcome::FailedToStart,
            ),
            (CallProgress::Answered, RpcStatus(3), true, Outcome::Killed),
            (CallProgress::Answered, RpcStatus::INTERNAL, true, Outcome::Lost),
            (CallProgress::Answered, RpcStatus::OK, true, Outcome::Lost),
        ] {
            let command = command();
            if is_started {
                command.started(7);
            }
            let end = command.summary_of_call(progress, status).end;
            assert_eq!(
                end,
                CommandEnd::unseen(outcome),
                "{progress:?} {status:?} {is_started}"
            );
        }
    }

    #[test]
    fn a_command_that_was_cut_short_is_killed_whatever_its_exit_says() {
        for exit in [CommandExit::Code(0), CommandExit::Signal(15)] {
            for call_end in CallEnd::ALL {
                let end = CommandEnd::cut_short(exit, call_end);
                let outcome = match call_end {
                    CallEnd::Deadline => Outcome::TimedOut,
                    _ => Outcome::Killed,
                };
                assert_eq!((end.outcome, end.exit), (outcome, Some(exit)));
            }
        }
    }

    #[test]
    fn only_an_exit_code_of_0_is_no_error() {
        let class = |end: CommandEnd| end.error_type();
        assert_eq!(class(CommandEnd::by_itself(CommandExit::Code(0))), None);
        assert_eq!(
            class(CommandEnd::by_itself(CommandExit::Code(3))),
            Some("nonzero_exit")
        );
        assert_eq!(
            class(CommandEnd::by_itself(CommandExit::Signal(9))),
            Some("signaled")
        );
        for outcome in Outcome::ALL {
            assert!(class(CommandEnd::unseen(outcome)).is_some(), "{outcome:?}");
        }
        // It caught the signal and exited with 0: it was killed all the same.
        let killed = CommandEnd {
            outcome: Outcome::Killed,
            exit: Some(CommandExit::Code(0)),
        };
        assert_eq!(class(killed), Some("killed"));
    }
}
