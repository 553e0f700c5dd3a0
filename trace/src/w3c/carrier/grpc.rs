//! gRPC metadata: the three headers of the two specifications, lowercase.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::ExtractedContext;
use crate::w3c::{Baggage, TraceContext, Traceparent, Tracestate};

/// Trace Context Level 2, section 3.2.1.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Trace Context Level 2, section 3.3.1.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Baggage, section 3.2.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

impl TraceContext {
    /// Reads metadata. Two `traceparent` headers count as none, because it is unknown which one is right.
    pub fn extract(headers: &HeaderMap) -> ExtractedContext {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let traceparent = match (parents.next(), parents.next()) {
            (Some(value), None) => Traceparent::parse(value),
            _ => None,
        };
        let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
        ExtractedContext::new(
            traceparent,
            || Tracestate::parse_all(values(TRACESTATE)),
            Baggage::parse_all(values(BAGGAGE)),
        )
    }

    /// Writes metadata and replaces existing values. Absent values are removed, never sent empty.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let traceparent = self.traceparent().map(|parent| parent.encode());
        set(
            headers,
            TRACEPARENT,
            traceparent.as_ref().map_or(b"", |text| text),
        );
        let tracestate = traceparent.map_or("", |_| self.tracestate.as_str());
        set(headers, TRACESTATE, tracestate.as_bytes());
        set(headers, BAGGAGE, self.baggage.as_str().as_bytes());
    }
}

impl ExtractedContext {
    /// Writes metadata and replaces existing values: the context, or only the baggage.
    pub fn inject(&self, headers: &mut HeaderMap) {
        match &self.context {
            Some(context) => context.inject(headers),
            None => {
                set(headers, TRACEPARENT, b"");
                set(headers, TRACESTATE, b"");
                set(headers, BAGGAGE, self.baggage.as_str().as_bytes());
            }
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    // The grammars admit only visible ASCII, spaces and tabs, all of which a header value may contain.
    match HeaderValue::from_bytes(value) {
        Ok(value) if !value.is_empty() => drop(headers.insert(name, value)),
        _ => drop(headers.remove(name)),
    }
}
