//! The command that a call runs: the attributes that it adds to the call's spans, and how it ended.
//!
//! ```text
//! caller ── TracedCommand in the request's extensions ─► client's record ─► span `call`: named after the command
//! handler ─ ServerCall::set_command(TracedCommand) ────► server's record ─► span `process`: the same attributes
//! ```
//!
//! A [`TracedCommand`] is shared between the code that runs the command, which sets the pid and the end as soon as they
//! are known, and the record of the call, which reads them when the call has ended. Names and attributes follow
//! OpenTelemetry's conventions for CLI programs (`span.cli.client`); attributes that these lack are named `baton.*`
//! (docs/STAGES.md). Arguments and environments are never included.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use baton_proto::ProcessId;
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_semantic_conventions::attribute::{PROCESS_EXECUTABLE_NAME, PROCESS_PID};

use crate::attribute;
use crate::call_end::CallEnd;
use crate::family::FamilySummary;
use crate::status::RpcStatus;

/// How a command ended. `baton.outcome`, `baton history` and `baton show` use the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The process exited with an exit code.
    Exited,
    /// A signal that the exec-server did not send killed the process.
    Signaled,
    /// The deadline passed, and the exec-server killed the process.
    TimedOut,
    /// The exec-server killed the process: the caller cancelled the call, the session ended, or the exec-server shut
    /// down.
    Killed,
    /// No process was started.
    FailedToStart,
    /// The process was started, or may have been, and its end was not observed.
    Lost,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Exited,
        Self::Signaled,
        Self::TimedOut,
        Self::Killed,
        Self::FailedToStart,
        Self::Lost,
    ];

    /// The name in telemetry, in the history and in JSON.
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

/// The exit status of a process, as the operating system reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandExit {
    /// The exit code, 0 to 255.
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

/// The name of a signal on Linux, without `SIG`; the number, if it has no name here.
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
    /// The exit status, if it is known.
    pub exit: Option<CommandExit>,
}

impl CommandEnd {
    /// An end without an exit status.
    pub const fn unseen(outcome: Outcome) -> Self {
        Self { outcome, exit: None }
    }

    /// A command that exited, or was killed by a signal that the exec-server did not send.
    pub const fn by_itself(exit: CommandExit) -> Self {
        Self {
            outcome: match exit {
                CommandExit::Code(_) => Outcome::Exited,
                CommandExit::Signal(_) => Outcome::Signaled,
            },
            exit: Some(exit),
        }
    }

    /// A command that was killed because its call was cut short. It may have handled the signal and exited with a code.
    pub const fn cut_short(exit: CommandExit, call_end: CallEnd) -> Self {
        Self {
            outcome: match call_end {
                CallEnd::Deadline => Outcome::TimedOut,
                _ => Outcome::Killed,
            },
            exit: Some(exit),
        }
    }

    /// The value of `error.type`, from a closed list; `None` for exit code 0.
    pub fn error_type(&self) -> Option<&'static str> {
        match (self.outcome, self.exit) {
            (Outcome::Exited, Some(CommandExit::Code(0))) => None,
            (Outcome::Exited, _) => Some("nonzero_exit"),
            (outcome, _) => Some(outcome.name()),
        }
    }
}

/// The progress of a call, as its client observed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallProgress {
    /// Nothing was sent.
    #[default]
    NotSent,
    /// The call was sent, and ended without the server's trailers.
    CutShort,
    /// The call was sent, and the server closed the session with a `GoAway` before it answered.
    SessionClosed,
    /// The server sent trailers.
    Answered,
}

/// The ids under which the caller groups its commands. Spans and records have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallerIds<'a> {
    /// The thread: a conversation or a job.
    pub thread: Option<&'a str>,
    /// The turn of the caller's loop, at most [`TURN_MAX`](baton_proto::limits::TURN_MAX); a larger one is omitted.
    pub turn: Option<NonZeroU64>,
    /// The step of that turn.
    pub step: Option<&'a str>,
}

/// A command. Clones share its state.
#[derive(Debug, Clone)]
pub struct TracedCommand(Arc<CommandInner>);

#[derive(Debug)]
struct CommandInner {
    label: StringValue,
    attributes: Vec<KeyValue>,
    /// Only on the client's `call`.
    fingerprint: OnceLock<StringValue>,
    observed: Mutex<Observed>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Observed {
    pid: Option<u32>,
    end: Option<CommandEnd>,
    family: Option<FamilySummary>,
    survivors: u32,
}

impl TracedCommand {
    /// A command that runs `program`, as it was requested. `label` names the client's span and must have low
    /// cardinality. Without one, the program's base name is used.
    pub fn new(label: Option<String>, program: &[u8], process: ProcessId, ids: CallerIds<'_>) -> Self {
        Self::with(label, program, process, ids, None)
    }

    /// At the server: `client` is the allow-list name of the key that requested the command.
    pub fn for_client(client: &str, program: &[u8], process: ProcessId, ids: CallerIds<'_>) -> Self {
        Self::with(None, program, process, ids, Some(client))
    }

    fn with(
        label: Option<String>,
        program: &[u8],
        process: ProcessId,
        CallerIds { thread, turn, step }: CallerIds<'_>,
        client: Option<&str>,
    ) -> Self {
        // Reference-counted: the record and the span take clones without copying text.
        let text = |text: &str| Arc::<str>::from(text);
        let executable: Arc<str> = base_name(program).into();
        let label = label.map_or_else(|| Arc::clone(&executable), Arc::from);
        let turn = turn.and_then(|turn| i64::try_from(turn.get()).ok());
        // `summarize` adds the pid.
        let mut attributes = Vec::with_capacity(6);
        attributes.push(KeyValue::new(PROCESS_EXECUTABLE_NAME, executable));
        attributes.push(KeyValue::new(attribute::PROCESS_ID, text(&process.to_string())));
        attributes.extend(thread.map(|thread| KeyValue::new(attribute::THREAD, text(thread))));
        attributes.extend(turn.map(|turn| KeyValue::new(attribute::TURN, turn)));
        attributes.extend(step.map(|step| KeyValue::new(attribute::STEP, text(step))));
        attributes.extend(client.map(|client| KeyValue::new(attribute::CLIENT, text(client))));
        Self(Arc::new(CommandInner {
            label: label.into(),
            attributes,
            fingerprint: OnceLock::new(),
            observed: Mutex::default(),
        }))
    }

    /// At the client: with the keyed hash of its arguments ([`attribute::ARGUMENTS_FINGERPRINT`]). A second one has no
    /// effect.
    #[must_use]
    pub fn with_fingerprint(self, fingerprint: String) -> Self {
        let _ = self.0.fingerprint.set(fingerprint.into());
        self
    }

    /// Sets the pid of the started process.
    pub fn started(&self, pid: u32) {
        self.observed().pid = Some(pid);
    }

    /// Sets the end. Later calls have no effect.
    pub fn ended(&self, end: CommandEnd) {
        self.observed().end.get_or_insert(end);
    }

    /// Sets what the command's family measured.
    pub fn measured(&self, family: FamilySummary) {
        self.observed().family = Some(family);
    }

    /// Sets the number of descendants that the exec-server could not kill.
    pub fn survived_by(&self, survivors: u32) {
        self.observed().survivors = survivors;
    }

    /// The summary for a client's call that has ended.
    pub fn summary_of_call(&self, progress: CallProgress, status: RpcStatus) -> CommandSummary {
        let observed = *self.observed();
        let assumed = || CommandEnd::unseen(assumed(progress, status, observed.pid.is_some()));
        self.summarize(&observed, observed.end.unwrap_or_else(assumed))
    }

    /// The summary once no holder can add to it. A command without an end counts as lost.
    pub fn summary(&self) -> CommandSummary {
        let observed = *self.observed();
        self.summarize(
            &observed,
            observed.end.unwrap_or(CommandEnd::unseen(Outcome::Lost)),
        )
    }

    fn summarize(&self, observed: &Observed, end: CommandEnd) -> CommandSummary {
        let mut attributes = Vec::with_capacity(self.0.attributes.len() + 2);
        attributes.extend_from_slice(&self.0.attributes);
        let fingerprint = self.0.fingerprint.get().cloned();
        attributes.extend(
            fingerprint.map(|fingerprint| KeyValue::new(attribute::ARGUMENTS_FINGERPRINT, fingerprint)),
        );
        attributes.extend(observed.pid.map(|pid| KeyValue::new(PROCESS_PID, i64::from(pid))));
        let survivors = Some(observed.survivors).filter(|survivors| *survivors > 0);
        attributes
            .extend(survivors.map(|survivors| KeyValue::new(attribute::SURVIVORS, i64::from(survivors))));
        CommandSummary {
            label: self.0.label.clone(),
            attributes,
            family: observed.family,
            end,
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.0.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Telemetry never contains the path, which may name a person or a project.
fn base_name(program: &[u8]) -> Cow<'_, str> {
    let path = Path::new(OsStr::from_bytes(program));
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()
}

/// The outcome of a command whose end the client did not receive.
fn assumed(progress: CallProgress, status: RpcStatus, is_started: bool) -> Outcome {
    match (status, progress) {
        (RpcStatus::DEADLINE_EXCEEDED, _) => Outcome::TimedOut,
        (_, CallProgress::NotSent) => Outcome::FailedToStart,
        // The caller cancelled the call: the exec-server kills the processes of a disconnected client.
        (RpcStatus::CANCELLED, _) => Outcome::Killed,
        (RpcStatus::OK | RpcStatus::INTERNAL, _) | (_, CallProgress::CutShort) => Outcome::Lost,
        // A server that refuses a client's message or closes its session kills the client's processes.
        (_, CallProgress::Answered | CallProgress::SessionClosed) if is_started => Outcome::Killed,
        (_, CallProgress::SessionClosed) => Outcome::Lost,
        (_, CallProgress::Answered) => Outcome::FailedToStart,
    }
}

/// The part of a call record that describes a command.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandSummary {
    /// The name of the client's span.
    pub label: StringValue,
    /// The program's base name, the ids, and the pid if there is one.
    pub attributes: Vec<KeyValue>,
    /// What its family measured, for the `process` span.
    pub family: Option<FamilySummary>,
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
        let ids = CallerIds {
            thread: Some("t"),
            turn: NonZeroU64::new(7),
            step: Some("s"),
        };
        TracedCommand::new(label, program.as_bytes(), ProcessId([0xab; 16]), ids)
    }

    fn command() -> TracedCommand {
        named(None, "make")
    }

    #[test]
    fn outcome_names_round_trip() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
        }
        assert_eq!(Outcome::from_name("fine"), None);
    }

    #[test]
    fn a_command_is_named_by_its_label_or_else_by_its_program() {
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
    fn later_facts_are_in_the_summary_and_the_first_end_counts() {
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
        let turn = KeyValue::new("baton.turn", 7);
        assert!(record.attributes.contains(&turn), "{:?}", record.attributes);
        assert_eq!(record.text("baton.step").as_deref(), Some("s"));
        assert_eq!(record.text("baton.survivors"), None);
        command.survived_by(2);
        let survivors = KeyValue::new("baton.survivors", 2);
        assert!(command.summary().attributes.contains(&survivors));
    }

    #[test]
    fn without_a_received_end_the_outcome_follows_from_the_call() {
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
    fn a_command_that_was_cut_short_counts_as_killed_with_any_exit_status() {
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
        // A process that handles the signal and exits with 0 still counts as killed.
        let killed = CommandEnd {
            outcome: Outcome::Killed,
            exit: Some(CommandExit::Code(0)),
        };
        assert_eq!(class(killed), Some("killed"));
    }
}
