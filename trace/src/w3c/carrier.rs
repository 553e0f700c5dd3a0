//! Carriers of a context, one file each. Every carrier is read into an [`ExtractedContext`].

mod environment;
mod grpc;
mod protobuf;

pub use environment::{BAGGAGE_VARIABLE, TRACEPARENT_VARIABLE, TRACESTATE_VARIABLE};
pub use grpc::{BAGGAGE, TRACEPARENT, TRACESTATE};

use super::{Baggage, TraceContext, Traceparent, Tracestate};

/// The valid content of a carrier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtractedContext {
    /// The caller's context, with its tracestate and with [`Self::baggage`]. `None` if the traceparent was absent or
    /// malformed.
    pub context: Option<TraceContext>,
    /// The baggage, which needs no trace (Baggage, section 1).
    pub baggage: Baggage,
}

impl From<TraceContext> for ExtractedContext {
    fn from(context: TraceContext) -> Self {
        Self {
            baggage: context.baggage.clone(),
            context: Some(context),
        }
    }
}

impl ExtractedContext {
    /// The caller's context, or a new trace with the caller's baggage (Trace Context Level 2, sections 4.2 and 4.3).
    pub fn continue_or_start(self, sampled: bool) -> TraceContext {
        self.context.unwrap_or_else(|| TraceContext {
            baggage: self.baggage,
            ..TraceContext::new_root(sampled)
        })
    }

    /// The tracestate is read only beside a valid traceparent, and a malformed one counts as absent (Trace Context
    /// Level 2, section 3.3).
    fn new(
        traceparent: Option<Traceparent>,
        tracestate: impl FnOnce() -> Option<Tracestate>,
        baggage: Baggage,
    ) -> Self {
        Self {
            context: traceparent.map(|parent| TraceContext {
                trace_id: parent.trace_id(),
                span_id: parent.span_id(),
                flags: parent.flags(),
                tracestate: tracestate().unwrap_or_default(),
                baggage: baggage.clone(),
            }),
            baggage,
        }
    }
}
