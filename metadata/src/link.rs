//! Links from spans of the store to the spans that caused them.

use baton_trace::w3c::TraceContext;
use baton_trace::{SpanId, TraceId};

/// The ids of a span of a sampled trace, which spans of the store link to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its trace.
    pub trace_id: TraceId,
    /// The span's id.
    pub span_id: SpanId,
}

impl Link {
    /// Links to the span of `context`, if its trace is sampled: otherwise no span would be recorded under that id.
    pub fn to(context: &TraceContext) -> Option<Self> {
        context.is_sampled().then_some(Self {
            trace_id: context.trace_id,
            span_id: context.span_id,
        })
    }

    /// The context of a span link.
    pub(crate) fn context(&self) -> TraceContext {
        TraceContext {
            trace_id: self.trace_id,
            span_id: self.span_id,
            ..TraceContext::new_root(true)
        }
    }
}
