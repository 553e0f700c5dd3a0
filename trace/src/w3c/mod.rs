//! W3C Trace Context Level 2 and W3C Baggage.

use std::sync::Arc;

use opentelemetry::{SpanId, TraceFlags, TraceId};

/// A position in a trace, as it travels: trace id, the current span, flags, tracestate and baggage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Never all zero.
    pub trace_id: TraceId,
    /// The span that whoever receives this context hangs under. Never all zero.
    pub span_id: SpanId,
    /// Bit 0 sampled, bit 1 random (Level 2 section 3.2.2.5); no other bit is ever set.
    pub flags: TraceFlags,
    /// Vendors' list members, verbatim.
    pub tracestate: Tracestate,
    /// The baggage header, verbatim.
    pub baggage: Baggage,
}

/// A `tracestate` list; empty means absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tracestate(Option<Arc<str>>);

/// A `baggage` list; empty means absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baggage(Option<Arc<str>>);

impl TraceContext {
    /// Starts a new trace with random ids and the random flag set.
    pub fn new_root(sampled: bool) -> Self {
        let flags = if sampled { 0b11 } else { 0b10 };
        Self {
            trace_id: TraceId::from(rand::random::<u128>().max(1)),
            span_id: random_span_id(),
            flags: TraceFlags::new(flags),
            tracestate: Tracestate::default(),
            baggage: Baggage::default(),
        }
    }

    /// The same trace, seen from another span.
    pub fn with_span(&self, span_id: SpanId) -> Self {
        Self {
            span_id,
            ..self.clone()
        }
    }

    /// Whether the sampled flag is set.
    pub fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }
}

/// A new random span id, never zero.
pub fn random_span_id() -> SpanId {
    SpanId::from(rand::random::<u64>().max(1))
}
