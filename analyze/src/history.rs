//! Commands of an exec-server's history, as traces.
//!
//! A history has what the exec-server measured: the process and its stages, without the client's half. Its calls have
//! no envelope, so the transits, the remainder, the critical path and the shares of the call are not known.

use baton_trace::TraceId;
use baton_trace::attribute;
use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::outcome::{Fault, Outcome, StartFailure};
use baton_trace::stage::{Component, StageId, exec};
use opentelemetry_semantic_conventions::attribute::{ERROR_TYPE, PROCESS_EXIT_CODE, SERVICE_NAME};

use crate::model::{NewSpan, Trace, Value};
use crate::stages::REMAINDER;

/// The reason for what a history does not have.
pub const UNAVAILABLE: &str = "the history has only what the exec-server measured, no stage of the client";

/// A command of the history.
#[derive(Debug, Clone, Default)]
pub struct HistoryCall {
    /// Its process id, which stands for the trace if that is not known.
    pub process: [u8; 16],
    /// The trace that it was in, if the exec-server tells.
    pub trace: Option<TraceId>,
    /// When it was accepted, in nanoseconds since the Unix epoch.
    pub accepted_ns: u64,
    /// The base name of its program.
    pub program: String,
    /// The caller's thread; empty: none.
    pub thread: String,
    /// The number of the caller's turn.
    pub turn: Option<u64>,
    /// The id of the step; empty: none.
    pub step: String,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Its stages.
    pub stages: Vec<HistoryStage>,
}

/// A stage of a command of the history.
#[derive(Debug, Clone, Copy)]
pub struct HistoryStage {
    /// Which stage.
    pub stage: StageId,
    /// Nanoseconds after the start of the first stage.
    pub start_ns: u64,
    /// Nanoseconds.
    pub duration_ns: u64,
}

/// The id of the `rpc`, which a record does not have, because it is written before the call ends.
const RPC: u64 = u64::MAX;

impl HistoryCall {
    /// The trace id, or the process id in its place: `baton show` finds the command by either.
    pub fn id(&self) -> TraceId {
        self.trace.unwrap_or(TraceId::from_bytes(self.process))
    }

    /// Whether it exited with 0.
    pub fn succeeded(&self) -> bool {
        self.outcome.is_some_and(|outcome| outcome.is_success())
    }

    /// Its stages as a trace, with the attributes at the first span. `None` without stages.
    pub fn trace(&self) -> Option<Trace> {
        let mut stages = self.stages.clone();
        // The process first: it carries the attributes.
        stages.sort_by_key(|stage| stage.stage != exec::PROCESS);
        stages.first()?;
        let mut trace = Trace::new(self.id());
        let service = [(SERVICE_NAME, Value::Text("baton-exec-server"))];
        let resource = trace.add_resource(1, service.into_iter())?;
        let id_of = |stage: StageId| stages.iter().position(|known| known.stage == stage);
        for (index, stage) in stages.iter().enumerate() {
            let parent = stage.stage.def().and_then(|row| id_of(row.parent?));
            let start_ns = self.accepted_ns.saturating_add(stage.start_ns);
            let span = NewSpan {
                id: index as u64 + 1,
                parent: parent.map_or(RPC, |parent| parent as u64 + 1),
                start_ns,
                end_ns: start_ns.saturating_add(stage.duration_ns),
                name: &self.program,
                ..NewSpan::default()
            };
            let mut attributes = vec![(
                attribute::STAGE.to_owned(),
                Attribute::Text(stage.stage.name().to_owned()),
            )];
            if index == 0 {
                attributes.extend(self.attributes());
            }
            let attributes = attributes
                .iter()
                .map(|(key, value)| (key.as_str(), value.value()));
            trace.add_span(&span, resource, attributes, std::iter::empty())?;
        }
        Some(trace)
    }

    /// What selects and groups the command.
    fn attributes(&self) -> Vec<(String, Attribute)> {
        let text = |key: &str, text: &str| {
            (!text.is_empty()).then(|| (key.to_owned(), Attribute::Text(text.to_owned())))
        };
        let int = |key: &str, number: i64| (key.to_owned(), Attribute::Int(number));
        let outcome = self.outcome.as_ref();
        let name = |name: Option<&'static str>| name.unwrap_or_default();
        let exit_code = outcome.and_then(Outcome::exit).and_then(|exit| match exit {
            CommandExit::Code(code) => Some(code),
            CommandExit::Signal(_) => None,
        });
        [
            text(attribute::THREAD, &self.thread),
            text(attribute::STEP, &self.step),
            text(attribute::OUTCOME, name(outcome.map(Outcome::as_str))),
            text(
                attribute::FAULT,
                name(outcome.and_then(Outcome::fault).map(Fault::as_str)),
            ),
            text(
                attribute::START_FAILURE,
                name(outcome.and_then(Outcome::start_failure).map(StartFailure::as_str)),
            ),
            text(
                attribute::CALL_END,
                name(outcome.and_then(Outcome::call_end).map(CallEnd::name)),
            ),
            text(ERROR_TYPE, name(outcome.and_then(Outcome::error_type))),
            text(
                attribute::PROCESS_ID,
                &TraceId::from_bytes(self.process).to_string(),
            ),
            exit_code.map(|code| int(PROCESS_EXIT_CODE, code.into())),
            self.turn
                .and_then(|turn| Some(int(attribute::TURN, i64::try_from(turn).ok()?))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// An attribute as text, for populations and sets.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        let found = self.attributes().into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| match value {
            Attribute::Text(text) => text,
            Attribute::Int(number) => number.to_string(),
        })
    }
}

enum Attribute {
    Text(String),
    Int(i64),
}

impl Attribute {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Int(number) => Value::Int(*number),
        }
    }
}

/// The stages and figures that a history cannot have.
pub fn unavailable() -> impl Iterator<Item = &'static str> {
    let of_client = baton_trace::stage::all().filter(|row| row.exporter != Component::Server);
    of_client.map(|row| row.name).chain([REMAINDER])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_client_measures_is_unavailable() {
        let names: Vec<_> = unavailable().collect();
        for name in [
            "call",
            "dispatch",
            "transit",
            "terminal.transit",
            "relay.queue",
            "remainder",
        ] {
            assert!(names.contains(&name), "{name}");
        }
        for name in [
            "process",
            "process.spawn",
            "server.queue",
            "rpc",
            "family.session_init",
        ] {
            assert!(!names.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_command_without_stages_is_no_trace() {
        assert!(HistoryCall::default().trace().is_none());
    }
}
