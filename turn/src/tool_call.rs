//! A call of a tool that a model asked for.

use std::sync::Arc;

use opentelemetry::trace::{FutureExt, SpanBuilder, SpanKind, WithContext};
use opentelemetry::{Context, KeyValue};

use baton_trace::w3c::ExtractedContext;

use crate::clock;
use crate::context;
use crate::error::ToolCallError;
use crate::span::{EndCause, cut};
use crate::state::{SharedTurn, ids, int};
use crate::{attribute, semconv};

/// An open tool call: the span `execute_tool`.
///
/// [`end`](Self::end) and [`fail`](Self::fail) end it. A call that is dropped ends at once, with
/// `baton.ended_by=drop`: so does a task that is aborted. If its step ends first, it ends with the step.
#[derive(Debug)]
#[must_use = "a dropped tool call ends at once"]
pub struct ToolCall {
    turn: Arc<SharedTurn>,
    step: u32,
    step_id: Arc<str>,
    index: u32,
    context: Context,
}

impl ToolCall {
    pub(crate) fn begin(
        turn: &Arc<SharedTurn>,
        step: u32,
        step_id: &Arc<str>,
        tool: String,
        id: String,
    ) -> Result<Self, ToolCallError> {
        let now = clock::now();
        let builder = |index: u32| {
            let mut attributes = vec![
                KeyValue::new(semconv::OPERATION_NAME, semconv::EXECUTE_TOOL),
                KeyValue::new(semconv::TOOL_NAME, cut(tool)),
                KeyValue::new(semconv::TOOL_CALL_ID, cut(id)),
                int(attribute::TOOL_INDEX, index.into()),
            ];
            attributes.extend(ids(turn.number, step_id));
            SpanBuilder::from_name(semconv::EXECUTE_TOOL)
                .with_kind(SpanKind::Internal)
                .with_attributes(attributes)
        };
        let (index, context) = turn
            .with_step(step, |open| open.begin_tool_call(turn, now, builder))
            .unwrap_or(Err(ToolCallError::StepEnded))?;
        Ok(Self {
            turn: turn.clone(),
            step,
            step_id: step_id.clone(),
            index,
            context,
        })
    }

    /// The call's place among its step's tool calls, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The id of its step, for `Command::step`.
    pub fn step_id(&self) -> &str {
        &self.step_id
    }

    /// The number of its turn, for `Command::turn`.
    pub fn turn_number(&self) -> u64 {
        self.turn.number
    }

    /// The id of its thread, for `Command::thread`.
    pub fn thread(&self) -> &str {
        &self.turn.thread
    }

    /// The trace context for a remote call, for `Command::parent`: the call is a child of `execute_tool`.
    ///
    /// The first use ends `tool.dispatch`, so ask immediately before the call. It returns 2 µs later, so that the
    /// call's span does not touch `tool.dispatch`: Jaeger omits spans that touch from its critical path. A tool call
    /// that never asks has no `tool.dispatch`. Without a provider and without a parent the context is empty, and the
    /// call begins a trace of its own.
    pub fn remote_parent(&self) -> ExtractedContext {
        let now = clock::now();
        let mut attributes = vec![KeyValue::new(attribute::STAGE, attribute::TOOL_DISPATCH)];
        attributes.extend(ids(self.turn.number, &self.step_id));
        let is_first = self
            .turn
            .with_step(self.step, |step| {
                step.dispatched(&self.turn, self.index, now, attributes)
            })
            .unwrap_or(false);
        let parent = context::extract(&self.context);
        if is_first && parent.context.is_some() {
            clock::pass_gap_after(now);
        }
        parent
    }

    /// The OpenTelemetry context whose span is this tool call. `tracing` spans and Baton's calls below it are its
    /// children. Using it does not end `tool.dispatch`: [`remote_parent`](Self::remote_parent) does.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Runs a future with the tool call's span as the current one.
    pub fn with_context<T>(&self, future: T) -> WithContext<T> {
        future.with_context(self.context.clone())
    }

    /// Ends the tool call.
    pub fn end(self) {
        self.finish(EndCause::Ended);
    }

    /// Ends the tool call as an error of this class: a text of low cardinality like `timeout` (`_OTHER` if it is
    /// empty).
    pub fn fail(self, error_type: impl Into<String>) {
        self.finish(EndCause::Failed(error_type.into()));
    }

    fn finish(&self, cause: EndCause) {
        let now = clock::now();
        self.turn
            .with_step(self.step, |step| step.end_tool_call(self.index, now, cause));
    }
}

impl Drop for ToolCall {
    fn drop(&mut self) {
        self.finish(EndCause::Dropped);
    }
}
