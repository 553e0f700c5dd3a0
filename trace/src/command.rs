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
use baton_proto::exec::exec_error::Kind;
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_semantic_conventions::attribute::{PROCESS_EXECUTABLE_NAME, PROCESS_PID};

use crate::attribute;
use crate::call_end::CallEnd;
use crate::family::FamilySummary;
use crate::outcome::{Loss, Outcome, StartFailure};
use crate::status::RpcStatus;

pub use crate::outcome::{CommandExit, signal_name};

/// The progress of a call, as its client observed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallProgress {
    /// Nothing was sent.
    #[default]
    NotSent,
    /// The call was sent, and ended without an answer of the server.
    CutShort,
    /// The call was sent, and the server closed the session with a `GoAway` before it answered.
    SessionClosed(CallEnd),
    /// The server sent trailers, or reset the call.
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
    outcome: Option<Outcome>,
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

    /// Sets the outcome. Later calls have no effect.
    pub fn ended(&self, outcome: Outcome) {
        self.observed().outcome.get_or_insert(outcome);
    }

    /// Sets the outcome that an error of the exec-server tells, if it tells one.
    pub fn failed(&self, kind: Kind) {
        let is_started = self.observed().pid.is_some();
        if let Some(outcome) = Outcome::of_error(kind, is_started) {
            self.ended(outcome);
        }
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
        let assumed = || assumed(progress, status, observed.pid.is_some());
        self.summarize(&observed, observed.outcome.unwrap_or_else(assumed))
    }

    /// The summary once no holder can add to it. A command without an end counts as lost.
    pub fn summary(&self) -> CommandSummary {
        let observed = *self.observed();
        let lost = Outcome::Lost(Loss::Server);
        self.summarize(&observed, observed.outcome.unwrap_or(lost))
    }

    fn summarize(&self, observed: &Observed, outcome: Outcome) -> CommandSummary {
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
            outcome,
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
        (RpcStatus::DEADLINE_EXCEEDED, _) => Outcome::TimedOut { exit: None },
        (RpcStatus::CANCELLED, CallProgress::NotSent) => Outcome::FailedToStart(StartFailure::Abandoned),
        (_, CallProgress::NotSent) => Outcome::FailedToStart(StartFailure::NotConnected),
        // The caller cancelled the call: the exec-server kills the processes of a disconnected client.
        (RpcStatus::CANCELLED, _) => Outcome::killed(CallEnd::Reset),
        (_, CallProgress::SessionClosed(by)) => Outcome::of_closed_session(by, is_started),
        (_, CallProgress::CutShort) => Outcome::Lost(Loss::Connection),
        (RpcStatus::OK | RpcStatus::INTERNAL, CallProgress::Answered) => Outcome::Lost(Loss::Server),
        (RpcStatus::UNAVAILABLE, CallProgress::Answered) if is_started => Outcome::killed(CallEnd::ShutDown),
        // A server that refuses a client's message kills its process.
        (_, CallProgress::Answered) if is_started => Outcome::killed(CallEnd::Violation),
        (status, CallProgress::Answered) => Outcome::FailedToStart(StartFailure::of_status(status)),
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
    pub outcome: Outcome,
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
        let killed = Outcome::of_exit(CommandExit::Signal(9), false, false, None);
        maker.ended(killed);
        maker.ended(Outcome::Exited { code: 0 });
        let record = command.summary_of_call(CallProgress::Answered, RpcStatus::OK);
        assert_eq!(record.outcome, killed);
        assert_eq!(record.outcome.exit().map(CommandExit::code), Some(137));
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
        let (started, not_started) = (true, false);
        let failed = Outcome::FailedToStart;
        let timed_out = Outcome::TimedOut { exit: None };
        let (by_server, on_the_way) = (Outcome::Lost(Loss::Server), Outcome::Lost(Loss::Connection));
        let (unavailable, ok) = (RpcStatus::UNAVAILABLE, RpcStatus::OK);
        let (cancelled, deadline) = (RpcStatus::CANCELLED, RpcStatus::DEADLINE_EXCEEDED);
        let closed = CallProgress::SessionClosed;
        let (not_sent, cut_short) = (CallProgress::NotSent, CallProgress::CutShort);
        let answered = CallProgress::Answered;
        for (progress, status, is_started, outcome) in [
            (
                not_sent,
                unavailable,
                not_started,
                failed(StartFailure::NotConnected),
            ),
            (not_sent, cancelled, not_started, failed(StartFailure::Abandoned)),
            (not_sent, deadline, not_started, timed_out),
            (cut_short, deadline, started, timed_out),
            (cut_short, cancelled, started, Outcome::killed(CallEnd::Reset)),
            (cut_short, unavailable, started, on_the_way),
            (cut_short, unavailable, not_started, on_the_way),
            (
                closed(CallEnd::ShutDown),
                unavailable,
                started,
                Outcome::killed(CallEnd::ShutDown),
            ),
            (
                closed(CallEnd::Revoked),
                RpcStatus(7),
                started,
                Outcome::killed(CallEnd::Revoked),
            ),
            (
                closed(CallEnd::Revoked),
                RpcStatus(7),
                not_started,
                failed(StartFailure::NotAllowed),
            ),
            (closed(CallEnd::ShutDown), unavailable, not_started, by_server),
            (answered, RpcStatus(5), not_started, failed(StartFailure::Unknown)),
            (
                answered,
                unavailable,
                not_started,
                failed(StartFailure::Unavailable),
            ),
            (
                answered,
                RpcStatus(3),
                started,
                Outcome::killed(CallEnd::Violation),
            ),
            (answered, unavailable, started, Outcome::killed(CallEnd::ShutDown)),
            (answered, RpcStatus::INTERNAL, started, by_server),
            (answered, ok, started, by_server),
        ] {
            let command = command();
            if is_started {
                command.started(7);
            }
            let summary = command.summary_of_call(progress, status);
            assert_eq!(summary.outcome, outcome, "{progress:?} {status:?} {is_started}");
        }
    }

    #[test]
    fn an_error_of_the_exec_server_tells_the_outcome_more_exactly_than_its_status() {
        let outcome = |kind, is_started| {
            let command = command();
            if is_started {
                command.started(7);
            }
            command.failed(kind);
            command
                .summary_of_call(CallProgress::Answered, RpcStatus(5))
                .outcome
        };
        let failed = Outcome::FailedToStart;
        assert_eq!(
            outcome(Kind::CommandNotFound, false),
            failed(StartFailure::CommandNotFound)
        );
        assert_eq!(
            outcome(Kind::InvalidStdin, true),
            Outcome::killed(CallEnd::Violation)
        );
        assert_eq!(outcome(Kind::Superseded, true), Outcome::Lost(Loss::Superseded));
        // It says nothing about the command: the status has to do.
        assert_eq!(
            outcome(Kind::UnknownProcess, false),
            failed(StartFailure::Unknown)
        );
    }
}
