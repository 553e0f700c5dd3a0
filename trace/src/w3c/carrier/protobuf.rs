//! `baton.exec.v1.TraceCarrier`: the traceparent as 25 bytes, the two lists as text.

use baton_proto::exec::TraceCarrier;

use super::ExtractedContext;
use crate::w3c::{Baggage, TraceContext, Traceparent, Tracestate};

impl TraceContext {
    /// Reads a message.
    pub fn from_carrier(carrier: &TraceCarrier) -> ExtractedContext {
        ExtractedContext::new(
            Traceparent::decode_binary(&carrier.traceparent),
            || Tracestate::parse(&carrier.tracestate),
            Baggage::parse(&carrier.baggage),
        )
    }

    /// Writes a message.
    pub fn to_carrier(&self) -> TraceCarrier {
        let traceparent = self.traceparent();
        TraceCarrier {
            traceparent: traceparent
                .map_or_else(Vec::new, |parent| parent.encode_binary().to_vec())
                .into(),
            tracestate: traceparent.map_or("", |_| self.tracestate.as_str()).to_owned(),
            baggage: self.baggage.as_str().to_owned(),
        }
    }
}
