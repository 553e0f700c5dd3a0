//! A turn: one run of a caller's loop, from a request to its answer.

use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, WithContext};

use baton_trace::w3c::TraceContext;

use crate::clock;
use crate::context;
use crate::error::StepError;
use crate::span::EndCause;
use crate::state::SharedTurn;
use crate::step::{Step, StepOptions};
use crate::timing::TurnTimings;

/// An open turn: the span `invoke_agent`.
///
/// [`end`](Self::end) and [`fail`](Self::fail) end it. A turn that is dropped ends at once, with `baton.ended_by=drop`.
/// Steps, tool calls and streams that are still open end with it, with `baton.ended_by=parent`; their handles then do
/// nothing.
#[derive(Debug)]
#[must_use = "a dropped turn ends at once"]
pub struct Turn {
    state: Arc<SharedTurn>,
    context: Context,
}

impl Turn {
    pub(crate) fn new(state: SharedTurn, context: Context) -> Self {
        Self {
            state: Arc::new(state),
            context,
        }
    }

    /// The turn's number in its thread, from 1, for `Command::turn`.
    pub fn number(&self) -> u64 {
        self.state.number
    }

    /// The id of its thread, for `Command::thread`.
    pub fn thread(&self) -> &str {
        &self.state.thread
    }

    /// Begins a step with the step's index as its id: "0", "1", …
    ///
    /// Fails above [`STEPS_MAX`](crate::limits::STEPS_MAX) steps.
    pub fn step(&self) -> Result<Step, StepError> {
        self.step_with(StepOptions::default())
    }

    /// Begins a step with an id, a model or a provider.
    ///
    /// Also fails if the id is empty, has more than [`STEP_ID_MAX`](crate::limits::STEP_ID_MAX) bytes or a control
    /// character. Ids need not
    /// be unique: steps of the same id are grouped as one by whoever groups by it.
    pub fn step_with(&self, options: StepOptions) -> Result<Step, StepError> {
        Step::begin(&self.state, options)
    }

    /// What was measured of streams that have ended.
    pub fn timings(&self) -> TurnTimings {
        self.state.timings()
    }

    /// The OpenTelemetry context whose span is this turn. `tracing` spans and Baton's calls below it are its children.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The turn's span as it travels, for [`Thread::resume`](crate::Thread::resume). `None` without a provider.
    pub fn trace_context(&self) -> Option<TraceContext> {
        context::extract(&self.context).context
    }

    /// Runs a future with the turn's span as the current one.
    pub fn with_context<T>(&self, future: T) -> WithContext<T> {
        future.with_context(self.context.clone())
    }

    /// Ends the turn.
    pub fn end(self) -> TurnTimings {
        self.state.end(clock::now(), EndCause::Ended)
    }

    /// Ends the turn as an error of this class: a text of low cardinality like `timeout` (`_OTHER` if it is empty).
    pub fn fail(self, error_type: impl Into<String>) -> TurnTimings {
        self.state.end(clock::now(), EndCause::Failed(error_type.into()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.state.end(clock::now(), EndCause::Dropped);
    }
}
