//! An open tool call of a step, and its `tool.dispatch`.

use opentelemetry::trace::SpanBuilder;
use opentelemetry::{Context, KeyValue};
use tokio::time::Instant;

use super::SharedTurn;
use super::step::OpenStep;
use crate::attribute;
use crate::clock;
use crate::error::ToolCallError;
use crate::limits::TOOL_CALLS_MAX;
use crate::span::{EndCause, OpenSpan};

#[derive(Debug)]
pub(super) struct OpenToolCall {
    span: OpenSpan,
    /// The decision to call the tool.
    decided: Instant,
    is_dispatched: bool,
}

impl OpenStep {
    /// Begins a tool call; `builder` gets its index.
    pub(crate) fn begin_tool_call(
        &mut self,
        turn: &SharedTurn,
        now: Instant,
        builder: impl FnOnce(u32) -> SpanBuilder,
    ) -> Result<(u32, Context), ToolCallError> {
        let index = self.tool_calls_begun;
        if index >= TOOL_CALLS_MAX {
            return Err(ToolCallError::TooManyToolCalls);
        }
        self.tool_calls_begun += 1;
        let measured = clock::unix_ns(&self.anchor, now);
        let span = self.span.child(&turn.tracer, builder(index), measured);
        let context = span.context().clone();
        let call = OpenToolCall {
            span,
            decided: now,
            is_dispatched: false,
        };
        self.tool_calls.insert(index, call);
        Ok((index, context))
    }

    /// The first remote call of a tool call: ends its `tool.dispatch`. Returns whether it was the first.
    pub(crate) fn dispatched(
        &mut self,
        turn: &SharedTurn,
        index: u32,
        now: Instant,
        attributes: Vec<KeyValue>,
    ) -> bool {
        let Some(call) = self.tool_calls.get_mut(&index) else {
            return false;
        };
        if std::mem::replace(&mut call.is_dispatched, true) {
            return false;
        }
        let span = SpanBuilder::from_name(attribute::TOOL_DISPATCH).with_attributes(attributes);
        let start = call.span.start();
        let length = clock::duration_ns(now.saturating_duration_since(call.decided));
        call.span.closed_child(&turn.tracer, span, start, length);
        true
    }

    /// Ends a tool call, if it has not ended.
    pub(crate) fn end_tool_call(&mut self, index: u32, now: Instant, cause: EndCause) {
        if let Some(call) = self.tool_calls.remove(&index) {
            let end = call.span.end(clock::unix_ns(&self.anchor, now), cause);
            self.span.child_ended(end);
        }
    }
}
