//! A thread: the conversation or job whose turns follow each other.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::global::{self, BoxedTracer, ObjectSafeTracer};
use opentelemetry::trace::{Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};

use crate::clock;
use crate::error::{ThreadError, TurnError};
use crate::limits::{THREAD_ID_MAX, TURN_MAX};
use crate::span::{OpenSpan, cut};
use crate::state::{SharedTurn, int};
use crate::turn::Turn;
use crate::{attribute, semconv};

/// A conversation or job. Its turns are numbered from 1, and each is linked to the one before it.
///
/// Spans go to the provider of [`with_provider`](Self::with_provider), else to the global one. Without a provider
/// nothing is exported and the timings are the same.
pub struct Thread {
    id: Arc<str>,
    agent: Option<String>,
    tracer: Arc<BoxedTracer>,
    last: Mutex<LastTurn>,
}

/// The number of the last turn, 0 before the first, and its span.
#[derive(Debug, Clone)]
struct LastTurn {
    number: u64,
    span: Option<SpanContext>,
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("baton-turn")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

impl Thread {
    /// A new thread, whose first turn has the number 1. The id is the attribute `gen_ai.conversation.id` of its turns
    /// and steps, and what `Command::thread` takes: 1 to [`THREAD_ID_MAX`] bytes without control
    /// characters.
    pub fn new(id: impl Into<String>) -> Result<Self, ThreadError> {
        Self::build(
            id.into(),
            LastTurn {
                number: 0,
                span: None,
            },
        )
    }

    /// A thread whose last turn, in another process perhaps, had the number `turn` and the span `context`
    /// ([`Turn::trace_context`]). The next turn has the number after it and is linked to that span.
    pub fn resume(
        id: impl Into<String>,
        turn: u64,
        context: Option<&baton_trace::w3c::TraceContext>,
    ) -> Result<Self, ThreadError> {
        if turn > TURN_MAX {
            return Err(ThreadError::TurnNumber { number: turn });
        }
        let span = context.map(|context| crate::context::remote(context).span().span_context().clone());
        Self::build(id.into(), LastTurn { number: turn, span })
    }

    fn build(id: String, last: LastTurn) -> Result<Self, ThreadError> {
        match id.len() {
            0 => return Err(ThreadError::EmptyId),
            bytes if bytes > THREAD_ID_MAX => return Err(ThreadError::IdTooLong { bytes }),
            _ if id.chars().any(char::is_control) => return Err(ThreadError::ControlCharacter),
            _ => (),
        }
        Ok(Self {
            id: id.into(),
            agent: None,
            tracer: Arc::new(global::tracer_with_scope(scope())),
            last: Mutex::new(last),
        })
    }

    /// Sends the spans of later turns to this provider instead of the global one.
    pub fn with_provider<P>(mut self, provider: &P) -> Self
    where
        P: TracerProvider,
        P::Tracer: ObjectSafeTracer + Send + Sync + 'static,
    {
        let tracer = provider.tracer_with_scope(scope());
        self.tracer = Arc::new(BoxedTracer::new(Box::new(tracer)));
        self
    }

    /// Names the agent: the attribute `gen_ai.agent.name` of later turns.
    pub fn with_agent(mut self, name: impl Into<String>) -> Self {
        self.agent = Some(cut(name.into()));
        self
    }

    /// The thread's id, for `Command::thread`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Begins the next turn, as a child of the current span, `tracing`'s or OpenTelemetry's, or as the root of a new
    /// trace if there is none. It is linked to the turn before it, which may still be open.
    pub fn turn(&self) -> Result<Turn, TurnError> {
        self.turn_under(&Context::current())
    }

    /// Begins the next turn as a child of this context's span, with its baggage. [`Context::new`] makes it the root of
    /// a new trace; [`context::remote`](crate::context::remote) converts a received trace context.
    pub fn turn_under(&self, parent: &Context) -> Result<Turn, TurnError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.number >= TURN_MAX {
            return Err(TurnError::TooManyTurns);
        }
        let number = last.number + 1;
        let mut attributes = vec![
            KeyValue::new(semconv::OPERATION_NAME, semconv::INVOKE_AGENT),
            KeyValue::new(semconv::CONVERSATION_ID, self.id.clone()),
            int(attribute::TURN, number),
        ];
        if let Some(agent) = &self.agent {
            attributes.push(KeyValue::new(semconv::AGENT_NAME, agent.clone()));
        }
        let previous = last.span.clone().filter(SpanContext::is_valid);
        let builder = SpanBuilder::from_name(semconv::INVOKE_AGENT)
            .with_kind(SpanKind::Internal)
            .with_attributes(attributes)
            .with_links(previous.map(Link::with_context).into_iter().collect());
        let anchor = clock::anchor();
        let span = OpenSpan::root(&self.tracer, builder, parent, anchor.unix_ns);
        let context = span.context().clone();
        *last = LastTurn {
            number,
            span: Some(context.span().span_context().clone()),
        };
        let state = SharedTurn::new(self.tracer.clone(), self.id.clone(), number, anchor, span);
        Ok(Turn::new(state, context))
    }
}
