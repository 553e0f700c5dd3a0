//! Baton's propagator for W3C Trace Context Level 2 and W3C Baggage.
//!
//! A carrier (gRPC metadata, a child's environment, a protobuf message) is read into an [`ExtractedContext`] and
//! written from a [`TraceContext`]. No input from a peer fails a call or panics: malformed values count as absent.
//!
//! | rule | where it comes from |
//! |---|---|
//! | `ff` and version 00 with trailing data are invalid; a higher version is read by its first 55 characters | Level 2, 3.2.2.1 and 3.2.4 |
//! | lowercase hexadecimal only, no zero id | Level 2, 3.2.2.3 and 3.2.2.4 |
//! | sampled and random travel on, every other flag is cleared | Level 2, 3.2.2.5 |
//! | two `traceparent` headers are no context | Level 2, 4.3: it cannot be parsed |
//! | without a valid traceparent the tracestate is not read; a malformed tracestate leaves the traceparent | Level 2, 3.3 |
//! | `tracestate` headers join in order, empty members vanish, at most 32 others, own cap of 4 KiB | Level 2, 3.3.2 and 3.3.3.1 |
//! | repeated keys travel as they came; our own mutation leaves one | Level 2, 3.3.3 and 3.5 |
//! | baggage needs no traceparent; a malformed member alone is dropped; 64 members and 8,192 bytes always fit | Baggage, 3.3 |
//!
//! Level 2 is <https://www.w3.org/TR/trace-context-2/>, Baggage is <https://www.w3.org/TR/baggage/>.

mod baggage;
pub mod carrier;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod grammar;
pub mod random;
mod traceparent;
mod tracestate;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod properties;

use opentelemetry::{SpanId, TraceFlags, TraceId};

pub use baggage::{Baggage, BaggageMember};
pub use carrier::{BAGGAGE_VARIABLE, ExtractedContext, TRACEPARENT_VARIABLE, TRACESTATE_VARIABLE};
pub use traceparent::Traceparent;
pub use tracestate::{MemberError, Tracestate};

/// A position in a trace, as it travels: trace id, the current span, flags, tracestate and baggage.
///
/// A clone copies 25 bytes and counts up two references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Never all zero.
    pub trace_id: TraceId,
    /// The parent span for the receiver of this context. Never all zero.
    pub span_id: SpanId,
    /// Bit 0 sampled, bit 1 random (Level 2, section 3.2.2.5); no other bit is ever set.
    pub flags: TraceFlags,
    /// Vendors' list members, verbatim.
    pub tracestate: Tracestate,
    /// The baggage header, verbatim.
    pub baggage: Baggage,
}

impl TraceContext {
    /// Starts a new trace with random ids and the random flag set.
    pub fn new_root(sampled: bool) -> Self {
        let flags = if sampled { 0b11 } else { 0b10 };
        Self {
            trace_id: TraceId::from(random::random_u128().max(1)),
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

    /// Ids and flags only, ready to be written; `None` if this context was built with a zero id.
    pub fn traceparent(&self) -> Option<Traceparent> {
        Traceparent::new(self.trace_id, self.span_id, self.flags)
    }
}

/// 128 random bits for an id, from the generator of this module.
pub fn random_bits() -> u128 {
    random::random_u128()
}

/// A new random span id, never zero.
pub fn random_span_id() -> SpanId {
    SpanId::from(random::random_u64().max(1))
}
