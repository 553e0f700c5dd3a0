//! The spans that a write is about.

use baton_trace::w3c::TraceContext;
use baton_trace::{SpanId, TraceId};

/// A span of a sampled trace, by name: what spans of the store link to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its trace.
    pub trace_id: TraceId,
    /// It.
    pub span_id: SpanId,
}

impl Link {
    /// To the span of `context`, if its trace is sampled: nobody could follow the link otherwise.
    pub fn to(context: &TraceContext) -> Option<Self> {
        context.is_sampled().then_some(Self {
            trace_id: context.trace_id,
            span_id: context.span_id,
        })
    }

    /// As a span links to it.
    pub(crate) fn context(&self) -> TraceContext {
        TraceContext {
            trace_id: self.trace_id,
            span_id: self.span_id,
            ..TraceContext::new_root(true)
        }
    }
}
