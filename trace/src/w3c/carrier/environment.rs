//! A child's environment: `TRACEPARENT`, `TRACESTATE`, `BAGGAGE` (OpenTelemetry, environment variables as carriers).

use std::ffi::OsString;

use super::ExtractedContext;
use crate::w3c::{Baggage, TraceContext, Traceparent, Tracestate};

/// Holds the traceparent.
pub const TRACEPARENT_VARIABLE: &str = "TRACEPARENT";
/// Holds the tracestate.
pub const TRACESTATE_VARIABLE: &str = "TRACESTATE";
/// Holds the baggage.
pub const BAGGAGE_VARIABLE: &str = "BAGGAGE";

impl TraceContext {
    /// Reads an environment, usually `TraceContext::from_environment(|name| std::env::var_os(name))`.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<OsString>) -> ExtractedContext {
        let bytes = |name| lookup(name).map(OsString::into_encoded_bytes);
        ExtractedContext::new(
            bytes(TRACEPARENT_VARIABLE).and_then(Traceparent::parse),
            || bytes(TRACESTATE_VARIABLE).and_then(Tracestate::parse),
            bytes(BAGGAGE_VARIABLE).map(Baggage::parse).unwrap_or_default(),
        )
    }

    /// All three variables for a child: set those with a value, *remove* those without. A variable that the child
    /// inherited from another trace would join it to that one.
    pub fn to_environment(&self) -> [(&'static str, Option<String>); 3] {
        let traceparent = self.traceparent();
        let tracestate = traceparent.map_or("", |_| self.tracestate.as_str());
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        [
            (TRACEPARENT_VARIABLE, traceparent.map(|parent| parent.to_string())),
            (TRACESTATE_VARIABLE, text(tracestate)),
            (BAGGAGE_VARIABLE, text(self.baggage.as_str())),
        ]
    }
}
