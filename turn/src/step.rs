//! A step: one call of a model, with the tool calls that it asked for.

use std::sync::Arc;

use baton_trace::record::Anchor;
use futures_core::Stream;
use opentelemetry::trace::{FutureExt, SpanBuilder, SpanKind, WithContext};
use opentelemetry::{Context, KeyValue};

use crate::clock;
use crate::error::{StepError, ToolCallError};
use crate::limits::STEP_ID_MAX;
use crate::prefix::PrefixCheck;
use crate::requests::{Counters, RequestTiming, SpanPlace};
use crate::semconv;
use crate::span::{EndCause, cut};
use crate::state::{BegunStep, SharedTurn, ids};
use crate::stream::{Measure, TimedStream, TimedTryStream};
use crate::timing::StepTimings;
use crate::tool_call::ToolCall;
use crate::usage::Usage;

/// What [`Turn::step_with`](crate::Turn::step_with) takes.
#[derive(Debug, Clone, Default)]
pub struct StepOptions {
    id: Option<String>,
    model: Option<String>,
    provider: Option<String>,
}

impl StepOptions {
    /// Sets the step's id; the step's index if not set.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the requested model: `gen_ai.request.model`.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(cut(model.into()));
        self
    }

    /// Sets the model's provider: `gen_ai.provider.name`, like `openai`. The conventions require it.
    pub fn provider(mut self, provider: impl Into<String>) -> Self {
        self.provider = Some(cut(provider.into()));
        self
    }
}

/// An open step: the span `chat`.
///
/// [`end`](Self::end) and [`fail`](Self::fail) end it. A step that is dropped ends at once, with `baton.ended_by=drop`.
/// Tool calls and streams that are still open end with it; their handles then do nothing.
#[derive(Debug)]
#[must_use = "a dropped step ends at once"]
pub struct Step {
    turn: Arc<SharedTurn>,
    step: BegunStep,
    id: Arc<str>,
}

impl Step {
    pub(crate) fn begin(turn: &Arc<SharedTurn>, options: StepOptions) -> Result<Self, StepError> {
        if let Some(id) = &options.id {
            match id.len() {
                0 => return Err(StepError::EmptyId),
                bytes if bytes > STEP_ID_MAX => return Err(StepError::IdTooLong { bytes }),
                _ if id.chars().any(char::is_control) => return Err(StepError::ControlCharacter),
                _ => (),
            }
        }
        let (step, id) = turn.begin_step(|index| {
            let id: Arc<str> = options.id.unwrap_or_else(|| index.to_string()).into();
            let mut attributes = vec![
                KeyValue::new(semconv::OPERATION_NAME, semconv::CHAT),
                KeyValue::new(semconv::CONVERSATION_ID, turn.thread.clone()),
            ];
            attributes.extend(ids(turn.number, &id));
            let named = [
                (semconv::REQUEST_MODEL, options.model),
                (semconv::PROVIDER_NAME, options.provider),
            ];
            let named = named
                .into_iter()
                .filter_map(|(name, value)| Some(KeyValue::new(name, value?)));
            attributes.extend(named);
            let builder = SpanBuilder::from_name(semconv::CHAT)
                .with_kind(SpanKind::Client)
                .with_attributes(attributes);
            (builder, id)
        })?;
        Ok(Self {
            turn: turn.clone(),
            step,
            id,
        })
    }

    /// The step's id, for `Command::step`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The number of the step's turn, for `Command::turn`.
    pub fn turn_number(&self) -> u64 {
        self.turn.number
    }

    /// The id of the step's thread, for `Command::thread`.
    pub fn thread(&self) -> &str {
        &self.turn.thread
    }

    /// The step's place in its turn, from 0.
    pub fn index(&self) -> u32 {
        self.step.index
    }

    /// The clock readings that all of the step's times come from, for spans with explicit times below it.
    pub fn anchor(&self) -> Anchor {
        self.step.anchor
    }

    /// The OpenTelemetry context whose span is this step. `tracing` spans and Baton's calls below it are its children.
    pub fn context(&self) -> &Context {
        &self.step.context
    }

    /// Runs a future with the step's span as the current one.
    pub fn with_context<T>(&self, future: T) -> WithContext<T> {
        future.with_context(self.step.context.clone())
    }

    /// Measures a stream of any items: a model's tokens, a process's output. The items pass through unchanged.
    ///
    /// The stream starts now. So wrap it when the request is sent, not when its first item is there. `is_content` says
    /// of an item whether the user sees something of it, text or reasoning. It runs for each item up to the first
    /// content, and not after it. After it an item costs neither a clock reading nor an allocation.
    ///
    /// * `ttft` lasts from the start to the first content, `decode` from there to the end. A stream that ends or is
    ///   dropped before content has a `ttft` with `first_content=false` and no `decode`.
    /// * The first item of the step's first stream that has one sets `gen_ai.response.time_to_first_chunk`.
    /// * The stream ends when it returns `None`; when it is dropped, at that instant (`baton.stream.end=dropped`); and
    ///   when its step ends, likewise. Its items pass through in any case.
    /// * A step may have several streams, for retries. Each has its own spans; times of steps and turns are sums. Above
    ///   [`STREAMS_MAX`](crate::limits::STREAMS_MAX), and after the turn's end, a stream is not measured.
    pub fn stream<S, F>(&self, stream: S, is_content: F) -> TimedStream<S, F>
    where
        S: Stream,
        F: FnMut(&S::Item) -> bool,
    {
        TimedStream::new(stream, is_content, self.measure())
    }

    /// Measures a stream of results, as [`stream`](Self::stream) does. The first error ends the measurement, with
    /// `baton.stream.end=failed`; before content, `ttft` has `first_content=false`.
    ///
    /// The step itself does not fail, since its caller may try again: [`fail`](Self::fail) says so.
    pub fn try_stream<S, T, E, F>(&self, stream: S, is_content: F) -> TimedTryStream<S, F>
    where
        S: Stream<Item = Result<T, E>>,
        F: FnMut(&T) -> bool,
    {
        TimedTryStream::new(stream, is_content, self.measure())
    }

    fn measure(&self) -> Measure {
        let common = Vec::from(ids(self.turn.number, &self.id));
        Measure::begin(&self.turn, self.step.index, common)
    }

    /// Begins a tool call: this is the decision to call the tool. `id` is the model's id of the call.
    ///
    /// Tool calls of a step may overlap. `baton.tool.index` keeps the order of this call.
    pub fn tool_call(
        &self,
        tool: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<ToolCall, ToolCallError> {
        ToolCall::begin(&self.turn, self.step.index, &self.id, tool.into(), id.into())
    }

    /// Sets the tokens that the step used. The last call counts: providers report running totals.
    pub fn set_usage(&self, usage: Usage) {
        self.turn.with_step(self.step.index, |step| step.usage = usage);
    }

    /// Records a matched request as a span `request` below this step, with a child for each of the server's parts. Call
    /// it before the step ends, so that the step contains the request; later it still has the right parent.
    pub fn record_request(&self, timing: &RequestTiming) {
        let start = self.turn.with_step(self.step.index, |step| step.start_ns());
        timing.record_at(&SpanPlace {
            tracer: &*self.turn.tracer,
            parent: &self.step.context,
            anchor: &self.step.anchor,
            not_before_ns: start.unwrap_or(0),
        });
    }

    /// Sets the counters of a stream's requests as attributes, `baton.requests.*`. The last call counts.
    pub fn set_request_counters(&self, counters: &Counters) {
        self.turn
            .with_step(self.step.index, |step| step.request_counters = Some(*counters));
    }

    /// Sets what the guard found of the request's prefix as attributes, `baton.prefix.*`. The last call counts.
    pub fn set_prefix(&self, check: &PrefixCheck) {
        self.turn
            .with_step(self.step.index, |step| step.prefix = Some(check.clone()));
    }

    /// What was measured of streams that have ended.
    pub fn timings(&self) -> StepTimings {
        self.turn
            .with_step(self.step.index, |step| step.timings())
            .unwrap_or_default()
    }

    /// Ends the step.
    pub fn end(self) -> StepTimings {
        self.finish(EndCause::Ended)
    }

    /// Ends the step as an error of this class: a text of low cardinality like `timeout` (`_OTHER` if it is empty).
    pub fn fail(self, error_type: impl Into<String>) -> StepTimings {
        self.finish(EndCause::Failed(error_type.into()))
    }

    fn finish(&self, cause: EndCause) -> StepTimings {
        self.turn.end_step(self.step.index, clock::now(), cause)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.finish(EndCause::Dropped);
    }
}
