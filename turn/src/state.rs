//! The open spans of one turn, behind one lock: the turn, its steps, their tool calls and streams.
//!
//! A parent that ends first ends its open children at the same instant, so every child lies inside its parent and no
//! span stays open, whatever the order in which handles are ended or dropped. A handle whose span was ended by its
//! parent does nothing. Readings of the clock are arguments. No code of the caller runs under the lock, except the
//! span processors of its provider.

mod step;
mod stream;
mod tool_call;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::SpanBuilder;
use opentelemetry::{Context, KeyValue};
use tokio::time::Instant;

use baton_trace::record::Anchor;

use crate::attribute;
use crate::clock;
use crate::error::StepError;
use crate::limits::STEPS_MAX;
use crate::span::{EndCause, OpenSpan};
use crate::timing::{StepTimings, TurnTimings, add};

use step::OpenStep;

/// What the handles of one turn share.
#[derive(Debug)]
pub(crate) struct SharedTurn {
    pub(crate) tracer: Arc<BoxedTracer>,
    /// The thread's id.
    pub(crate) thread: Arc<str>,
    /// From 1.
    pub(crate) number: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of the turn, or of its latest step whose anchor was renewed.
    anchor: Anchor,
    /// `None` after the end.
    span: Option<OpenSpan>,
    /// Steps that were begun.
    steps_begun: u32,
    steps: BTreeMap<u32, OpenStep>,
    /// Timings of steps that the turn's end ended, until their handles ask.
    cut_steps: BTreeMap<u32, StepTimings>,
    timings: TurnTimings,
}

/// A step that has begun.
#[derive(Debug)]
pub(crate) struct BegunStep {
    pub(crate) index: u32,
    pub(crate) anchor: Anchor,
    pub(crate) context: Context,
}

/// An attribute of an integer; saturates.
pub(crate) fn int(name: &'static str, value: u64) -> KeyValue {
    KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX))
}

fn duration(name: &'static str, value: Option<Duration>) -> Option<KeyValue> {
    Some(int(name, clock::duration_ns(value?)))
}

impl SharedTurn {
    pub(crate) fn new(
        tracer: Arc<BoxedTracer>,
        thread: Arc<str>,
        number: u64,
        anchor: Anchor,
        span: OpenSpan,
    ) -> Self {
        Self {
            tracer,
            thread,
            number,
            state: Mutex::new(State {
                anchor,
                span: Some(span),
                steps_begun: 0,
                steps: BTreeMap::new(),
                cut_steps: BTreeMap::new(),
                timings: TurnTimings::default(),
            }),
        }
    }

    /// A panic under the lock can only come from a span processor. A span is then missing, and the rest goes on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the turn and everything below it. Later calls only return the timings.
    pub(crate) fn end(&self, now: Instant, cause: EndCause) -> TurnTimings {
        let mut state = self.lock();
        for index in state.steps.keys().copied().collect::<Vec<_>>() {
            let timings = state.end_step(self, index, now, EndCause::ParentEnded);
            state.cut_steps.insert(index, timings);
        }
        let timings = state.timings();
        let at = clock::unix_ns(&state.anchor, now);
        if let Some(span) = state.span.take() {
            let attributes = [
                duration(attribute::TURN_TTFT_NS, timings.ttft),
                duration(attribute::TURN_DECODE_NS, timings.decode),
                duration(
                    attribute::TURN_USER_VISIBLE_LATENCY_NS,
                    timings.user_visible_latency,
                ),
            ];
            span.set(attributes.into_iter().flatten());
            span.end(at, cause);
        }
        timings
    }

    pub(crate) fn timings(&self) -> TurnTimings {
        self.lock().timings()
    }

    /// Begins the next step. `begin` gets the step's index, for its default id. A turn that ended has no handle that
    /// could begin a step.
    pub(crate) fn begin_step(
        &self,
        begin: impl FnOnce(u32) -> (SpanBuilder, Arc<str>),
    ) -> Result<(BegunStep, Arc<str>), StepError> {
        let mut state = self.lock();
        let index = state.steps_begun;
        if index >= STEPS_MAX {
            return Err(StepError::TooManySteps);
        }
        let Some(turn) = state.span.as_ref() else {
            return Err(StepError::TooManySteps);
        };
        let anchor = clock::renewed(state.anchor);
        let (builder, id) = begin(index);
        let measured = clock::unix_ns(&anchor, clock::now());
        let span = turn
            .child(&self.tracer, builder, measured)
            .of_step(ids(self.number, &id));
        let context = span.context().clone();
        state.anchor = anchor;
        state.steps_begun += 1;
        state.steps.insert(index, OpenStep::new(anchor, span));
        let begun = BegunStep {
            index,
            anchor,
            context,
        };
        Ok((begun, id))
    }

    /// Ends a step and everything below it. Later calls only return the timings.
    pub(crate) fn end_step(&self, index: u32, now: Instant, cause: EndCause) -> StepTimings {
        let mut state = self.lock();
        match state.steps.contains_key(&index) {
            true => state.end_step(self, index, now, cause),
            false => state.cut_steps.remove(&index).unwrap_or_default(),
        }
    }

    /// Runs with the open step, or not at all if it has ended.
    pub(crate) fn with_step<T>(&self, index: u32, run: impl FnOnce(&mut OpenStep) -> T) -> Option<T> {
        self.lock().steps.get_mut(&index).map(run)
    }
}

impl State {
    fn timings(&self) -> TurnTimings {
        let mut timings = self.timings;
        timings.steps = self.steps_begun;
        for (index, step) in &self.steps {
            merge(&mut timings, *index, step);
        }
        timings
    }

    fn end_step(&mut self, turn: &SharedTurn, index: u32, now: Instant, cause: EndCause) -> StepTimings {
        let Some(mut step) = self.steps.remove(&index) else {
            return StepTimings::default();
        };
        step.end_children(turn, now);
        merge(&mut self.timings, index, &step);
        let timings = step.timings();
        let end = step.end(now, cause);
        if let Some(turn) = &mut self.span {
            turn.child_ended(end);
        }
        timings
    }
}

/// Adds what was measured of a step to the sums of its turn.
fn merge(turn: &mut TurnTimings, index: u32, step: &OpenStep) {
    let timings = step.timings();
    if let Some(ttft) = timings.ttft {
        add(&mut turn.ttft, ttft);
    }
    if let Some(decode) = timings.decode {
        add(&mut turn.decode, decode);
    }
    if index == 0 {
        turn.user_visible_latency = step.first_content_after();
    }
}

/// What every span of a step carries.
pub(crate) fn ids(turn: u64, step: &Arc<str>) -> [KeyValue; 2] {
    [
        int(attribute::TURN, turn),
        KeyValue::new(attribute::STEP, step.clone()),
    ]
}
