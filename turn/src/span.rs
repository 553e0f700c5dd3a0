//! An open span with explicit times: where its children may start, and where it must end.
//!
//! A span that follows a sibling starts [`SPAN_GAP_NS`] after it. Its length stays the measured one, so it also ends
//! later, and its parent is extended to contain it.

use opentelemetry::trace::{Span, SpanBuilder, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global::BoxedTracer};

use crate::attribute;
use crate::clock::system_time;
use crate::limits::{SPAN_GAP_NS, TEXT_MAX};
use crate::semconv;

/// Why a span ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// Its owner ended it.
    Ended,
    /// Its owner reported a failure, of this class.
    Failed(String),
    /// Its owner was dropped.
    Dropped,
    /// Its parent ended.
    ParentEnded,
}

/// In a context at or below a step: the attributes that each of the step's spans carries.
#[derive(Debug)]
struct StepIds(Option<[KeyValue; 2]>);

/// The attributes that each span of the context's step carries; none if it is the context of no step.
pub(crate) fn step_ids(context: &Context) -> &[KeyValue] {
    match context.get::<StepIds>() {
        Some(StepIds(Some(ids))) => ids,
        _ => &[],
    }
}

/// Times in nanoseconds since the Unix epoch.
#[derive(Debug)]
pub(crate) struct OpenSpan {
    /// The context to run code in, whose span this is.
    context: Context,
    /// The measured start.
    measured: u64,
    /// The start as exported: the measured one or later.
    start: u64,
    /// The latest end of a child.
    child_end: Option<u64>,
}

impl OpenSpan {
    /// Opens a span without a parent of this crate.
    pub(crate) fn root(tracer: &BoxedTracer, builder: SpanBuilder, parent: &Context, measured: u64) -> Self {
        let mut span = Self::open(tracer, builder, parent, measured, measured);
        // An agent that a tool call runs: its turn is not part of that step.
        if parent.get::<StepIds>().is_some() {
            span.context = span.context.with_value(StepIds(None));
        }
        span
    }

    /// Puts the ids of a step into the context.
    pub(crate) fn of_step(mut self, ids: [KeyValue; 2]) -> Self {
        self.context = self.context.with_value(StepIds(Some(ids)));
        self
    }

    /// Opens a child that begins now.
    pub(crate) fn child(&self, tracer: &BoxedTracer, builder: SpanBuilder, measured: u64) -> Self {
        Self::open(
            tracer,
            builder,
            &self.context,
            measured,
            self.child_start(measured),
        )
    }

    fn open(tracer: &BoxedTracer, builder: SpanBuilder, parent: &Context, measured: u64, start: u64) -> Self {
        let builder = builder.with_start_time(system_time(start));
        let span = tracer.build_with_context(builder, parent);
        Self {
            context: parent.with_span(span),
            measured,
            start,
            child_end: None,
        }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Where a child that begins at `measured` starts.
    pub(crate) fn child_start(&self, measured: u64) -> u64 {
        let after_sibling = self.child_end.map_or(0, |end| end.saturating_add(SPAN_GAP_NS));
        measured.max(self.start).max(after_sibling)
    }

    /// Records that a child ended, so that later siblings start after it and this span contains it.
    pub(crate) fn child_ended(&mut self, end: u64) {
        self.child_end = self.child_end.max(Some(end));
    }

    /// Exports a child that has ended, and returns its end.
    pub(crate) fn closed_child(
        &mut self,
        tracer: &BoxedTracer,
        builder: SpanBuilder,
        start: u64,
        length: u64,
    ) -> u64 {
        let end = start.saturating_add(length);
        let mut span = tracer.build_with_context(builder.with_start_time(system_time(start)), &self.context);
        span.end_with_timestamp(system_time(end));
        self.child_ended(end);
        end
    }

    pub(crate) fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.context.span().set_attributes(attributes);
    }

    /// Ends the span and returns its end: the measured length after its start, or the end of its last child.
    pub(crate) fn end(self, measured: u64, cause: EndCause) -> u64 {
        let span = self.context.span();
        match cause {
            EndCause::Ended => (),
            EndCause::Failed(error_type) => {
                let error_type = match error_type.is_empty() {
                    true => "_OTHER".to_owned(),
                    false => cut(error_type),
                };
                span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error_type.clone()));
                span.set_status(Status::error(error_type));
            }
            EndCause::Dropped => span.set_attribute(KeyValue::new(attribute::ENDED_BY, "drop")),
            EndCause::ParentEnded => span.set_attribute(KeyValue::new(attribute::ENDED_BY, "parent")),
        }
        let length = measured.saturating_sub(self.measured);
        let end = self.start.saturating_add(length).max(self.child_end.unwrap_or(0));
        span.end_with_timestamp(system_time(end));
        end
    }
}

/// The attribute's text, at most [`TEXT_MAX`] bytes of it.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
    }
    text
}
